"""Live models, right, wrong and misbehaving, judged by the real program.

Run by CTest as `python test_live.py PROGRAM [--long | --kills [SEED]] [-k transformers]`. With --long, the edits of harness/python/tests/edits.py
that a diagnosis cannot be asked about and models without a parameter; with --kills, candidates that are killed or stopped at every step and at random moments, which
take three. Models run in the interpreter that runs this file.
"""

import importlib.util
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

PROGRAM = None
MODELS = pathlib.Path(__file__).resolve().parent.parent / "python" / "tests"
sys.path.insert(0, str(MODELS))
from edits import BFLOAT16_EDITS, EDITS  # noqa: E402

# A program that answers the protocol with nothing but the standard library: an embedding for parameters, and logits that are
# its tokens' ids. HOW it goes wrong, at which request, and from which one of that name on, are its arguments; a request is named
# or has its id. "whole": it declares all that there is and has every parameter, so that every request is made. What it was asked
# stands in a file.
SPEAKER = r'''
import json, math, os, signal, struct, sys, time

how, where, first, whole = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ["whole"]
TYPES = {"F32": "f", "I64": "q", "BOOL": "?"}
SIDES = ["right", "left"]
EVERYTHING = {"load": True, "initialise": True, "modes": ["evaluation", "training"], "dropout": True, "padding": SIDES,
              "first_position": True, "gradients": True, "operations": ["repeat_kv", "rotate"],
              "cache": {"axes": ["batch", "position", "head", "size"], "chunks": True, "capacity": True, "fill": True,
                        "padding": SIDES}}

def saved(tensors, kind="F32"):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        begin = len(data)
        data += struct.pack("<%d%s" % (len(values), TYPES[kind]), *values)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, len(data)]}
    header = json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data

def parameters(s):
    all = {"model.embed_tokens.weight": [s["vocab_size"], s["hidden_size"]]}
    if whole:
        hidden, wide, keys = s["hidden_size"], s["intermediate_size"], s["num_key_value_heads"] * s["head_dim"]
        for layer in range(s["num_hidden_layers"]):
            for name, shape in (("input_layernorm", [hidden]), ("self_attn.q_proj", [hidden, hidden]),
                                ("self_attn.k_proj", [keys, hidden]), ("self_attn.v_proj", [keys, hidden]),
                                ("self_attn.o_proj", [hidden, hidden]), ("post_attention_layernorm", [hidden]),
                                ("mlp.gate_proj", [wide, hidden]), ("mlp.up_proj", [wide, hidden]),
                                ("mlp.down_proj", [hidden, wide])):
                all[f"model.layers.{layer}.{name}.weight"] = shape
        all["model.norm.weight"] = [hidden]
    return all

def tokens_in(file):
    content = open(file, "rb").read()
    length, = struct.unpack("<Q", content[:8])
    entry = json.loads(content[8:8 + length])["tokens"]
    begin, end = entry["data_offsets"]
    return entry["shape"], struct.unpack("<%dq" % ((end - begin) // 8), content[8 + length + begin:8 + length + end])

def logits(request, kind, words, flat):
    (batch, length), ids = tokens_in(os.path.join(directory, request["tensors"]))
    values = [math.sin(token + word) for token in ids for word in range(words)]
    shape = [batch, length, words] if not flat else [batch * length, words]
    if kind != "F32":
        values = [value > 0 if kind == "BOOL" else int(9 * value) for value in values]
    return saved({"logits": (shape, values)}, kind)

def end(moment):
    if str(wrong).startswith("SIG") and wrong.endswith(moment):
        os.kill(os.getpid(), getattr(signal, wrong.split()[0]))

counts = {}
for line in sys.stdin:
    request = json.loads(line)
    name, reply = request["request"], {"id": request["id"]}
    counts[name] = counts.get(name, 0) + 1
    with open("asked", "a") as asked: asked.write(name + "\n")
    wrong = how if where in (name, str(request["id"])) and counts[name] >= first else None
    file = "reply-%d-%d" % (os.getpid(), request["id"])
    content = None
    if name == "hello":
        directory = request["directory"]
        own = parameters(request["specification"])
        halves = {each: (shape, [0.5] * math.prod(shape)) for each, shape in own.items()}
        held = saved(halves)
        reply.update(protocol=1, name="Speaker", framework="none", dtype=request["dtype"], device="cpu", configuration={}, mapping=None,
                     parameters=[{"name": each, "shape": shape, "dtype": "float32"} for each, shape in own.items()],
                     can=EVERYTHING if whole else {"modes": ["evaluation"]})
    if name == "weights":
        content = held
    if name == "load":
        held = open(os.path.join(directory, request["tensors"]), "rb").read()
    if name == "open_cache":
        reply.update(cache=7)
    if name == "show_cache":
        reply.update(length=1, capacity=1, bytes=8)
        content = saved({"layers.0.keys": ([1, 1, 1, 1], [0.5]), "layers.0.values": ([1, 1, 1, 1], [0.5])})
    if name == "gradients":
        content = saved({"loss": ([], [0.5]), **halves})
    if name == "operation":
        content = saved({"y": ([1], [0.5]), "gradient": ([1], [0.5])})
    if name in ("forward", "extend"):
        kind = {"integers": "I64", "truths": "BOOL"}.get(wrong, "F32")
        content = logits(request, kind, {"no words": 0, "more words": 101 + counts[name]}.get(wrong, 101), wrong == "flat")
    if content is not None:
        reply["tensors"] = file
    path = os.path.join(directory, file)
    end("before")
    if wrong == "fifo": os.mkfifo(path)
    elif wrong == "link": os.symlink("/etc/passwd", path)
    elif wrong == "folder": os.mkdir(path)
    elif wrong == "no file": pass
    elif wrong == "half": open(path, "wb").write(content[:len(content) // 2])
    elif wrong == "empty": open(path, "wb")
    elif content is not None:
        with open(path, "wb", buffering=0) as written:
            written.write(content[:len(content) // 2])
            end("half file")
            written.write(content[len(content) // 2:])
    if wrong == "id": reply["id"] += 1
    if wrong == "climbs": reply["tensors"] = "../x"
    if wrong == "kind": reply = {"id": request["id"], "error": {"kind": "odd", "message": "x"}}
    if wrong in ("cannot", "overrun"): reply = {"id": request["id"], "error": {"kind": wrong, "message": "not today"}}
    if wrong == "failed": reply = {"id": request["id"], "error": {"kind": "failed", "message": "a\nb \x1b[31m" + "c" * 9999, "where": "x" * 9999}}
    if wrong == "type": reply["dtype"] = "float16"
    if wrong == "protocol": reply["protocol"] = 2
    if wrong == "mapping": reply["mapping"] = {"model.embed_tokens.weight": "nowhere.weight"}
    if wrong == "exit": os._exit(3)
    if wrong == "hang": time.sleep(1000)
    if wrong == "children" and os.fork() == 0: time.sleep(1000)
    if wrong == "daemon" and os.fork() == 0: os.setsid(); time.sleep(1000)
    if wrong == "flood": os.write(2, b"noise\n" * 2000000)
    text = json.dumps(reply)
    text = {"text": "good morning", "list": "[1]", "empty line": "", "deep": "[" * 100000, "huge": "x" * (2 << 20), "two": text + "\n" + text,
            "nan": text[:-1] + ', "seconds": NaN}', "bytes": "\udcff\udcfe", "seconds": text[:-1] + ', "seconds": "soon"}'}.get(wrong, text)
    if wrong == "unasked": text += "\nand by the way\n"
    line = text.encode("utf-8", "surrogateescape") + (b"" if wrong == "no end" else b"\n")
    sys.stdout.buffer.write(line[:len(line) // 2] if str(wrong).endswith("half line") else line)
    sys.stdout.buffer.flush()
    end("half line")
    end("after")
    if wrong == "no end": os._exit(0)
    if name == "bye": break
'''


