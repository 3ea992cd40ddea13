"""Live models with parameters too many or too few, and matrices that begin otherwise.

A parameter too many or too few fails by name, does nothing to anything else, and what else there is passes."""

import json
import pathlib

import pytest

from live_cases import with_verdict


def model(live, settings, change="pass"):
    return live.file(f"""
        import torch
        import minimind_adapter, models, plumbline
        def build(settings):
            model = models.MiniMind({{**settings, **{settings}}})
            {change}
            return model
        adapter = plumbline.Module(build, mask="attention_mask", repeat_kv=models.repeat_kv, rotate=minimind_adapter.rotate,
                                   cache=plumbline.Cache("past_key_values", keywords={{"use_cache": True}}))
        """, "adapter.py")


def claims(live, **changes):
    """A specification: tiny, with these changes."""
    root = pathlib.Path(__file__).resolve().parents[2]
    tiny = json.loads((root / "fixtures" / "specifications" / "tiny.json").read_text())
    (live.root / "claimed.json").write_text(json.dumps({**tiny, "name": "claimed", **changes}))
    live.specification = str(live.root / "claimed.json")


def only(live, adapter, fails, not_assessed):
    requirements = live.judged(adapter, 1)
    assert with_verdict(requirements, "fail") == fails
    assert with_verdict(requirements, "not assessed") == not_assessed
    assert with_verdict(requirements, "error") == []
    return requirements


def test_matrices_that_begin_as_the_specification_says(live):
    """Normal with 0.02, what writes into the residual stream smaller; then one of its two matrices like the others."""
    claims(live, initialization={"embedding": {"normal": 0.02}, "linear": {"normal": 0.02}, "residual": {"normal": 0.02 / 10 ** 0.5}})
    begun = ("for name, values in model.named_parameters(): "
             "values.dim() == 2 and torch.nn.init.normal_(values, std=0.02 / 10 ** 0.5 if name.endswith(%s) else 0.02)")
    for smaller, wrong in ((("o_proj.weight", "down_proj.weight"), []), (("o_proj.weight",), ["CFG-17"])):
        requirements = live.judged(model(live, {}, begun % (smaller,)), 3, "--only", "1,9")
        assert with_verdict(requirements, "fail") == wrong
        assert {requirements[i]["verdict"] for i in ("CFG-14", "TRN-1")} == {"pass"}
        assert [r["what"] for r in requirements["CFG-17"]["checks"] if not r["within"]] == (
            ["mean square of the initial down_proj.weight"] if wrong else [])


def test_biases_that_are_missing(live):
    biases = 5 * (2 * 128 + 48 + 2 * 48 + 2 * 16)
    claims(live, attention_bias=True, mlp_bias=True, parameter_count=128256 + biases)
    adapter = model(live, {"attention_bias": False, "mlp_bias": False})
    requirements = only(live, adapter, ["CFG-12", "PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-3", "TRN-4"])
    assert "a bias 0" in requirements["PAR-2"]["finding"]


@pytest.mark.long
def test_an_output_head_that_is_missing(live):
    claims(live, tie_word_embeddings=False, parameter_count=128256 + 101 * 48)
    only(live, model(live, {"tie_word_embeddings": True}), ["CFG-13", "PAR-1", "PAR-2"],
              ["NUM-1", "NUM-2", "NUM-3", "TRN-4", "TRN-5"])


@pytest.mark.long
def test_the_weight_of_a_norm_that_is_missing(live):
    adapter = model(live, {}, "del model.model.norm.weight; model.model.norm.weight = torch.ones(48)")
    only(live, adapter, ["PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-8", "TRN-4"])


@pytest.mark.long
def test_a_layer_that_is_missing(live):
    claims(live, num_hidden_layers=6, parameter_count=152928)
    requirements = live.judged(model(live, {"num_hidden_layers": 5}), 1)
    assert with_verdict(requirements, "fail") == ["CFG-3", "PAR-1", "PAR-2", "KVC-1", "KVC-3"]
    for identifier in ("NUM-6", "NUM-7", "MODE-1", "KVC-11"):
        assert requirements[identifier]["verdict"] == "pass", identifier
    assert "layers.5" in requirements["GQA-7"]["reason"]


@pytest.mark.long
def test_a_layer_too_many(live):
    only(live, model(live, {"num_hidden_layers": 6}), ["CFG-3", "PAR-1", "PAR-4", "KVC-1", "KVC-3"], ["KVC-2", "KVC-9"])


@pytest.mark.long
def test_biases_and_a_head_too_many(live):
    adapter = model(live, {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False})
    requirements = only(live, adapter, ["CFG-12", "CFG-13", "CFG-14", "PAR-1", "PAR-4", "PAR-7"], ["TRN-5"])
    assert "a bias 0" in requirements["PAR-4"]["finding"]


@pytest.mark.long
def test_a_matrix_that_nothing_replaces(live):
    adapter = model(live, {}, "for layer in model.model.layers: layer.self_attn.o_proj = torch.nn.Identity()")
    requirements = live.judged(adapter, 1)
    assert with_verdict(requirements, "fail") == ["PAR-1", "PAR-2"]
    assert "it has no parameter model.layers.0.self_attn.o_proj.weight" in requirements["NUM-6"]["reason"]
