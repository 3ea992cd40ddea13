"""Models of which nothing is told but how to build them (FILE.py:NAME): judged rightly, and shown by `inspect`."""

import json
import pathlib
import sys
import textwrap

import pytest

from edits import EDITS, MORE_EDITS
from strangers import STRANGERS

TESTS = pathlib.Path(__file__).resolve().parents[1] / "python" / "tests"
CACHED = ("learner", "conv1d", "preallocated", "meta")  # whose caches are found
VERIFY = ("--spec", "tiny", "--threads", "1", "--longest", "604")


def write(folder, text):
    file = folder / "model.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n" + textwrap.dedent(text))
    return f"{file}:Model"


def verify(program, tmp_path, python, model):
    run = program("verify", model, *VERIFY, "--python", python, "--out", tmp_path / "out")
    return run, json.loads((tmp_path / "out/result.json").read_text())


@pytest.mark.parametrize("name", ["learner", *(pytest.param(name, marks=pytest.mark.long) for name in STRANGERS if name != "learner")])
def test_a_strangers_right_model_conforms(program, tmp_path, warm_python, name):
    model = write(tmp_path, f"import strangers\nModel = strangers.STRANGERS[{name!r}]\n")
    run, result = verify(program, tmp_path, warm_python, model)
    assert run.returncode == 0, run.stdout
    verdicts = {one["id"]: one["verdict"] for one in result["requirements"]}
    assert list(verdicts.values()).count("pass") >= 66
    # Every parameter was found, and stages are looked at one by one.
    assert {verdicts[each] for each in ("PAR-1", "PAR-2", "NUM-4")} == {"pass"}
    assert (verdicts["KVC-1"] == "pass") == (name in CACHED)


@pytest.mark.parametrize("name, seen", [("serving", 70), pytest.param("switched", 78, marks=pytest.mark.long)])
def test_caches_that_modules_keep_are_found(program, tmp_path, warm_python, name, seen):
    model = write(tmp_path, f"import strangers\nModel = strangers.KEEPERS[{name!r}]\n")
    run, result = verify(program, tmp_path, warm_python, model)
    assert run.returncode == 0, run.stdout
    verdicts = {one["id"]: one["verdict"] for one in result["requirements"]}
    assert list(verdicts.values()).count("pass") == seen
    assert {verdicts[each] for each in ("KVC-1", "KVC-4", "KVC-10", "MODE-13", "NUM-4")} == {"pass"}
    # One that is decorated to keep no gradients serves, and no more.
    assert (verdicts["NUM-7"], verdicts["TRN-5"]) == (("not applicable",) * 2 if name == "serving" else ("pass",) * 2)
    assert "its modules keep the KV cache" in " ".join(run.stdout.split())


@pytest.mark.long
def test_a_wrong_cache_within_modules_is_located(program, tmp_path, warm_python):
    model = write(tmp_path, """
        import strangers

        class Model(strangers.Serving):
            def forward(self, tokens, start_pos):
                return super().forward(tokens, start_pos + 1 if start_pos else 0)
    """)
    run, result = verify(program, tmp_path, warm_python, model)
    assert run.returncode == 1, run.stdout
    failed = {one["id"] for one in result["requirements"] if one["verdict"] == "fail"}
    assert {"KVC-4", "MODE-13"} <= failed and "MODE-1" not in failed
    where = result["localisation"]
    assert (where["mode"], where["first_locally_wrong"]) == ("prefill and decoding", "layers.0.q_rotated")
    assert "as if its position were larger by 1" in " ".join(run.stdout.split())


# The mistake, the stage that is first wrong, and what its line says.
WRONG = {"scale-missing": ("layers.0.scores", 'torch.einsum("btkgd,bksd->bkgts"'), "gelu": ("layers.0.gated", "F.gelu(gate) * up"),
         "norm-missing-at-the-end": ("final_norm", ""), "norm-missing-before-feed-forward": ("layers.0.feed_forward_norm", ""),
         "ungated": ("layers.0.gated", ""), "norm-eps-of-llama": ("layers.0.attention_norm", "self.weight * (x.float() * scale)")}


@pytest.mark.parametrize("name", ["scale-missing", *(pytest.param(name, marks=pytest.mark.long) for name in WRONG if name != "scale-missing")])
def test_a_mistake_is_found_and_named(program, tmp_path, warm_python, name):
    text = (TESTS / "models.py").read_text()
    for old, new in next(edit for edit in EDITS + MORE_EDITS if edit.name == name).change.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "edited.py").write_text(text)
    run, result = verify(program, tmp_path, warm_python, f"{tmp_path}/edited.py:Plain")
    assert run.returncode == 1, run.stdout
    stage, code = WRONG[name]
    assert result["localisation"]["first_locally_wrong"] == stage
    if code:
        line = result["localisation"]["line"]
        assert code in line["code"] and "edited.py:" in line["where"]
        # On the first screen, too.
        assert line["where"] in run.stdout and code[:20] in run.stdout
    assert result["diagnosis"]["outcome"] == "explained", result["diagnosis"]


def test_inspect_shows_what_was_understood(program, tmp_path):
    model = write(tmp_path, "import strangers\nModel = strangers.STRANGERS['learner']\n")
    run = program("inspect", model, "--spec", "tiny", "--python", sys.executable)
    assert run.returncode == 0, run.stdout
    assert "Model is understood: 47 parameters placed, none left over" in run.stdout
    assert "blocks.0.attention.kv_proj.weight[16:32]" in run.stdout
    assert "scores = torch.matmul(q, k.transpose(2, 3)) / self.head_dim ** 0.5" in run.stdout
    run = program("inspect", model, "--spec", "tiny", "--python", sys.executable, "--json")
    data = json.loads(run.stdout)
    assert data["mapping"]["model.layers.4.self_attn.v_proj.weight"] == {"from": "blocks.4.attention.kv_proj.weight", "slice": [0, 16, 16]}
    assert data["stages"]["layers.0.scores"]["code"].startswith("scores = torch.matmul")


@pytest.mark.parametrize("code, words", [
    ("class Model: pass", "build returned an object of type Model, expected a torch.nn.Module"),
    ("def Model(tokenizer, dataset): pass", "Model needs tokenizer, dataset, which nothing tells"),
    ("Other = 1", "the file defines no 'Model'"),
    ("import torch\nclass Model(torch.nn.Linear):\n    def __init__(self): super().__init__(3, 3)", "model.py"),
    ("import torch\nModel = lambda: torch.nn.Sequential(torch.nn.Embedding(101, 48), torch.nn.Linear(48, 101))",
     "this model could not be understood: no attention was found"),
    ("1 / 0", "model.py:3: ZeroDivisionError"),
    ("import torch\nclass Model(torch.nn.Module):\n    def forward(self, tokens, types): return tokens",
     "forward() needs types beside the tokens, which nothing tells"),
])
def test_what_cannot_be_read_is_an_error_with_its_place(program, tmp_path, warm_python, code, words):
    model = write(tmp_path, code)
    for command in (("inspect", model, "--spec", "tiny"), ("verify", model, *VERIFY, "--out", tmp_path / "out")):
        run = program(*command, "--python", warm_python if command[0] == "verify" else sys.executable)
        assert run.returncode == 2, run.stdout
        assert words in run.stderr, run.stderr
        assert "Traceback" not in run.stdout + run.stderr
