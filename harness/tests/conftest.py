"""What the tests of the program share: --program says which one it is, the fixture `program` runs it."""

import os
import pathlib
import random
import shutil
import subprocess
import tempfile

import pytest

pytest.register_assert_rewrite("checkpoint_cases", "live_cases", "log_cases", "report_cases", "text_cases")
from live_cases import Live  # noqa: E402
from log_cases import Logs  # noqa: E402
from report_cases import Bundles  # noqa: E402
from text_cases import Texts  # noqa: E402
from warm_python import WarmPython  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--program", metavar="PATH", default=os.environ.get("PLUMBLINE", ROOT / "build" / "release" / "plumbline"),
                     help="the program under test; default: what PLUMBLINE names, or build/release/plumbline")
    parser.addoption("--unit-tests", metavar="PATH", type=pathlib.Path, help="the unit tests beside the program, for test_export.py")
    parser.addoption("--page", metavar="FILE", action="append", help="for test_page.py to look at, instead of pages of the program's")
    parser.addoption("--seed", type=int, metavar="N", default=random.randrange(1000000),
                     help="of what is tried at random; default: another each time")


class Program:
    """Called with arguments, it runs to its end; started, it is left to the caller."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *arguments, timeout=300, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options):
        return subprocess.run(self.command(*arguments), stdout=stdout, stderr=stderr, text=True, timeout=timeout, **options)

    def start(self, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options):
        return subprocess.Popen(self.command(*arguments), stdout=stdout, stderr=stderr, text=True, **options)

    def copied_to(self, folder):
        """A copy with the programs that it starts."""
        for name in ("plumbline", "plumbline-models", "plumbline-studies"):
            shutil.copy(self.path.with_name(name), folder)
        return pathlib.Path(folder) / "plumbline"

    def command(self, *arguments):
        words = list(map(str, arguments))
        # Passes of 4,097 tokens are asked for where they are tested: everywhere, they would double the time.
        if words[:1] in (["verify"], ["record"], ["compare"]) and "--longest" not in words:
            words[1:1] = ["--longest", "604"]
        return [str(self.path), *words]


@pytest.fixture(scope="session")
def program(request):
    path = pathlib.Path(request.config.getoption("--program")).resolve()
    if not path.is_file():
        pytest.exit(f"{path} is not there: build it, or name another with --program", 2)
    return Program(path)


@pytest.fixture
def tmp_path():
    """As pytest's own, but not named after the test: what the program says, paths and all, is searched for words."""
    with tempfile.TemporaryDirectory() as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def logs(program, tmp_path):
    return Logs(program, tmp_path)


@pytest.fixture
def texts(program, tmp_path):
    return Texts(program, tmp_path)


@pytest.fixture(scope="session")
def warm_python():
    warm = WarmPython()
    yield warm.path
    warm.close()


@pytest.fixture
def live(program, tmp_path, warm_python):
    return Live(program, tmp_path, warm_python)


@pytest.fixture
def cold_live(program, tmp_path):
    """For what is about the interpreter: how it starts, fails, is killed, and what it leaves behind."""
    return Live(program, tmp_path)


@pytest.fixture(scope="session")
def made_bundles(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    conforming, failing = folder / "conforming", folder / "failing"
    assert program("verify", "--spec", "tiny", "--threads", "1", "--out", conforming).returncode == 0
    assert program("verify", "defect:gate-up-swapped", "--spec", "tiny", "--threads", "1", "--out", failing).returncode == 1
    return conforming, failing


@pytest.fixture
def bundles(program, made_bundles, tmp_path):
    return Bundles(program, *made_bundles, tmp_path)
