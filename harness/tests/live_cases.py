"""What tests of live models share: a program that answers the protocol, and runs of ours that end well.

Models run in the interpreter that runs the test.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

MODELS = pathlib.Path(__file__).resolve().parent.parent / "python" / "tests"
with_transformers = pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="transformers cannot be imported here")

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


def with_verdict(requirements, verdict):
    return [identifier for identifier, requirement in requirements.items() if requirement["verdict"] == verdict]


class Live:
    def __init__(self, program, root, python=sys.executable):
        self.program, self.root, self.python = program, root, python
        self.specification = "tiny"
        self.private = root / "private"
        self.private.mkdir()
        self.out = root / "out"

    def start(self, candidate, *arguments, command="verify"):
        if command in ("verify", "record"):  # a diagnosis takes seconds of each failing run
            arguments += ("--no-diagnosis",)
        others = os.environ.get("PYTHONPATH")
        paths = os.pathsep.join([str(MODELS), *([others] if others else [])])
        return self.program.start(command, candidate, "--spec", self.specification, "--threads", "1", "--python", self.python,
                                  "--out", self.out, *arguments, cwd=self.root,
                                  env={**os.environ, "TMPDIR": str(self.private), "PYTHONPATH": paths})

    def ended(self, process, seconds=120):
        """The finished run: nothing hangs, nothing is left behind, no error of our own is shown."""
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            pytest.fail(f"no end within {seconds} s")
        for ours in ("internal error", "Traceback", "terminate called"):
            assert ours not in errors
        deadline = time.monotonic() + 2
        while of_marker(str(self.root)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert of_marker(str(self.root)) == {}, "left running"
        # A compiler's cache is torch's own, and torch's to keep.
        assert [name for name in os.listdir(self.private) if not name.startswith("torchinductor_")] == [], "left behind"
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def verify(self, candidate, *arguments, seconds=120):
        shutil.rmtree(self.out, ignore_errors=True)
        run = self.ended(self.start(candidate, *arguments), seconds)
        return run, json.loads((self.out / "result.json").read_text()) if self.out.exists() else None

    def judged(self, candidate, status, *arguments):
        """Requirements by id, a verdict having been given with that status."""
        run, result = self.verify(candidate, *arguments)
        assert run.returncode == status, run.stdout[-3000:] + run.stderr
        assert result["header"]["candidate_kind"] == "live"
        assert run.stderr == ""
        return {requirement["id"]: requirement for requirement in result["requirements"]}

    def conforms(self, adapter, dtype, most=70):
        """So many requirements pass at least, and what is not passed does not apply."""
        requirements = self.judged(adapter, 0, "--dtype", dtype)
        for verdict in ("fail", "error", "not assessed"):
            assert with_verdict(requirements, verdict) == [], verdict
        assert len(with_verdict(requirements, "pass")) >= most

    def refused(self, candidate, *words, arguments=()):
        """Status 2, one line that says these words, nothing written."""
        run, result = self.verify(candidate, *arguments, seconds=60)
        assert run.returncode == 2, run.stdout + run.stderr
        assert result is None
        assert len(run.stderr.splitlines()) == 1, run.stderr
        assert len(run.stderr) < 1500
        for word in words:
            assert word in run.stderr
        return run.stderr

    def file(self, text, name="broken.py"):
        path = self.root / name
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def model(self, name, change=()):
        """The adapter of Plain in a folder of its own, with one text of its model for another."""
        folder = self.root / name
        folder.mkdir()
        text = (MODELS / "models.py").read_text()
        for old, new in dict(change).items():
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "models.py").write_text(text)
        return pathlib.Path(shutil.copy(MODELS / "plain_adapter.py", folder))

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
            assert time.monotonic() < deadline, "it was not started"
            time.sleep(0.005)
        time.sleep(moment)
        found = self.candidates(process, marker)
        for child in found:
            os.kill(child, number)
        return found != []

    def candidates(self, process, marker):
        return [child for child, words in of_marker(str(self.root)).items()
                if child != process.pid and marker in words and " verify " not in words]
