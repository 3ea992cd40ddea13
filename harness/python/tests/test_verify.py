"""plumbline.verify judges a model where it is, leaves it as it was, and never passes what was not looked at.

The program is what the environment variable PLUMBLINE names, or what verify() finds without it; without any, this fails.
"""

import asyncio
import contextlib
import importlib.util
import io
import json
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock

import models
import numpy
import torch
from edits import EDITS
from support import HERE, PLAIN, ROOT, specification, with_transformers, write

import plumbline
from plumbline import result, user_code, verification

S = specification()
MINIMIND = {"mask": "attention_mask", "cache": plumbline.Cache("past_key_values", keywords={"use_cache": True}),
            "repeat_kv": models.repeat_kv}


def plain_options():
    """What plain_adapter.py says of Plain, as keywords of verify()."""
    adapter = user_code.adapter_in(PLAIN, S)
    return {"mask": adapter.mask, "positions": adapter.positions, "cache": adapter.cache, "mapping": adapter.mapping,
            "stages": adapter.stage_sources, "configuration": adapter.configuration}


def edited(name):
    """models.Plain with one of the mistakes of edits.py."""
    with open(os.path.join(HERE, "models.py"), encoding="utf-8") as file:
        text = file.read()
    for old, new in next(edit for edit in EDITS if edit.name == name).change.items():
        text = text.replace(old, new)
    spec = importlib.util.spec_from_file_location("edited_models", write("edited_models.py", text))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Plain(S)


def running_within(directory):
    """Command lines of processes that name the directory."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as file:
            found.append(file.read().replace(b"\0", b" ").decode(errors="replace"))
    return [words for words in found if directory in words]


class Case(unittest.TestCase):
    """Whatever a test does: no process and no file is left."""

    def setUp(self):
        self.private = tempfile.mkdtemp(dir=ROOT.name)
        place = variable("TMPDIR", self.private)
        place.__enter__()
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        self.addCleanup(place.__exit__, None, None, None)
        self.addCleanup(self.nothing_is_left)
        tempfile.tempdir = None  # looked for anew

    def ends(self):
        deadline = time.monotonic() + 5
        while running_within(self.private) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertEqual(running_within(self.private), [], "left running")

    def nothing_is_left(self):
        self.ends()
        # A compiler's cache is torch's own, and torch's to keep.
        self.assertEqual([name for name in os.listdir(self.private) if not name.startswith("torchinductor_")], [], "left behind")

    def not_judged(self, *arguments, **keywords):
        """The CouldNotJudge that verify() raises. Each traceback of the model's stands on standard error, once."""
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), self.assertRaises(plumbline.CouldNotJudge) as caught:
            plumbline.verify(*arguments, **keywords)
        tracebacks = errors.getvalue().split("Traceback")
        self.assertEqual(len(tracebacks), len(set(tracebacks)), errors.getvalue())
        return caught.exception


@contextlib.contextmanager
def variable(name, value):
    """An environment variable, None for one that is not set."""
    before = os.environ.pop(name, None)
    os.environ.update({name: value} if value is not None else {})
    try:
        yield
    finally:
        os.environ.pop(name, None)
        os.environ.update({name: before} if before is not None else {})


def ids(requirements):
    return {requirement.id for requirement in requirements}