def of_marker(marker):
    """{process: command line} of those that have the marker in their command line or, inherited, in their environment."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words, settings = ((entry / file).read_bytes().replace(b"\0", b" ").decode(errors="replace")
                               for file in ("cmdline", "environ"))
        except OSError:
            continue
        if marker in words or marker in settings:
            found[int(entry.name)] = words
    return found


def files_of(bundle):
    """The names of a whole bundle's files, as its manifest has them."""
    return sorted([*(entry["name"] for entry in json.loads((bundle / "manifest.json").read_text())["files"]), "manifest.json"])


class Runs(unittest.TestCase):
    specification = "tiny"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.private = self.root / "private"
        self.private.mkdir()
        self.out = self.root / "out"

    def start(self, candidate, *arguments, command="verify"):
        if command in ("verify", "record"):  # a diagnosis takes seconds of each failing run
            arguments += ("--no-diagnosis",)
        command = [PROGRAM, command, str(candidate), "--spec", self.specification, "--threads", "1", "--python", sys.executable, "--out", str(self.out),
                   *arguments]
        others = os.environ.get("PYTHONPATH")
        paths = os.pathsep.join([str(MODELS), *([others] if others else [])])
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.root,
                                env={**os.environ, "TMPDIR": str(self.private), "PYTHONPATH": paths})

    def ended(self, process, seconds=120):
        """The finished run: nothing hangs, nothing is left behind, no error of our own is shown."""
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.fail(f"no end within {seconds} s")
        for ours in ("internal error", "Traceback", "terminate called"):
            self.assertNotIn(ours, errors)
        deadline = time.monotonic() + 2
        while of_marker(str(self.root)) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(of_marker(str(self.root)), {}, "left running")
        # A compiler's cache is torch's own, and torch's to keep.
        self.assertEqual([name for name in os.listdir(self.private) if not name.startswith("torchinductor_")], [], "left behind")
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def verify(self, candidate, *arguments, seconds=120):
        shutil.rmtree(self.out, ignore_errors=True)
        run = self.ended(self.start(candidate, *arguments), seconds)
        return run, json.loads((self.out / "result.json").read_text()) if self.out.exists() else None

    def judged(self, candidate, status, *arguments):
        """Requirements by id, a verdict having been given with that status."""
        run, result = self.verify(candidate, *arguments)
        self.assertEqual(run.returncode, status, run.stdout[-3000:] + run.stderr)
        self.assertEqual(result["header"]["candidate_kind"], "live")
        self.assertEqual(run.stderr, "")
        return {requirement["id"]: requirement for requirement in result["requirements"]}

    def refused(self, candidate, *words, arguments=()):
        """Status 2, one line that says these words, nothing written."""
        run, result = self.verify(candidate, *arguments, seconds=60)
        self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
        self.assertIsNone(result)
        self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
        self.assertLess(len(run.stderr), 1500)
        for word in words:
            self.assertIn(word, run.stderr)
        return run.stderr

    def file(self, text, name="broken.py"):
        path = self.root / name
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def plain(self, body):
        """An adapter of Plain whose forward begins with these lines. calls: how often this process came there."""
        return self.file(f"""
            import os, pathlib, sys, time
            import torch
            import models, plain_adapter
            class Broken(models.Plain):
                calls = 0
                def forward(self, *inputs, **keywords):
                    Broken.calls += 1
                    {body}
                    return super().forward(*inputs, **keywords)
            plain_adapter.Plain = Broken
            adapter = plain_adapter.adapter
            """)

    def speaker(self, how="right", where="none", first=1, extent=""):
        self.file(SPEAKER, "speaker.py")
        return f"exec: exec {sys.executable} {self.root}/speaker.py '{how}' {where} {first} {extent}"

    def strike(self, process, marker, number, moment):
        """Sends the candidate a signal, so long after its start; whether it was still there."""
        deadline = time.monotonic() + 10
        while not self.candidates(process, marker):
            self.assertLess(time.monotonic(), deadline, "it was not started")
            time.sleep(0.005)
        time.sleep(moment)
        found = self.candidates(process, marker)
        for child in found:
            os.kill(child, number)
        return found != []

    def candidates(self, process, marker):
        return [child for child, words in of_marker(str(self.root)).items()
                if child != process.pid and marker in words and " verify " not in words]

    def verdicts(self, requirements, verdict):
        return [identifier for identifier, requirement in requirements.items() if requirement["verdict"] == verdict]


