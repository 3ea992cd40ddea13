"""Edits of a live model that a diagnosis cannot be asked about: in half precision alone, of a cache without chunks, refused."""

import json
import types

import pytest

from edits import BFLOAT16_EDITS, EDITS, MORE_EDITS
from live_cases import with_verdict

pytestmark = pytest.mark.long


@pytest.mark.parametrize("edit", BFLOAT16_EDITS, ids=lambda edit: edit.name)
def test_what_is_wrong_in_half_precision_alone(live, edit):
    requirements = live.judged(live.model(edit.name, edit.change), 1, "--dtype", "bf16")
    assert set(edit.fails) <= set(with_verdict(requirements, "fail"))
    found = json.loads((live.out / "result.json").read_text())["localisation"]
    assert found["first_locally_wrong"] == edit.stage, found["conclusion"]


@pytest.mark.parametrize(("edit", "status"), [
    (types.SimpleNamespace(name="right", change={}), 0),
    (next(edit for edit in EDITS + MORE_EDITS if edit.name == "cache-one-too-small"), 1),
], ids=["right", "one too small"])
def test_a_cache_that_takes_one_token_at_a_time(live, edit, status):
    """Room for one token less than was asked for is seen where no chunk can overrun it, too."""
    adapter = live.model(edit.name, edit.change)
    adapter.write_text(adapter.read_text().replace("fixed=True,", "fixed=True, chunks=False,"))
    requirements = live.judged(adapter, status)
    assert "KVC-8" in with_verdict(requirements, "fail" if status else "pass")
    assert "KVC-5" in with_verdict(requirements, "not applicable")


@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit.refused], ids=lambda edit: edit.name)
def test_what_cannot_be_compared(live, edit):
    live.refused(live.model(edit.name, edit.change), edit.refused)
