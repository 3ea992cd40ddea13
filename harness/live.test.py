"""Live models, right, wrong and misbehaving, judged by the real program.

Run by CTest as `python live.test.py PROGRAM [--long]`; with --long, the edits of harness/python/tests/edits.py instead, which
take ten minutes. Models run in the interpreter that runs this file.
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
MODELS = pathlib.Path(__file__).resolve().parent / "python" / "tests"
sys.path.insert(0, str(MODELS))
from edits import BFLOAT16_EDITS, EDITS  # noqa: E402

# A program that answers the protocol with nothing but the standard library: an embedding for parameters, and logits that are
# its tokens' ids. HOW it goes wrong, at which request, and from which one of that name on, are its arguments.
SPEAKER = r'''
import json, math, os, struct, sys, time

how, where, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
TYPES = {"F32": "f", "I64": "q", "BOOL": "?"}

def saved(name, shape, values, kind="F32"):
    header = json.dumps({name: {"dtype": kind, "shape": shape, "data_offsets": [0, len(values) * struct.calcsize(TYPES[kind])]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<%d%s" % (len(values), TYPES[kind]), *values)

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
    return saved("logits", shape, values, kind)

counts = {}
for line in sys.stdin:
    request = json.loads(line)
    name, reply = request["request"], {"id": request["id"]}
    counts[name] = counts.get(name, 0) + 1
    wrong = how if name == where and counts[name] >= first else None
    file = "reply-%d-%d" % (os.getpid(), request["id"])
    content = None
    if name == "hello":
        directory = request["directory"]
        reply.update(protocol=1, name="Speaker", framework="none", dtype=request["dtype"], device="cpu", configuration={}, mapping=None,
                     parameters=[{"name": "model.embed_tokens.weight", "shape": [101, 48], "dtype": "float32"}], can={"modes": ["evaluation"]})
    if name == "weights":
        content = saved("model.embed_tokens.weight", [101, 48], [0.5] * (101 * 48))
    if name == "forward":
        kind = {"integers": "I64", "truths": "BOOL"}.get(wrong, "F32")
        content = logits(request, kind, {"no words": 0, "more words": 101 + counts[name]}.get(wrong, 101), wrong == "flat")
    if content is not None:
        reply["tensors"] = file
    path = os.path.join(directory, file)
    if wrong == "fifo": os.mkfifo(path)
    elif wrong == "link": os.symlink("/etc/passwd", path)
    elif wrong == "folder": os.mkdir(path)
    elif wrong == "no file": pass
    elif wrong == "half": open(path, "wb").write(content[:len(content) // 2])
    elif wrong == "empty": open(path, "wb")
    elif content is not None: open(path, "wb").write(content)
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
    if wrong == "flood": os.write(2, b"noise\n" * 2000000)
    text = json.dumps(reply)
    text = {"text": "good morning", "list": "[1]", "empty line": "", "deep": "[" * 100000, "huge": "x" * (2 << 20), "two": text + "\n" + text,
            "nan": text[:-1] + ', "seconds": NaN}', "bytes": "\udcff\udcfe", "seconds": text[:-1] + ', "seconds": "soon"}'}.get(wrong, text)
    if wrong == "unasked": text += "\nand by the way\n"
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + (b"" if wrong == "no end" else b"\n"))
    sys.stdout.buffer.flush()
    if wrong == "no end": os._exit(0)
    if name == "bye": break
'''


def of_marker(marker):
    """{process: command line} of those whose command line holds the marker."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") if entry.name.isdigit() else ""
        except OSError:
            continue
        if marker in words:
            found[int(entry.name)] = words
    return found


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.private = self.root / "private"
        self.private.mkdir()
        self.out = self.root / "out"

    def start(self, candidate, *arguments):
        command = [PROGRAM, "verify", str(candidate), "--spec", "tiny", "--threads", "1", "--python", sys.executable, "--out", str(self.out),
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

    def speaker(self, how="right", where="none", first=1):
        self.file(SPEAKER, "speaker.py")
        return f"exec: exec {sys.executable} {self.root}/speaker.py '{how}' {where} {first}"

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

    @unittest.skipUnless(importlib.util.find_spec("transformers"), "transformers cannot be imported here")
    def test_transformers_llama(self):
        self.conforms("llama_adapter.py", "f32")


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
                             "                    if Broken.calls == 12 and not flag.exists(): flag.touch(); print('good bye'); os._exit(3)")
        requirements = self.judged(adapter, 2, "--only", "5,6")
        errors = self.verdicts(requirements, "error")
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("ended with status 3", requirements[errors[0]]["reason"])
        self.assertIn("good bye", requirements[errors[0]]["reason"])
        self.assertEqual(self.verdicts(requirements, "fail"), [])
        self.assertGreaterEqual(len(self.verdicts(requirements, "pass")), 16)

    def test_a_model_that_hangs(self):
        self.refused(self.plain("time.sleep(1000)"), "no answer within 6 s", arguments=["--timeout", "6"])