class Verdicts(Case):
    def test_a_right_model_conforms(self):
        found = plumbline.verify(models.MiniMind(S), "tiny", **MINIMIND)
        self.assertTrue(found and found.conforms, str(found))
        self.assertIs(found.require(), found)
        self.assertEqual((found.status, found.failures, found.errors, found.not_assessed), (0, [], [], []))
        self.assertGreater(len(found.passed), 60)
        self.assertEqual(len(found.requirements), len(found.document["requirements"]))
        # An instance cannot be made anew.
        self.assertIn("CFG-14", ids(found.not_applicable))
        self.assertIn("conforms to tiny", found.sentence)
        self.assertIn(found.sentence, repr(found))
        self.assertIn("conforms to tiny", found.summary)
        self.assertIn(found.sentence, found._repr_html_())

    def test_a_wrong_model_fails_where_it_is_wrong(self):
        found = plumbline.verify(edited("repeat-tiled"), "tiny", only=[3, 8], threads=1, **plain_options())
        self.assertEqual((found.status, found.conforms, bool(found)), (1, False, False))
        self.assertLessEqual({"GQA-2", "GQA-5", "NUM-6"}, ids(found.failures))
        failure = next(requirement for requirement in found.failures if requirement.id == "NUM-6")
        check = next(check for check in failure.checks if not check.within)
        self.assertIn("logits", check.what)
        self.assertEqual(len(check.worst_index), 3)
        self.assertGreater(check.worst_difference, check.tolerance)
        self.assertNotEqual(check.actual, check.expected)
        for text in (str(found), found._repr_html_()):
            self.assertIn(failure.statement, text)
        with self.assertRaises(AssertionError) as caught:
            found.require()
        self.assertIn(check.sentence, str(caught.exception))
        self.assertIn("GQA-2", repr(found))

    def test_only_some_chapters_are_incomplete(self):
        found = plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND)
        self.assertEqual((found.status, bool(found), found.failures), (3, False, []))
        self.assertIn("PAR-1", ids(found.passed))
        self.assertIn("NUM-6", ids(found.not_assessed))

    @with_transformers
    def test_a_model_of_transformers_needs_no_options(self):
        from transformers import LlamaConfig, LlamaForCausalLM
        model = LlamaForCausalLM(LlamaConfig(**plumbline.llama_config(S)))
        found = plumbline.verify(model, "tiny", only=[4, 5])
        self.assertEqual((found.failures, found.errors), ([], []), str(found))
        self.assertLessEqual({"KVC-4", "ROPE-6", "ROPE-8"}, ids(found.passed))

    def test_functions_and_adapters(self):
        adapter = plumbline.Module(models.MiniMind, **MINIMIND)
        before = dict(vars(adapter))
        for model, options in ((models.MiniMind, MINIMIND), (adapter, {}), (lambda specification: adapter, {})):
            found = plumbline.verify(model, "tiny", only=1, **options)
            self.assertEqual((found.failures, found.errors), ([], []), str(found))
            self.assertIn("CFG-14", ids(found.passed))  # made anew
        self.assertEqual(vars(adapter), before)

    def test_bfloat16(self):
        model = models.MiniMind(S).bfloat16()
        right = models.MiniMind(S).model
        model.model.freqs_cos, model.model.freqs_sin = right.freqs_cos, right.freqs_sin
        tables = set()
        model.register_forward_pre_hook(lambda *_: tables.add(model.model.freqs_cos.dtype))
        found = plumbline.verify(model, "tiny", only=6, **MINIMIND)
        self.assertEqual((found.failures, found.errors), ([], []), str(found))
        self.assertIn("BLK-1", ids(found.passed))
        self.assertEqual(found.document["header"]["dtype"], "bf16")
        self.assertEqual(tables, {torch.float32}, "judged as it is")

    def test_the_bundle_stays_where_it_was_asked_for(self):
        out = os.path.join(tempfile.mkdtemp(dir=ROOT.name), "bundle")
        found = plumbline.verify(models.MiniMind(S), "tiny", only=2, out=out, **MINIMIND)
        with open(os.path.join(out, "manifest.json"), encoding="utf-8") as file:
            listed = [entry["name"] for entry in json.load(file)["files"]]
        self.assertEqual(sorted(os.listdir(out)), sorted([*listed, "manifest.json"]))
        self.assertLessEqual({"result.json", "report.html", "result.xml", "summary.md"}, set(listed))
        with open(os.path.join(out, "result.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file), found.document)

    def test_a_long_path_for_temporary_files(self):
        place = os.path.join(self.private, "x" * 100)
        os.mkdir(place)
        self.addCleanup(os.rmdir, place)
        with variable("TMPDIR", place):
            tempfile.tempdir = None
            self.assertIn("PAR-1", ids(plumbline.verify(models.MiniMind(S), "tiny", only=2).passed))
            self.assertEqual(os.listdir(place), [])

    def test_arguments_that_cannot_be(self):
        model = models.MiniMind(S)
        half = models.MiniMind(S).half()
        mixed = models.MiniMind(S)
        mixed.model.norm.bfloat16()
        for error, words, keywords in (
                (ValueError, "bfloat16.*float32", {"model": model, "dtype": torch.bfloat16}),
                (ValueError, "int8", {"model": model, "dtype": torch.int8}),
                (ValueError, "int8", {"model": models.MiniMind, "dtype": torch.int8}),
                (ValueError, "float16", {"model": half}),
                (ValueError, "bfloat16 and torch.float32", {"model": mixed}),
                (ValueError, "cuda:1.*on cpu", {"model": model, "device": "cuda:1"}),
                (TypeError, "mask", {"model": plumbline.Module(models.MiniMind), "mask": "attention_mask"}),
                (TypeError, "masks", {"model": model, "masks": "attention_mask"}),
                (TypeError, "initialises", {"model": model, "initialises": True}),
                (TypeError, "of type int", {"model": 3})):
            with self.subTest(words), self.assertRaisesRegex(error, words):
                plumbline.verify(spec="tiny", **keywords)


class Judged:
    """A model in a state worth keeping, and all that is to stay."""

    def __init__(self, kind):
        torch.manual_seed(11)
        self.model = model = kind(specification(dropout=0.1))
        model.train()
        model.model.layers[1].eval()
        model.model.layers[3].mlp.dropout.p = 0.7
        model.odd = {"held": torch.ones(3)}
        model.register_buffer("counter", torch.tensor([3, 4]))
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        model(torch.arange(8).view(2, 4)).logits.sum().backward()
        self.optimiser.step()
        model.config.dropout = 0.3
        model.model.layers[2].requires_grad_(False)
        with torch.no_grad():
            model.model.norm.weight[0] = float("nan")  # not equal to itself, and to be kept to the bit
            model.model.freqs_cos[-1] += 1
        self.seen = []
        frozen = model.model.layers[2].mlp.up_proj.weight
        model.model.layers[0].register_forward_hook(lambda *_: self.seen.append(frozen.requires_grad))
        self.objects = {id(tensor): tensor for _, tensor in self.tensors()}

    def tensors(self):
        yield from self.model.named_parameters(remove_duplicate=False)
        yield from self.model.named_buffers(remove_duplicate=False)
        yield from self.model.odd.items()

    def state(self):
        named = list(self.tensors())
        modules = list(self.model.named_modules())
        hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        return {
            "values": {name: bits(tensor) for name, tensor in named},
            "objects": {name: (id(tensor), tensor.data_ptr(), tensor.dtype) for name, tensor in named},
            "gradients": {name: (id(tensor.grad), None if tensor.grad is None else bits(tensor.grad)) for name, tensor in named},
            "requires_grad": {name: tensor.requires_grad for name, tensor in named},
            "of the optimiser": [id(parameter) for group in self.optimiser.param_groups for parameter in group["params"]],
            "modes": {name: module.training for name, module in modules},
            "rates": {name: module.p for name, module in modules if hasattr(module, "p")} | {"config": self.model.config.dropout},
            "hooks": {(name, kind): list(getattr(module, kind)) for name, module in modules for kind in hooks},
            "attributes": {name: sorted(vars(module)) for name, module in modules} | {"passes": self.model.passes},
            "random": (bits(torch.get_rng_state()), random.getstate(), str(numpy.random.get_state())),
            "settings": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                         torch.get_num_threads(), torch.is_autocast_enabled("cpu")),
        }


def bits(tensor):
    return bytes(tensor.detach().contiguous().view(torch.uint8).flatten().tolist())


class Disturbing(models.MiniMind):
    """Does in its passes what a user's code may do, then, at the pass of that number, what is asked for."""

    passes, at, what = 0, 0, None

    def forward(self, tokens, **keywords):
        self.passes += 1
        random.random(), numpy.random.rand(), torch.rand(1)
        torch.set_default_dtype(torch.float32)
        self.config.dropout = 0.25
        self.counter.add_(1)
        self.odd["more"] = tokens
        self.odd["held"].add_(1)
        result = super().forward(tokens, **keywords)
        torch.set_default_dtype(torch.float64)
        if self.passes == self.at:
            self.what()
        return result


def interrupted():
    raise KeyboardInterrupt


def out_of_luck():
    raise RuntimeError("out of luck")


class Restored(Case):
    def check(self, judged, before):
        after = judged.state()
        for what in before:
            if isinstance(before[what], dict):
                names = before[what].keys() | after[what].keys()
                changed = [name for name in names if before[what].get(name) != after[what].get(name)]
                self.assertEqual(changed, [], f"{what} changed")
            self.assertTrue(before[what] == after[what], f"{what} changed")

    def judged(self, what=None, at=0):
        random.seed(1)
        numpy.random.seed(2)
        judged = Judged(Disturbing)
        judged.model.passes, judged.model.at, judged.model.what = 0, at, what
        del judged.model.odd["more"]
        torch.set_default_dtype(torch.float32)
        self.addCleanup(torch.set_default_dtype, torch.float32)
        return judged

    def test_after_a_verdict(self):
        judged = self.judged()
        before = judged.state()
        found = plumbline.verify(judged.model, "tiny", **MINIMIND)
        self.assertEqual(found.errors, [], str(found))
        # What is odd about its state is said of it.
        self.assertEqual(ids(found.failures), {"CFG-10", "PAR-6"}, str(found))
        self.assertEqual(set(judged.seen), {True}, "its own hooks were called, and nothing was frozen")
        self.check(judged, before)
        # The optimiser still moves it.
        weight = judged.model.lm_head.weight
        held = weight.detach().clone()
        judged.model(torch.arange(4).view(1, 4)).logits[0, 0, 0].backward()
        judged.optimiser.step()
        self.assertFalse(torch.equal(weight, held))

    def test_after_an_error_and_an_interruption(self):
        for what, at in ((out_of_luck, 9), (interrupted, 1), (interrupted, 12)):
            with self.subTest(what.__name__, at=at):
                judged = self.judged(what, at)
                before = judged.state()
                errors, expected = io.StringIO(), (KeyboardInterrupt, plumbline.CouldNotJudge)
                with contextlib.redirect_stderr(errors), self.assertRaises(expected) as caught:
                    plumbline.verify(judged.model, "tiny", only=[6, 7], **MINIMIND)
                self.check(judged, before)
                if what is interrupted:
                    self.assertIsInstance(caught.exception, KeyboardInterrupt)
                else:
                    self.assertIn("out of luck", str(caught.exception))
                    self.assertIn("out of luck", errors.getvalue())
                self.assertEqual(judged.model.training, True)

    def test_in_modes_of_torch(self):
        judged = self.judged()
        for surroundings in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
            with self.subTest(type(surroundings).__name__), surroundings:
                before = judged.state()
                found = plumbline.verify(judged.model, "tiny", only=[3, 6], **MINIMIND)
                self.assertEqual(found.errors, [], str(found))
                self.assertIn("GQA-5", ids(found.passed), "gradients, in the model's own type")
                self.check(judged, before)

    def test_what_functions_and_adapters_hand_out(self):
        class Own(plumbline.Module):
            def __init__(self, model):
                super().__init__(lambda specification: model, **MINIMIND)
                self.users = model

            def placed(self, model):
                return model.to(torch.bfloat16).to(torch.float32)

        class Holding(plumbline.Adapter):
            def __init__(self, model):
                self.model = model

            def start(self, specification, dtype, device):
                self.model.zero_grad(set_to_none=False)
                self.model.eval().bfloat16()
                raise plumbline.Cannot("nothing more")

        judged = self.judged()
        before = judged.state()
        self.assertIn("nothing more", str(self.not_judged(Holding(judged.model), "tiny")))
        self.check(judged, before)
        for kind in (lambda model: lambda specification: model,
                     lambda model: plumbline.Module(lambda specification: model, **MINIMIND),
                     lambda model: lambda specification: Own(model), Own):
            judged = self.judged()
            torch.set_num_threads(2)
            self.addCleanup(torch.set_num_threads, 1)
            before = judged.state()
            found = plumbline.verify(kind(judged.model), "tiny", only=1, threads=1, device="cpu")
            self.assertEqual(found.document["header"]["threads"], 1)
            self.check(judged, before)
            torch.set_num_threads(1)


def pretender(shown, status, candidate):
    """A program that leaves a document, its own candidate standing where `candidate` stood, and ends with that status."""
    text = shown if isinstance(shown, str) or shown is None else json.dumps(shown)
    path = write("pretender.py", f"""#!{sys.executable} -S
import os, sys
out = next(word[6:] for word in sys.argv if word.startswith("--out="))
text = {text!r}
os.makedirs(out)
print("plumbline: was built in no time", file=sys.stderr)
if text is not None:
    open(out + "/result.json", "w").write(text.replace({candidate!r}, sys.argv[2]))
    open(out + "/summary.md", "w").close()
os.kill(os.getpid(), 9) if {status} < 0 else sys.exit({status})
""")
    os.chmod(path, stat.S_IRWXU)
    return path


class Ended(Case):
    """The whole process is told to end while a pass goes on."""

    def check(self, number, status):
        file = write("user.py", f"""
import sys, time
sys.path.insert(0, {HERE!r})
import plumbline, test_verify

class Waiting(test_verify.models.MiniMind):
    def forward(self, tokens, **keywords):
        print("begun", flush=True)
        for _ in range(600):  # an interrupt that comes just before a long sleep would wait for its end
            time.sleep(0.1)

plumbline.verify(Waiting(test_verify.S), "tiny")
""")
        # A session of its own: an interrupt goes to all processes of a terminal's.
        with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              start_new_session=True) as user:
            self.assertEqual(user.stdout.readline(), "begun\n")
            if number == signal.SIGKILL:
                user.kill()
            else:
                os.killpg(user.pid, number)
            self.assertIn("KeyboardInterrupt" if number == signal.SIGINT else "", user.stderr.read())
            self.assertEqual(user.wait(timeout=20), status)

    def test_by_an_interrupt(self):
        self.check(signal.SIGINT, -signal.SIGINT)

    def test_by_force(self):
        """The program then ends by itself. Nobody removes what Python had made."""
        self.check(signal.SIGKILL, -signal.SIGKILL)
        self.ends()
        for left in os.listdir(self.private):
            if left.startswith("plumbline-python-tests-") or os.path.exists(os.path.join(self.private, left, "socket")):
                shutil.rmtree(os.path.join(self.private, left))


