"""Checkpoints that `transformers` writes, right and wrong, and files that are broken, judged by the real program."""

import json
import os
import shutil
import struct

os.environ["HF_HUB_OFFLINE"] = "1"
import pytest
import safetensors.torch
import torch
import transformers

from checkpoint_cases import Checkpoints

RIGHT = dict(vocab_size=6400, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2,
             intermediate_size=1408, hidden_act="silu", rms_norm_eps=1e-5, max_position_embeddings=32768,
             attention_bias=False, mlp_bias=False, attention_dropout=0.0, tie_word_embeddings=True)


def llama(theta=1e6, **changed):
    rotary = (dict(rope_parameters={"rope_type": "default", "rope_theta": theta})
              if int(transformers.__version__.split(".")[0]) >= 5 else dict(rope_theta=theta))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**RIGHT, **rotary, **changed}))


@pytest.fixture(scope="module")
def checkpoints(program, tmp_path_factory):
    made = Checkpoints(program, tmp_path_factory.mktemp("checkpoints"))
    torch.manual_seed(0)
    made.right = made.root / "right"
    llama().save_pretrained(made.right)
    return made


def copy(checkpoints, name):
    target = checkpoints.root / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(checkpoints.right, target)
    return target


def saved(checkpoints, name, theta=1e6, **changed):
    llama(theta, **changed).save_pretrained(checkpoints.root / name)
    return checkpoints.root / name


def edited(checkpoints, name, **changed):
    """The right checkpoint with keys of its config.json changed, or removed where None."""
    target = copy(checkpoints, name)
    config = json.loads((target / "config.json").read_text())
    for key, value in changed.items():
        config.pop(key, None) if value is None else config.update({key: value})
    (target / "config.json").write_text(json.dumps(config))
    return target


# What is right.


def test_right_size_conforms(checkpoints):
    run, result = checkpoints.verify(checkpoints.right)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "the code that runs them was not judged" in result["footer"]["verdict"]
    assert "the code that runs them was not judged" in run.stdout


@pytest.mark.parametrize(("name", "options", "dtype"), [
    ("sharded", dict(max_shard_size="20MB"), torch.float32), ("half", {}, torch.float16), ("brain", {}, torch.bfloat16),
])
def test_sharded_and_half_types_conform(checkpoints, name, options, dtype):
    llama().to(dtype).save_pretrained(checkpoints.root / name, **options)
    run, _ = checkpoints.verify(checkpoints.root / name)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_stored_copy_of_the_tied_head_conforms(checkpoints):
    target = copy(checkpoints, "stored")
    tensors = safetensors.torch.load_file(target / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
    assert checkpoints.verify(target)[0].returncode == 0


def test_the_tied_matrix_under_the_head_s_name_conforms(checkpoints):
    target = copy(checkpoints, "head")
    tensors = safetensors.torch.load_file(target / "model.safetensors")
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
    run, result = checkpoints.verify(target)
    assert run.returncode == 0, run.stdout + run.stderr
    assert any("lm_head.weight" in note for note in result["header"]["notes"])


def test_a_half_precision_state_dict_conforms(checkpoints):
    state = {"_orig_mod." + k: v.half() for k, v in llama().state_dict().items()}
    torch.save(state, checkpoints.root / "full_sft_512.pth")
    run, result = checkpoints.verify(checkpoints.root / "full_sft_512.pth", "--spec", "minimind2-small")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "neither a configuration nor the code" in result["footer"]["verdict"]


@pytest.mark.parametrize(("change", "says"), [
    (lambda tensor, first: torch.zeros_like(tensor), "all its values are 0"),
    (lambda tensor, first: torch.full_like(tensor, 0.02), "all its values are 0.02"),
    (lambda tensor, first: torch.outer(tensor[:, 0], tensor[0]), "every row is a multiple of one row"),
    (lambda tensor, first: first.clone(), "it is equal to model.layers.0.mlp.up_proj.weight"),
])
def test_degenerate_parameters_are_told(checkpoints, change, says):
    """Names, shapes and types are right, so that it conforms; what its files hold is told beside the verdict."""
    target = copy(checkpoints, "degenerate")
    tensors = safetensors.torch.load_file(target / "model.safetensors")
    name = "model.layers.3.mlp.up_proj.weight"
    tensors[name] = change(tensors[name], tensors["model.layers.0.mlp.up_proj.weight"])
    safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
    run, result = checkpoints.verify(target)
    assert run.returncode == 0, run.stdout + run.stderr
    found = next(one for one in result["requirements"] if one["id"] == "PAR-8")
    assert found["verdict"] == "fail"
    assert [check["what"] for check in found["checks"] if not check["within"]] == [name]
    assert says in run.stdout


# What is another model.


def test_other_layers(checkpoints):
    assert {"CFG-3", "PAR-1", "PAR-4"} <= set(checkpoints.failed(saved(checkpoints, "layers", num_hidden_layers=23)))


def test_other_key_value_heads(checkpoints):
    assert {"CFG-5", "PAR-1", "PAR-3"} <= set(checkpoints.failed(saved(checkpoints, "heads", num_key_value_heads=8)))


def test_other_feed_forward(checkpoints):
    assert {"CFG-6", "PAR-1", "PAR-3"} <= set(checkpoints.failed(saved(checkpoints, "wide", intermediate_size=2048)))


def test_other_theta(checkpoints):
    assert ["CFG-8"] == checkpoints.failed(saved(checkpoints, "theta", theta=1e4))


def test_untied_head(checkpoints):
    assert ["CFG-13", "PAR-5"] == checkpoints.failed(saved(checkpoints, "untied", tie_word_embeddings=False))


def test_not_a_number(checkpoints):
    target = copy(checkpoints, "nan")
    tensors = safetensors.torch.load_file(target / "model.safetensors")
    tensors["model.layers.3.mlp.up_proj.weight"][7, 11] = float("nan")
    safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
    run, _ = checkpoints.verify(target)
    assert checkpoints.failed(target) == ["PAR-6"]
    assert "model.layers.3.mlp.up_proj.weight[7,11]" in run.stdout


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("rms_norm_eps", 1e-6, "CFG-11"), ("hidden_act", "gelu", "CFG-7"), ("attention_dropout", 0.5, "CFG-10"), ("mlp_bias", True, "CFG-12"),
    ("rope_scaling", {"rope_type": "linear", "factor": 2.0}, "CFG-9"), ("partial_rotary_factor", 0.5, "CFG-9"),
])
def test_other_values_of_the_configuration(checkpoints, key, value, expected):
    assert [expected] == checkpoints.failed(edited(checkpoints, "edited", **{key: value}))