class Speech(Runs):
    """Programs that speak the protocol wrongly."""

    def test_one_that_speaks_rightly_is_judged(self):
        requirements = self.judged(self.speaker(), 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["PAR-1", "PAR-2"])
        self.assertIn("NUM-5", self.verdicts(requirements, "pass"))

    def test_no_program(self):
        self.refused("exec: false", "false", "status 1")
        self.refused("exec: no-such-program", "no-such-program", "not found")
        self.refused("exec:", "exec:")
        self.refused("exec: exec sleep 1000", "no answer within 2 s", arguments=["--timeout", "2"])
        self.refused("exec: exit 0", "status 0")
        self.refused("exec: kill -9 $$", "signal 9")
        self.refused("exec: yes", "'y'")

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
                    self.assertEqual(sorted(os.listdir(self.out)), ["result.json", "result.xml", "summary.md"])
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
                began = time.monotonic()
                while time.monotonic() - began < 10 and (found := self.candidates(process, marker)) == []:
                    time.sleep(0.005)
                time.sleep(moment)
                for child in self.candidates(process, marker):
                    os.kill(child, signal.SIGKILL)
                run = self.ended(process, 60)
                self.assertNotEqual(found, [])
                if (self.out / "result.json").exists():
                    self.assertIn(run.returncode, (1, 2, 3))
                else:
                    self.assertEqual(run.returncode, 2)
                    self.assertEqual(len(run.stderr.splitlines()), 1, run.stderr)
                    self.assertIn("signal 9", run.stderr)

    def candidates(self, process, marker):
        return [child for child, words in of_marker(str(self.root)).items() if child != process.pid and marker in words and " verify " not in words]


class Edits(Honest):
    """Mistakes that people make, and the other types of what is right; run with --long."""

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

    def test_every_edit_is_found(self):
        for edit, dtype in [(edit, "f32") for edit in EDITS] + [(edit, "bf16") for edit in BFLOAT16_EDITS]:
            with self.subTest(edit.name):
                if edit.refused:
                    self.refused(self.edited(edit), edit.refused, arguments=["--dtype", dtype])
                    continue
                requirements = self.judged(self.edited(edit), 1, "--dtype", dtype)
                self.assertLessEqual(set(edit.fails), set(self.verdicts(requirements, "fail")))
                wrong = [check["what"] for identifier in (*edit.fails, "NUM-4") for check in requirements[identifier]["checks"]
                         if not check["within"]]
                if edit.stage:
                    self.assertTrue(any(what.startswith(edit.stage) for what in wrong), f"{edit.stage} is not among {wrong}")


if __name__ == "__main__":
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    LONG = "--long" in sys.argv
    if LONG:
        sys.argv.remove("--long")
        del Honest, Containment, Speech, Interruptions
    else:
        del Edits
    unittest.main(verbosity=1)