class FailsClosed(Case):
    def test_what_the_program_refuses(self):
        model = models.MiniMind(S)
        self.assertIn("--spec nosuch: no such specification", str(self.not_judged(model, "nosuch")))
        self.assertIn("there is no chapter '77'", str(self.not_judged(model, "tiny", only=77)))
        self.assertRegex(str(self.not_judged(models.Plain(S), "tiny")), "^the model: its parameters .* have names of their own")
        self.assertRegex(str(self.not_judged(lambda specification: 3, "tiny")), "test_verify.py:.*returned an object of type int")

    def test_a_missing_program(self):
        model = models.MiniMind(S)
        self.assertIn("program=/nowhere/plumbline", str(self.not_judged(model, "tiny", program="/nowhere/plumbline")))
        with variable("PLUMBLINE", "/nowhere/plumbline"):
            self.assertIn("PLUMBLINE=/nowhere/plumbline", str(self.not_judged(model, "tiny")))
        with variable("PLUMBLINE", None), variable("PATH", "/nowhere"):
            # That of the tree, and where the package lies in none, what to set.
            self.assertTrue(os.path.samefile(verification.program_at(None), os.path.join(HERE, "..", "..", "..", "plumbline")))
            with unittest.mock.patch.object(verification, "HERE", pathlib.Path("/nowhere/a/b/c")):
                self.assertIn("set the environment variable PLUMBLINE", str(self.not_judged(model, "tiny")))

    def test_a_model_that_raises(self):
        class Bad(models.MiniMind):
            def forward(self, tokens, **keywords):
                if "past_key_values" in keywords:
                    raise RuntimeError("no cache \x1b[31m today")
                return super().forward(tokens, **keywords)

        error = self.not_judged(Bad(S), "tiny", only=4, **MINIMIND)
        self.assertEqual(error.result.status, 2)
        self.assertFalse(error.result)
        self.assertIn("KVC-4", ids(error.result.errors))
        self.assertIn("RuntimeError: no cache", str(error))
        self.assertNotIn("\x1b", str(error))

    def test_an_answer_that_comes_too_late(self):
        """The program asks a fresh Server, twice at most, and what was answered in time counts."""
        class Slow(models.MiniMind):
            passes = 0

            def forward(self, tokens, **keywords):
                self.passes += 1
                if self.passes == 12:
                    time.sleep(4)
                return super().forward(tokens, **keywords)

        model = Slow(S)
        error = self.not_judged(model, "tiny", only=6, timeout=3, **MINIMIND)
        self.assertIn("gave no answer within 3 s", str(error))
        self.assertEqual(len(error.result.errors), 1, str(error))
        self.assertGreater(len(error.result.passed), 4, str(error))

    def test_a_program_that_says_more_than_it_knows(self):
        genuine = tempfile.mkdtemp(dir=ROOT.name)
        plumbline.verify(models.MiniMind(S), "tiny", only=2, out=genuine, **MINIMIND)
        with open(os.path.join(genuine, "result.json"), encoding="utf-8") as file:
            document = json.load(file)

        def changed(*places, status=None, value=None):
            other = json.loads(json.dumps(document))
            if status is not None:
                other["footer"]["status"] = status
            if places:
                *outer, last = places
                part = other
                for place in outer:
                    part = part[place]
                if value is None:
                    del part[last]
                else:
                    part[last] = value
            return other

        left_out = document["footer"]["not_assessed"]
        surplus = changed()
        surplus["requirements"].append({**document["requirements"][0], "verdict": "fine"})
        for words, status, shown in (
                ("left no result", 0, None),
                ("left no result", 3, "not JSON"),
                ("left no result", 3, "[]"),
                ("says 3", 0, document),
                ("says 3", 1, document),
                ("every applicable must", 0, changed(status=0)),
                ("footer", 3, changed("footer")),
                (f"are {left_out}", 3, changed("footer", "not_assessed", value=left_out - 1)),
                (f"are {left_out - 1}", 3, changed("requirements", 0, "verdict", value="fine")),
                ("verdict that does not exist", 3, surplus),
                ("version 3", 3, changed("version", value=3)),
                ("checks", 3, changed("requirements", 0, "checks")),
                ("another run's", 3, changed("header", "candidate", value="exec: another")),
                ("status 127", 127, document),
                ("signal 9", -9, document)):
            with self.subTest(words, status=status):
                program = pretender(shown, status, document["header"]["candidate"])
                self.assertIn(words, str(self.not_judged(models.MiniMind(S), "tiny", program=program)))
        found = plumbline.verify(models.MiniMind(S), "tiny", program=pretender(document, 3, document["header"]["candidate"]))
        self.assertEqual(found.status, 3)  # what the others would have had, but for one change each
        # Status 2, with a document and without. What was said on the way is no reason.
        program = pretender(changed(status=2), 2, document["header"]["candidate"])
        error = self.not_judged(models.MiniMind(S), "tiny", program=program)
        self.assertEqual(error.result.status, 2)
        error = self.not_judged(models.MiniMind(S), "tiny", program=pretender(None, 2, ""))
        self.assertEqual((str(error), error.result), ("was built in no time", None))