class Honest(Runs):
    def conforms(self, name, dtype):
        adapter = self.root / name
        shutil.copy(MODELS / name, adapter)
        requirements = self.judged(adapter, 0, "--dtype", dtype)
        for verdict in ("fail", "error", "not assessed"):
            self.assertEqual(self.verdicts(requirements, verdict), [], verdict)
        self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), 70)

    def test_a_model_of_names_and_layouts_of_its_own(self):
        self.conforms("plain_adapter.py", "f32")

    def test_a_model_like_minimind(self):
        self.conforms("minimind_adapter.py", "bf16")

    def test_models_as_people_write_them(self):
        """Each is right, and another way of building the same; what a model cannot be asked is not applicable."""
        ways = {
            "a table of complex numbers": ("""
                class Attention(models.PlainAttention):
                    def __init__(self, s):
                        super().__init__(s)
                        frequencies = self.theta ** -(torch.arange(0, self.size, 2).float() / self.size)
                        angles = torch.outer(torch.arange(s["max_position_embeddings"]).float(), frequencies)
                        self.register_buffer("table", torch.polar(torch.ones_like(angles), angles), persistent=False)
                    def rotated(self, x, position):
                        halves = torch.stack(x.float().chunk(2, -1), -1).contiguous()
                        turned = torch.view_as_real(torch.view_as_complex(halves) * self.table[position].unsqueeze(-2))
                        return torch.cat(turned.unbind(-1), -1).to(x.dtype)
                models.PlainAttention = Attention
                adapter = plain_adapter.adapter
                """, "bf16", 70),
            "checkpointed blocks": ("""
                class Block(models.PlainBlock):
                    def forward(self, *inputs):
                        if not torch.is_grad_enabled():
                            return super().forward(*inputs)
                        return torch.utils.checkpoint.checkpoint(super().forward, *inputs, use_reentrant=False)
                models.PlainBlock = Block
                adapter = plain_adapter.adapter
                """, "f32", 70),
            "the library's norms, compiled": ("""
                models.RMSNorm = lambda size, eps: torch.nn.RMSNorm(size, eps)
                def adapter(s):
                    made = plain_adapter.adapter(s)
                    made.build = lambda s: torch.compile(models.Plain(s), backend="eager")
                    prefixed = lambda value: {**value, "from": "_orig_mod." + value["from"]} if isinstance(value, dict) else "_orig_mod." + value
                    made.mapping = {name: prefixed(value) for name, value in made.mapping.items()}
                    made.stage_sources = {name: prefixed(value) for name, value in made.stage_sources.items()}
                    made.writes = None
                    return made
                """, "f32", 60),
            "a mask of ones, always": ("""
                class Masked(models.Plain):
                    def forward(self, tokens, pad_mask=None, position=None, cache=None, start=0):
                        if pad_mask is None:
                            pad_mask = torch.ones(len(tokens), start + tokens.shape[1], dtype=torch.bool)
                        return super().forward(tokens, pad_mask, position, cache, start)
                plain_adapter.Plain = Masked
                adapter = plain_adapter.adapter
                """, "f32", 70),
            "neither mask nor cache, and a greedy loop": ("""
                class Bare(models.Plain):
                    def forward(self, idx):
                        return super().forward(idx)[0]
                    def generate(self, idx, max_new_tokens):
                        for _ in range(max_new_tokens):
                            idx = torch.cat([idx, self(idx)[:, -1:].argmax(-1)], 1)
                        return idx
                def adapter(s):
                    made = plain_adapter.adapter(s)
                    made.build, made.writes = Bare, Bare.generate
                    made.mask = made.positions = made.cache = made.prompt_padding = None
                    return made
                """, "f32", 60),
        }
        for name, (text, dtype, most) in ways.items():
            with self.subTest(name):
                adapter = self.file("import models, plain_adapter, torch, torch.utils.checkpoint\n" + textwrap.dedent(text), "honest.py")
                requirements = self.judged(adapter, 0, "--dtype", dtype)
                for verdict in ("fail", "error", "not assessed"):
                    self.assertEqual(self.verdicts(requirements, verdict), [], verdict)
                self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), most)

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_transformers_llama(self):
        self.conforms("llama_adapter.py", "f32")

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_each_attention_of_transformers_and_of_torch(self):
        """What hides a key, -inf or the type's lowest number, and how a kernel rounds, are the implementation's own business."""
        text = (MODELS / "llama_adapter.py").read_text()
        for attention, kernel in (("eager", "MATH"), ("sdpa", "MATH"), ("sdpa", "FLASH_ATTENTION")):
            with self.subTest(attention=attention, kernel=kernel):
                adapter = self.file(text.replace("llama_config(s))", f"llama_config(s), attn_implementation='{attention}')") + textwrap.dedent(f"""
                    from torch.nn.attention import SDPBackend, sdpa_kernel
                    plain = LlamaForCausalLM.forward
                    def forward(self, *inputs, **keywords):
                        with sdpa_kernel([SDPBackend.{kernel}, SDPBackend.MATH]):
                            return plain(self, *inputs, **keywords)
                    LlamaForCausalLM.forward = forward
                    """))
                requirements = self.judged(adapter, 0, "--dtype", "bf16" if attention == "eager" else "f32")
                self.assertEqual(self.verdicts(requirements, "fail"), [])


