"""Defects of the catalogue are failed by the suites, by the requirements that they name, at the stage that they name, and
by nothing unusable; and the diagnosis names them.

Every so many of them are tried. What is asked of all of them by `plumbline campaign` is asked by test_campaign.py.
"""

import concurrent.futures
import json
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEFECTS = json.loads((ROOT / "fixtures" / "defects.json").read_text())[::24]
# With another number, that is met or that nobody has; in one layer or mode alone; beside another, of the same stage, too.
FORMS = ("theta-1e4=500000", "eps-1e-6=3e-08", "gate-up-swapped@3", "mask-sees-next@training", "logits-bfloat16+gate-up-swapped@training",
         "theta-1e4=500000+norm-centred@2", "scale-by-width+scale-twice", "norm-centred+rotary-backwards+gate-up-swapped@2")
OF_NO_LAYER = "loss-unshifted@3"


@pytest.fixture(scope="module")
def verified(program, tmp_path_factory):
    """Run and result of a reference with this defect, however it is written. All of them are run, as many at once as there are
    processors."""
    folder = tmp_path_factory.mktemp("verified")

    def verify(name):
        out = folder / name
        run = program("verify", f"defect:{name}", "--spec", "tiny", "--threads", "1", "--out", out)
        return run, json.loads((out / "result.json").read_text()) if (out / "result.json").exists() else {}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = {name: pool.submit(verify, name) for name in (*(defect["name"] for defect in DEFECTS), *FORMS, OF_NO_LAYER)}
        yield lambda name: runs[name].result()


def assert_names(diagnosis, names):
    """That a diagnosis names these defects. Of several that nothing tells apart, one is enough."""
    complete = [set(one["defects"]) for one in diagnosis["explanations"] if one["complete"]]
    # Of a model that is not steady nothing else could be compared, so that nothing is certain.
    if not complete and "in two ways" in diagnosis["conclusion"] and all(name in diagnosis["conclusion"] for name in names):
        return
    assert names in complete, f"the diagnosis says: {diagnosis['conclusion']}"


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect["name"])
def test_it_is_seen_as_catalogued(verified, defect):
    run, result = verified(defect["name"])
    expected = 1 if defect.get("decides", True) else 0
    assert run.returncode == expected, (run.stdout + run.stderr).strip()[-300:]
    verdicts = {r["id"]: r["verdict"] for r in result["requirements"]}
    assert set(defect["seen_by"]) <= {id for id, verdict in verdicts.items() if verdict == "fail"}
    if not expected:
        return
    assert result["localisation"]["first_locally_wrong"] == defect.get("stage")
    assert_names(result["diagnosis"], {defect["name"]})
    assert [id for id, verdict in verdicts.items() if verdict == "error"] == []


@pytest.mark.parametrize("name", FORMS)
def test_another_form_is_called_what_it_is(verified, name):
    run, result = verified(name)
    assert result.get("diagnosis"), run.stdout + run.stderr
    assert_names(result["diagnosis"], set(name.split("+")))


def test_a_defect_that_changes_nothing_does_not_go_by_as_a_model_that_conforms(verified):
    run, result = verified(OF_NO_LAYER)
    assert any(f"no requirement failed for defect:{OF_NO_LAYER}" in note for note in result["header"]["notes"]), run.stdout + run.stderr