class Shown(Case):
    def test_text_of_the_model_is_no_markup(self):
        class Evil(models.MiniMind):
            def __init__(self, s):
                super().__init__(s)
                self.register_parameter("<script>alert(1)</script>", torch.nn.Parameter(torch.ones(2)))

            def forward(self, tokens, **keywords):
                if self.training:
                    raise RuntimeError("<script>alert(2)</script>\u202e")
                return super().forward(tokens, **keywords)

        def untrained(model):
            """Without training the model answers for itself."""
            class Untrained(plumbline.Module):
                def start(self, *arguments):
                    described = super().start(*arguments)
                    described["can"]["modes"] = ["evaluation"]
                    return described
            return Untrained(lambda specification: model, **MINIMIND)

        found = plumbline.verify(untrained(Evil(S)), "tiny", only=2)
        self.assertIn("PAR-1", ids(found.failures))
        self.assertIn("<script>alert(1)</script>", str(found))
        error = self.not_judged(Evil(S), "tiny", only=3, **MINIMIND)
        self.assertIn("<script>alert(2)</script>", str(error))
        self.assertNotIn("\u202e", str(error))
        page = found._repr_html_()
        self.assertNotIn("<script", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", page)
        self.assertNotIn("<script", found.summary)

    def test_every_text_of_a_document_is_made_harmless(self):
        check = {"within": False, "what": "<w>", "expected": "<e>", "actual": "<a>", "sentence": "", "elements": 1,
                 "worst_difference": None, "tolerance": None, "tolerance_reason": "<t>", "worst_index": []}
        entry = {"id": "<i>", "chapter": 1, "statement": "<s>", "level": "should", "source": "<o>", "verdict": "fail",
                 "reason": "", "finding": "<f>", "seconds": 0.0, "checks": [check] * 5}
        reason = "exec: x <r> \x1b[31m" + "r" * 999
        others = [{**entry, "id": f"<i{verdict}>", "verdict": verdict, "reason": reason, "checks": []}
                  for verdict in ("error", "not assessed", "not applicable")]
        footer = {"passed": 0, "failed": 1, "errors": 1, "not_assessed": 1, "not_applicable": 1, "status": 2, "verdict": "<v>"}
        found = result.Result({"format": "plumbline-result", "version": 1, "requirements": [entry, *others], "footer": footer,
                               "localisation": {"conclusion": "<c>"}}, "", "exec: x")
        page = found._repr_html_()
        for tag in ("<div>", "</div>", "<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>", "<br>", "<strong>", "</strong>"):
            page = page.replace(tag, "")
        self.assertNotIn("<", page)
        for text in ("&lt;i&gt;", "&lt;s&gt;", "&lt;w&gt;: got &lt;a&gt;, expected &lt;e&gt;", "&lt;v&gt;", "&lt;c&gt;",
                     "the model &lt;r&gt; ?[31mrrr", "rrr…", "… and 2 more", "(should)"):
            self.assertIn(text, page)
        self.assertEqual(repr(found), "<plumbline.Result: <v>; failed: <i>; in error: <ierror>>")

    def test_a_failure_that_somebody_answers_for_does_not_decide(self):
        entry = {"id": "A-1", "chapter": 1, "statement": "it holds", "level": "must", "source": "", "verdict": "pass", "reason": "",
                 "finding": "", "seconds": 0.0, "checks": []}
        failed = {**entry, "id": "A-2", "verdict": "fail"}

        def found(version=2, **counts):
            footer = {"passed": 1, "failed": 1, "errors": 0, "not_assessed": 0, "not_applicable": 0, "status": 0, "verdict": "v", **counts}
            return result.Result({"format": "plumbline-result", "version": version, "requirements": [entry, failed], "footer": footer}, "")

        self.assertTrue(found(waived=1).conforms)
        self.assertEqual(ids(found(waived=1).failures), {"A-2"})
        for arguments in ({"waived": 0}, {}, {"waived": 2}, {"version": 3, "waived": 1}):
            with self.assertRaises(result.CouldNotJudge):
                found(**arguments)

    def test_output(self):
        class Noisy(models.MiniMind):
            def forward(self, tokens, **keywords):
                print("from the model")
                return super().forward(tokens, **keywords)

        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            plumbline.verify(Noisy(S), "tiny", only=2, **MINIMIND)
        self.assertIn("from the model", output.getvalue())
        self.assertNotIn("Judging", output.getvalue())
        with contextlib.redirect_stdout(output):
            plumbline.verify(models.MiniMind(S), "tiny", only=2, quiet=False, **MINIMIND)
        self.assertIn("Judging", output.getvalue())
        self.assertIn("Parameters", output.getvalue())

    def test_under_a_running_loop_and_in_a_thread(self):
        async def cell():
            return plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND)

        self.assertIn("PAR-1", ids(asyncio.run(cell()).passed))
        found = []
        thread = threading.Thread(target=lambda: found.append(asyncio.run(cell())))
        thread.start()
        thread.join(timeout=60)
        self.assertIn("PAR-1", ids(found[0].passed))

    def test_in_a_test_of_the_users_own(self):
        """Under pytest where there is one, else under unittest with its output held back; the second test is to fail."""
        pytest = importlib.util.find_spec("pytest") is not None
        file = write("test_users_model.py", f"""
import sys, unittest
sys.path.insert(0, {HERE!r})
import plumbline
from test_verify import MINIMIND, S, edited, models, plain_options

class Users(unittest.TestCase):
    def test_right(self):
        self.assertEqual(plumbline.verify(models.MiniMind(S), "tiny", only=2, **MINIMIND).failures, [])

    def test_wrong(self):
        print("held back")
        plumbline.verify(edited("repeat-tiled"), "tiny", only=3, **plain_options()).require()
""")
        runner = ["pytest", "-q", "-p", "no:cacheprovider"] if pytest else ["unittest", "-b"]
        run = subprocess.run([sys.executable, "-m", *runner, os.path.basename(file)], cwd=os.path.dirname(file), text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100)
        self.assertEqual(run.returncode, 1, run.stdout)
        self.assertIn("1 failed, 1 passed" if pytest else "Ran 2 tests", run.stdout)
        self.assertIn("GQA-2: ", run.stdout)
        self.assertIn("does not conform to tiny", run.stdout)


if __name__ == "__main__":
    unittest.main()