class Containment(Runs):
    """What is wrong with the user's file, said with the line that it is in."""

    def test_no_such_file(self):
        self.refused(self.root / "nowhere.py", "nowhere.py", "no such file")

    def test_files_that_define_no_adapter(self):
        for text, words in (
                ("x = 1\nif x\n    pass\n", ("broken.py:2", "SyntaxError")),
                ("x = 1\n\nimport no_such_module\n", ("broken.py:3", "ModuleNotFoundError", "no_such_module")),
                ("import plumbline\nAdapter = plumbline.Module\n", ("broken.py:1", "defines no `adapter`")),
                ("import plumbline\n\ndef build():\n    pass\n\nadapter = plumbline.Module(build)\n", ("broken.py:3", "build(specification)")),
                ("import plumbline\nadapter = plumbline.Module(lambda s: 7)\n", ("broken.py:2", "int", "torch.nn.Module"))):
            with self.subTest(text):
                self.refused(self.file(text), *words)

    def test_mappings_that_name_nothing(self):
        adapter = "import models, plumbline\nadapter = plumbline.Module(models.Plain, mapping={})\n"
        self.refused(self.file(adapter.format("{'model.embed_tokens.weight': 'nowhere.weight'}")), "broken.py", "nowhere.weight")
        requirements = self.judged(self.file(adapter.format("{'model.embedding': 'tok.weight'}")), 1, "--only", "2")
        self.assertLessEqual({"PAR-2", "PAR-4"}, set(self.verdicts(requirements, "fail")))

    def test_a_model_that_raises_at_once(self):
        self.refused(self.plain("raise RuntimeError('out of\\nluck')"), "broken.py:8", "RuntimeError: out of")

    def test_a_model_that_raises_in_some_requirements(self):
        adapter = self.plain("if keywords.get('cache'): raise RuntimeError('no luck')")
        requirements = self.judged(adapter, 2, "--only", "4,6")
        self.assertEqual([i for i in self.verdicts(requirements, "error") if not i.startswith("KVC")], [])
        self.assertIn("broken.py:8: RuntimeError: no luck", requirements["KVC-4"]["reason"])
        self.assertEqual(requirements["BLK-1"]["verdict"], "pass")

    def test_logits_of_another_shape(self):
        self.refused(self.plain("return super().forward(*inputs, **keywords)[0][0], None"), "broken.py", "logits are of shape [2, 101]", "logits=")

    def test_a_model_that_prints_and_floods(self):
        adapter = self.plain("print('hello', Broken.calls); os.write(1, b'{\"id\": 7}\\n'); os.write(2, b'noise\\n' * 200000)")
        requirements = self.judged(adapter, 3, "--only", "6")
        self.assertEqual(len(self.verdicts(requirements, "pass")), 8)

    def test_a_model_that_dies_once(self):
        adapter = self.plain("flag = pathlib.Path(__file__).with_suffix('.died')\n"
                             "                    if Broken.calls == 30 and not flag.exists(): flag.touch(); print('good bye'); os._exit(3)")
        requirements = self.judged(adapter, 2, "--only", "5,6")
        errors = self.verdicts(requirements, "error")
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("ended with status 3", requirements[errors[0]]["reason"])
        self.assertIn("good bye", requirements[errors[0]]["reason"])
        self.assertEqual(self.verdicts(requirements, "fail"), [])
        self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), 16)

    def test_a_place_for_temporary_files_that_is_lost_is_no_failure_of_the_model(self):
        """As a full disk is none: what cannot be asked was not answered wrongly."""
        adapter = self.plain("import glob, shutil\n"
                             "                    lost = glob.glob(os.environ['TMPDIR'] + '/plumbline-*') if Broken.calls == 20 else []\n"
                             "                    for place in lost: shutil.rmtree(place)")
        requirements = self.judged(adapter, 2, "--only", "text")
        self.assertEqual(self.verdicts(requirements, "fail"), [])
        self.assertGreater(len(self.verdicts(requirements, "error")), 3)

    def test_a_model_that_dies_where_nobody_waits_for_an_answer(self):
        adapter = self.file("""
            import os
            import plumbline.server
            import plain_adapter
            closing, closed = plumbline.server.Server.close_cache, []
            def close_cache(self, request):
                closed.append(request)
                if len(closed) == 5:
                    os._exit(3)
                return closing(self, request)
            plumbline.server.Server.close_cache = close_cache
            adapter = plain_adapter.adapter
            """)
        requirements = self.judged(adapter, 2, "--only", "4,7")
        self.assertIn("close_cache", " ".join(requirements[each]["reason"] for each in self.verdicts(requirements, "error")))

    def test_a_model_that_hangs(self):
        self.refused(self.plain("time.sleep(1000)"), "no answer within 6 s", arguments=["--timeout", "6"])