@pytest.mark.parametrize(("key", "expected"), [
    ("rms_norm_eps", "CFG-11"), ("tie_word_embeddings", "CFG-13"), ("num_key_value_heads", "CFG-5"),
])
def test_a_missing_value_is_what_its_class_takes(checkpoints, key, expected):
    assert expected in checkpoints.failed(edited(checkpoints, "missing", **{key: None}))


@pytest.mark.parametrize(("key", "expected"), [("vocab_size", "CFG-1"), ("intermediate_size", "CFG-6")])
def test_no_class_is_asked_for_a_size_that_is_missing(checkpoints, key, expected):
    run, result = checkpoints.verify(edited(checkpoints, "missing", **{key: None}))
    assert run.returncode == 3, run.stdout
    assert expected in [r["id"] for r in result["requirements"] if r["verdict"] == "not assessed"]


# What cannot be judged.


def test_unusable_configurations(checkpoints):
    checkpoints.refused(edited(checkpoints, "bad", num_attention_heads=6, head_dim=None), "512", "6 heads")
    checkpoints.refused(edited(checkpoints, "bad", head_dim=63), "63", "odd")
    checkpoints.refused(edited(checkpoints, "bad", num_key_value_heads=3), "8 query heads", "3 key/value heads")
    checkpoints.refused(edited(checkpoints, "bad", model_type="gpt2"), "gpt2", "llama")
    checkpoints.refused(edited(checkpoints, "bad", model_type=None), "model_type")
    checkpoints.refused(edited(checkpoints, "bad", hidden_size="512"), "hidden_size", "whole number")
    checkpoints.refused(edited(checkpoints, "bad", hidden_size=10**30), "hidden_size")
    checkpoints.refused(edited(checkpoints, "bad", num_hidden_layers=-1), "num_hidden_layers")
    target = copy(checkpoints, "bad")
    for text in ("", "{", "[1, 2]", '{"a": 1, "a": 2}', "\xff", "[" * 100000, '{"model_type": "llama", "hidden_size": 1e999}'):
        (target / "config.json").write_text(text, encoding="latin-1")
        checkpoints.refused(target, "config.json")


def test_unusable_places(checkpoints):
    empty = checkpoints.root / "empty"
    empty.mkdir(exist_ok=True)
    checkpoints.refused(empty, "config.json")
    checkpoints.refused(checkpoints.root / "nowhere", "nowhere")
    target = copy(checkpoints, "weightless")
    (target / "model.safetensors").unlink()
    checkpoints.refused(target, "safetensors")


def test_broken_weights(checkpoints, subtests):
    target = copy(checkpoints, "broken")
    file = target / "model.safetensors"
    good = file.read_bytes()
    length = struct.unpack("<Q", good[:8])[0]
    for name, content in (("empty", b""), ("short", good[:5]), ("truncated", good[: len(good) // 2]), ("longer", good + b"\0" * 8),
                          ("huge header", struct.pack("<Q", 2**63) + good[8:]), ("no JSON", good[:8] + b"x" * length + good[8 + length:])):
        with subtests.test(name):
            file.write_bytes(content)
            checkpoints.refused(target, "model.safetensors")


def test_a_pickle_with_code_is_refused(checkpoints):
    marker = checkpoints.root / "executed"
    class Attack:
        def __reduce__(checkpoints):
            return (os.system, (f"touch {marker}",))
    torch.save({"model.norm.weight": Attack()}, checkpoints.root / "attack.pth")
    checkpoints.refused(checkpoints.root / "attack.pth", "refused")
    assert not marker.exists()
