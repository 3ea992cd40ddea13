"""What the tests of plumbline.verify share: models, options, and that nothing is left behind."""

import contextlib
import importlib.util
import io
import os
import tempfile
import time
import unittest

import models
from edits import EDITS
from support import HERE, PLAIN, ROOT, specification, write

import plumbline
from plumbline import user_code

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