class Speech(Runs):
    """Programs that speak the protocol wrongly."""

    def test_one_that_speaks_rightly_is_judged(self):
        requirements = self.judged(self.speaker(), 1)
        # Its logits are not those of its one matrix, with everything that it lacks doing nothing.
        self.assertEqual(self.verdicts(requirements, "fail"), ["PAR-1", "PAR-2", "MODE-2", "MODE-11", "NUM-6", "TXT-2"])
        self.assertIn("NUM-5", self.verdicts(requirements, "pass"))

    def test_no_program(self):
        self.refused("exec: false", "false", "status 1")
        self.refused("exec: no-such-program", "no-such-program", "not found")
        self.refused("exec:", "exec:")
        self.refused("exec: exec sleep 1000", "no answer within 2 s", arguments=["--timeout", "2"])
        self.refused("exec: exit 0", "status 0")
        self.refused("exec: kill -9 $$", "signal 9")
        # Asked or not yet: it writes at once, and either is said with what it wrote.
        self.refused("exec: yes", "exec: yes", "'y")

    def test_a_hello_that_is_none(self):
        for how, *words in (("id", "expected a reply to request 1"), ("text", "good morning", "JSON"), ("empty line", "JSON"),
                            ("deep", "JSON"), ("huge", "bytes in one line"), ("bytes", "JSON"), ("nan", "JSON"), ("no end", "status 0"),
                            ("kind", "unknown kind 'odd'"), ("cannot", "not today"), ("overrun", "not today"), ("failed",),
                            ("type", "float16"), ("protocol", "protocol 1"), ("mapping", "nowhere.weight"), ("exit", "status 3"),
                            ("unasked", "and by the way", "without being asked"), ("two", "without being asked")):
            with self.subTest(how):
                self.refused(self.speaker(how, "hello"), *words)

    def test_weights_that_are_none(self):
        for how, *words in (("climbs", "plain name"), ("half", "tensors"), ("empty", "tensors"), ("no file", "tensors"), ("folder", "tensors"),
                            ("link", "tensors"), ("fifo", "tensors"), ("exit", "status 3"), ("cannot", "not today")):
            with self.subTest(how):
                self.refused(self.speaker(how, "weights"), *words, arguments=["--timeout", "3"])

    def test_first_logits_that_are_none(self):
        for how, *words in (("climbs", "plain name"), ("half", "tensors"), ("exit", "status 3"), ("hang", "no answer within 1 s"), ("flat", "shape"),
                            ("no words", "logits"), ("more words", "logits"), ("integers", "logits"), ("truths", "logits"),
                            ("cannot", "not today"), ("overrun", "not today"), ("failed", "xxx"), ("seconds",)):
            with self.subTest(how):
                if how == "seconds":
                    self.judged(self.speaker(how, "forward"), 1)
                else:
                    self.refused(self.speaker(how, "forward"), *words, arguments=["--timeout", "1"])

    def test_later_logits_that_are_none(self):
        # Whatever is answered after the adapter was checked costs the requirement at hand, and those after three new starts.
        for how in ("id", "huge", "two", "half", "exit", "flat", "no words"):
            with self.subTest(how):
                requirements = self.judged(self.speaker(how, "forward", 6), 1, "--only", "2,7")
                self.assertNotEqual(self.verdicts(requirements, "error"), [])

    def test_children_and_noise_are_no_hindrance(self):
        self.judged(self.speaker("children", "forward", 3), 1, "--only", "2,7")
        self.judged(self.speaker("flood", "forward", 3), 1, "--only", "2,3")

    def test_an_end_that_does_not_come_is_made(self):
        self.judged(self.speaker("hang", "bye"), 1, "--only", "2", "--timeout", "2")


class Parameters(Runs):
    """A parameter too many or too few fails by name, does nothing to anything else, and what else there is passes."""

    def adapter(self, settings, change="pass"):
        return self.file(f"""
            import torch
            import minimind_adapter, models, plumbline
            def build(settings):
                model = models.MiniMind({{**settings, **{settings}}})
                {change}
                return model
            adapter = plumbline.Module(build, mask="attention_mask", repeat_kv=models.repeat_kv, rotate=minimind_adapter.rotate,
                                       cache=plumbline.Cache("past_key_values", keywords={{"use_cache": True}}))
            """, "adapter.py")

    def claims(self, **changes):
        """A specification: tiny, with these changes."""
        root = pathlib.Path(__file__).resolve().parents[2]
        tiny = json.loads((root / "fixtures" / "specifications" / "tiny.json").read_text())
        (self.root / "claimed.json").write_text(json.dumps({**tiny, "name": "claimed", **changes}))
        self.specification = str(self.root / "claimed.json")

    def only(self, adapter, fails, not_assessed):
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), fails)
        self.assertEqual(self.verdicts(requirements, "not assessed"), not_assessed)
        self.assertEqual(self.verdicts(requirements, "error"), [])
        return requirements

    def test_matrices_that_begin_as_the_specification_says(self):
        """Normal with 0.02, what writes into the residual stream smaller; then one of its two matrices like the others."""
        self.claims(initialization={"embedding": {"normal": 0.02}, "linear": {"normal": 0.02}, "residual": {"normal": 0.02 / 10 ** 0.5}})
        begun = ("for name, values in model.named_parameters(): "
                 "values.dim() == 2 and torch.nn.init.normal_(values, std=0.02 / 10 ** 0.5 if name.endswith(%s) else 0.02)")
        for smaller, wrong in ((("o_proj.weight", "down_proj.weight"), []), (("o_proj.weight",), ["CFG-17"])):
            requirements = self.judged(self.adapter({}, begun % (smaller,)), 3, "--only", "1,9")
            self.assertEqual(self.verdicts(requirements, "fail"), wrong)
            self.assertEqual({requirements[i]["verdict"] for i in ("CFG-14", "TRN-1")}, {"pass"})
            self.assertEqual([r["what"] for r in requirements["CFG-17"]["checks"] if not r["within"]],
                             ["mean square of the initial down_proj.weight"] if wrong else [])

    def test_biases_that_are_missing(self):
        biases = 5 * (2 * 128 + 48 + 2 * 48 + 2 * 16)
        self.claims(attention_bias=True, mlp_bias=True, parameter_count=128256 + biases)
        adapter = self.adapter({"attention_bias": False, "mlp_bias": False})
        requirements = self.only(adapter, ["CFG-12", "PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-3", "TRN-4"])
        self.assertIn("a bias 0", requirements["PAR-2"]["finding"])


class Losses(Runs):
    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_labels_that_a_model_of_transformers_does_not_shift(self):
        """A model's own loss is what training sees: its logits are right."""
        adapter = self.file("""
            import plumbline
            from torch.nn.functional import cross_entropy
            from transformers import LlamaConfig, LlamaForCausalLM
            class Unshifted(LlamaForCausalLM):
                def forward(self, *inputs, labels=None, **keywords):
                    result = super().forward(*inputs, **keywords)
                    if labels is not None:
                        result.loss = cross_entropy(result.logits.flatten(0, 1), labels.flatten())
                    return result
            adapter = plumbline.HuggingFace(lambda s: Unshifted(LlamaConfig(**plumbline.llama_config(s))))
            """)
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["NUM-7", "TRN-2", "TRN-3", "TRN-4", "TRN-5", "TRN-7"])
        self.assertEqual(self.verdicts(requirements, "error") + self.verdicts(requirements, "not assessed"), [])


class MoreParameters(Parameters):
    """The other kinds; run with --long."""

    def test_an_output_head_that_is_missing(self):
        self.claims(tie_word_embeddings=False, parameter_count=128256 + 101 * 48)
        self.only(self.adapter({"tie_word_embeddings": True}), ["CFG-13", "PAR-1", "PAR-2"],
                  ["NUM-1", "NUM-2", "NUM-3", "TRN-4", "TRN-5"])

    def test_the_weight_of_a_norm_that_is_missing(self):
        adapter = self.adapter({}, "del model.model.norm.weight; model.model.norm.weight = torch.ones(48)")
        self.only(adapter, ["PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-8", "TRN-4"])

    def test_a_layer_that_is_missing(self):
        self.claims(num_hidden_layers=6, parameter_count=152928)
        requirements = self.judged(self.adapter({"num_hidden_layers": 5}), 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["CFG-3", "PAR-1", "PAR-2", "KVC-1", "KVC-3"])
        for identifier in ("NUM-6", "NUM-7", "MODE-1", "KVC-11"):
            self.assertEqual(requirements[identifier]["verdict"], "pass", identifier)
        self.assertIn("layers.5", requirements["GQA-7"]["reason"])

    def test_a_layer_too_many(self):
        self.only(self.adapter({"num_hidden_layers": 6}), ["CFG-3", "PAR-1", "PAR-4", "KVC-1", "KVC-3"], ["KVC-2", "KVC-9"])

    def test_biases_and_a_head_too_many(self):
        adapter = self.adapter({"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False})
        requirements = self.only(adapter, ["CFG-12", "CFG-13", "CFG-14", "PAR-1", "PAR-4", "PAR-7"], ["TRN-5"])
        self.assertIn("a bias 0", requirements["PAR-4"]["finding"])

    def test_a_matrix_that_nothing_replaces(self):
        adapter = self.adapter({}, "for layer in model.model.layers: layer.self_attn.o_proj = torch.nn.Identity()")
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["PAR-1", "PAR-2"])
        self.assertIn("it has no parameter model.layers.0.self_attn.o_proj.weight", requirements["NUM-6"]["reason"])


class Narrowing(Runs):
    """A model that shows no stage: what its logits alone tell of the place."""

    def concluded(self, name):
        edit = next(edit for edit in EDITS if edit.name == name)
        text = (MODELS / "models.py").read_text()
        for old, new in edit.change.items():
            text = text.replace(old, new)
        self.file(text, "models.py")
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        silent = self.file("""
            import dataclasses
            import plain_adapter
            def adapter(specification):
                made = plain_adapter.adapter(specification)
                def silent(method):
                    return lambda *given: method(*given[:-1], dataclasses.replace(given[-1], observe=frozenset()))
                made.tried_stages = lambda: []
                made.forward, made.extend = silent(made.forward), silent(made.extend)
                return made
            """, "silent.py")
        run, result = self.verify(silent, "--only", "7,8")
        self.assertEqual(run.returncode, 1, run.stdout[-2000:] + run.stderr)
        found = result["localisation"]
        self.assertIsNone(found["first_locally_wrong"], found["conclusion"])
        return found["conclusion"]

    def test_what_is_wrong_in_a_block(self):
        said = self.concluded("gelu")
        self.assertIn("wrong on their own: the feed-forward of layer 0 alone, the feed-forward of layer 1 alone", said)
        self.assertNotIn("attention", said)
        self.assertIn("a single token is wrong too", said)

    def test_what_is_wrong_between_tokens(self):
        said = self.concluded("theta-of-llama-2")
        self.assertIn("wrong on their own: the attention of layer 0 alone", said)
        self.assertNotIn("feed-forward", said)
        self.assertIn("a single token is right", said)

    def test_what_is_wrong_outside_the_blocks(self):
        self.assertIn("with every block silenced the logits are still wrong", self.concluded("embedding-scaled"))

    def test_what_is_wrong_in_one_way_of_running_it(self):
        self.assertEqual(self.concluded("positions-restart"),
                         "a plain pass of 24 tokens is right; wrong are: decoding after a prefill, decoding from one token, "
                         "decoding of 134 tokens, 4 tokens after 600, prefill in chunks")


class Interruptions(Runs):
    def test_signals_end_it_at_any_moment(self):
        moments = random.Random(1)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        for turn in range(8):
            number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
            # Half of them in a short-lived run of a program that starts at once.
            candidate, longest = ((self.root / "plain_adapter.py", 4.0), (self.speaker(), 0.4))[turn // 2 % 2]
            moment = moments.uniform(0.02, longest)
            with self.subTest(signal=number.name, moment=round(moment, 3), candidate=str(candidate)[:20]):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(candidate)
                time.sleep(moment)
                process.send_signal(number)
                run = self.ended(process, 5)
                if (self.out / "summary.md").exists():  # it was judged before: all is written, and whole
                    self.assertEqual(sorted(os.listdir(self.out)), files_of(self.out))
                    continue
                self.assertEqual(run.returncode, -number)
                self.assertFalse(self.out.exists() and os.listdir(self.out))

    def test_a_killed_candidate_never_makes_it_hang(self):
        moments = random.Random(2)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        for turn in range(12):
            candidate, longest = (self.root / "plain_adapter.py", 5.0) if turn % 4 == 0 else (self.speaker(), 0.5)
            marker = "plumbline.serve" if turn % 4 == 0 else "speaker.py"
            moment = moments.uniform(0, longest)
            with self.subTest(moment=round(moment, 3), candidate=str(candidate)[:20]):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(candidate, *(["--only", "3"] if turn % 4 == 0 else []))
                self.strike(process, marker, signal.SIGKILL, moment)
                run = self.ended(process, 60)
                if (self.out / "result.json").exists():
                    self.assertIn(run.returncode, (1, 2, 3))
                else:
                    self.assertEqual(run.returncode, 2)
                    self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
                    self.assertIn("signal 9", run.stderr)



class Kills(Runs):
    """A candidate is killed or stands still: a verdict or a clear error, no hang, nothing left over; run with --kills."""

    SEED = None
    SAYS = {signal.SIGKILL: "was ended by signal 9 (Killed)", signal.SIGTERM: "was ended by signal 15 (Terminated)",
            signal.SIGSTOP: "gave no answer within 3 s"}
    SENDS_TENSORS = ("weights", "forward", "extend", "show_cache", "gradients", "operation")
    CHAPTERS = ("--only", "1,3,4,8")  # in which every request is made

    @classmethod
    def setUpClass(cls):
        import jsonschema
        schema = pathlib.Path(__file__).resolve().parents[2] / "harness" / "result" / "result.schema.json"
        cls.schema = jsonschema.Draft202012Validator(json.loads(schema.read_text()))

    def run_of(self, candidate, *arguments):
        shutil.rmtree(self.out, ignore_errors=True)
        run = self.ended(self.start(candidate, "--timeout", "3", *arguments), 90)
        return run, self.result_of(run)

    def result_of(self, run):
        """What it wrote, whole and as its exit status says; None where nothing could be judged, which it then says."""
        self.assertIn(run.returncode, (0, 1, 2, 3), run.stderr)
        if not self.out.exists():
            self.assertEqual(run.returncode, 2)
            self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
            return None
        self.assertEqual(sorted(os.listdir(self.out)), files_of(self.out))
        result = json.loads((self.out / "result.json").read_text())
        self.assertEqual([error.json_path for error in self.schema.iter_errors(result)], [])
        self.assertEqual(run.returncode, result["footer"]["status"])
        self.assertEqual(run.stderr, "")
        if any(one["level"] == "must" and one["verdict"] == "error" for one in result["requirements"]):
            self.assertIn(run.returncode, (1, 2))
        return result

    def asked(self):
        """Names of the requests that the speaker was sent since this was last called."""
        file = self.root / "asked"
        names = file.read_text().split()
        file.unlink()
        return names

    def test_at_every_step(self):
        subprocess.run([PROGRAM, "adapter", "check", self.speaker(extent="whole"), "--spec", "tiny"], cwd=self.root, check=True,
                       capture_output=True)
        checked = self.asked()[:-1]  # without bye
        honest = self.run_of(self.speaker(extent="whole"), *self.CHAPTERS)[0]
        names = self.asked()
        self.assertEqual(names[:len(checked)], checked)
        earliest = {name: names.index(name) + 1 for name in names}
        self.assertGreaterEqual(len(earliest), 13, "a request that is never made is never tried")
        latest = {name: number for number, name in enumerate(names, 1)}
        moments = {name: ["before", "half line", "after"] + ["half file"] * (name in self.SENDS_TENSORS) for name in earliest}
        cases = [(signal.SIGKILL, earliest[name], moment) for name in moments for moment in moments[name]]
        cases += [(signal.SIGKILL, latest[name], moment) for name in moments for moment in ("before", "after")
                  if latest[name] > earliest[name]]
        # A step that stands still takes its three seconds: one moment each.
        cases += [(how, latest[name], moments[name][(turn + shift) % len(moments[name])]) for turn, name in enumerate(moments)
                  for shift, how in enumerate((signal.SIGTERM, signal.SIGSTOP))]
        for how, number, moment in cases:
            met = number + (moment == "after")  # the request that goes unanswered
            at = names[met - 1] if met <= len(names) else "bye"
            with self.subTest(signal=how.name, request=f"{number} ({names[number - 1]})", moment=moment, seen_at=at):
                run, result = self.run_of(self.speaker(f"{how.name} {moment}", number, extent="whole"), *self.CHAPTERS)
                self.assertEqual(self.asked()[:number], names[:number])
                if met <= len(checked):
                    self.assertIsNone(result)
                    self.assertIn(f"{self.SAYS[how]} ({at})", run.stderr)
                    continue
                self.assertEqual(run.returncode, honest.returncode)
                if not set(names[met - 1:]) - {"close_cache", "bye"}:
                    continue  # nothing more was to be judged
                said = f"{self.SAYS[how]} ({at})" in json.dumps(result)
                # Where no requirement waits for the answer (caches are closed, failures are located), another one is started.
                noted = "it was started" in result["header"]["notes"][-1]
                self.assertTrue(said or noted and (at == "close_cache" or number == latest[names[number - 1]]), "not said")

    def test_at_random(self):
        print("seed", self.SEED)
        chance = random.Random(self.SEED)
        shutil.copy(MODELS / "plain_adapter.py", self.root)
        began = time.monotonic()
        self.run_of(self.speaker(extent="whole"), *self.CHAPTERS)
        longest = 0.7 * (time.monotonic() - began)  # from the start of the candidate
        hits = 0
        for turn in range(50):
            plain = turn % 8 == 0
            # Reading torch takes longer than three seconds now and then: that one is not stopped.
            how = chance.choice([signal.SIGKILL] * 4 + [signal.SIGTERM] * 2 + [signal.SIGSTOP] * (not plain))
            moment = chance.uniform(0, 4 if plain else longest)
            with self.subTest(seed=self.SEED, turn=turn, signal=how.name, moment=round(moment, 3), plain=plain):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start(*([self.root / "plain_adapter.py", "--only", "3"] if plain
                                       else [self.speaker(extent="whole"), "--timeout", "3", *self.CHAPTERS]))
                hits += self.strike(process, "plumbline.serve" if plain else "speaker.py", how, moment)
                run = self.ended(process, 90)
                if self.result_of(run) is None:
                    self.assertIn(self.SAYS[how], run.stderr)
        self.assertGreater(hits, 15)  # the others came when all was over

    def test_what_leaves_its_group_is_seen_and_left(self):
        # A process that makes itself a session of its own is out of reach: the limit of what is promised.
        process = self.start(self.speaker("daemon", 4), "--only", "2,7")
        with self.assertRaisesRegex(AssertionError, "left running"):
            self.ended(process)
        left = of_marker(str(self.root))
        self.assertEqual(len(left), 1, left)
        os.kill(*left, signal.SIGKILL)


class Edits(Honest):
    """Mistakes that test_diagnosis.py cannot ask about, and the other types of what is right; run with --long."""

    def test_a_model_of_names_and_layouts_of_its_own(self):
        self.conforms("plain_adapter.py", "bf16")

    def test_a_model_like_minimind(self):
        self.conforms("minimind_adapter.py", "f32")

    def test_transformers_llama(self):
        self.skipTest("run without --long")

    def edited(self, edit):
        folder = self.root / edit.name
        folder.mkdir()
        text = (MODELS / "models.py").read_text()
        for old, new in edit.change.items():
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        (folder / "models.py").write_text(text)
        return pathlib.Path(shutil.copy(MODELS / "plain_adapter.py", folder))

    def test_what_is_wrong_in_half_precision_alone(self):
        for edit in BFLOAT16_EDITS:
            with self.subTest(edit.name):
                requirements = self.judged(self.edited(edit), 1, "--dtype", "bf16")
                self.assertLessEqual(set(edit.fails), set(self.verdicts(requirements, "fail")))
                found = json.loads((self.out / "result.json").read_text())["localisation"]
                self.assertEqual(found["first_locally_wrong"], edit.stage, found["conclusion"])

    def test_what_cannot_be_compared(self):
        for edit in EDITS:
            if edit.refused:
                self.refused(self.edited(edit), edit.refused)


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    if "--kills" in sys.argv:
        at = sys.argv.index("--kills")
        Kills.SEED = int(sys.argv[at + 1]) if at + 1 < len(sys.argv) else random.randrange(1000000)
        del sys.argv[at:]
        del Honest, Containment, Speech, Parameters, Losses, MoreParameters, Narrowing, Interruptions, Edits
    elif "--long" in sys.argv:
        sys.argv.remove("--long")
        del Honest, Containment, Speech, Parameters, Losses, Narrowing, Interruptions, Kills
    else:
        del MoreParameters, Edits, Kills
    unittest.main(verbosity=1)
