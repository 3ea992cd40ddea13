"""The same weights in every shape that training and publishing leave them in, judged and compared by the real program."""

import argparse
import json
import os
import pickle
import resource
import shutil
import tempfile
import warnings

import numpy
import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp

from checkpoint_cases import META, TORCHTUNE, Shapes, inside, lora, renamed, tables


@pytest.fixture(scope="module")
def shapes(program, tmp_path_factory):
    return Shapes(program, tmp_path_factory.mktemp("shapes"))


def test_what_the_reference_project_saves(shapes, subtests):
    """MiniMindConfig states neither biases nor tying: its class has no biases and always ties."""
    kept = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps", "rope_theta",
            "hidden_act", "max_position_embeddings")
    config = {key: shapes.config[key] for key in kept} | {
        "model_type": "minimind", "architectures": ["MiniMindForCausalLM"], "dropout": 0.0, "flash_attn": True, "intermediate_size": None,
        "n_routed_experts": 4, "use_moe": False, "inference_rope_scaling": False, "rope_scaling": None}
    for name, weights in (("tied", shapes.weights), ("both", {**shapes.weights, "lm_head.weight": shapes.weights["model.embed_tokens.weight"].clone()})):
        with subtests.test(name):
            shapes.conforms(shapes.place("own", config, weights), "config.json has no attention_bias, mlp_bias, tie_word_embeddings",
                            "the defaults of model_type minimind", "tie_word_embeddings true", "the code that runs them was not judged")


def test_a_llama_that_leaves_out_defaults(shapes):
    left_out = {key: value for key, value in shapes.config.items() if key not in ("attention_bias", "mlp_bias", "attention_dropout", "hidden_act")}
    shapes.conforms(shapes.place("less", left_out, shapes.weights), "the defaults of model_type llama", "attention_bias false", 'hidden_act "silu"')


@pytest.mark.parametrize(("key", "requirement"), [
    ("rms_norm_eps", "CFG-11"), ("tie_word_embeddings", "CFG-13"), ("num_key_value_heads", "CFG-5"),
])
def test_a_default_that_is_not_the_specification_s_fails(shapes, key, requirement):
    config = {k: v for k, v in shapes.config.items() if k != key}
    assert requirement in shapes.failed(shapes.place("less", config, shapes.weights))


def test_relatives_of_llama(shapes):
    """Mistral's layers are a Llama's where its window is as wide as the text; Qwen2's have biases."""
    def relative(kind, **changed):
        config = {k: v for k, v in shapes.config.items() if k not in ("attention_bias", "mlp_bias")}
        return shapes.place("relative", {**config, "model_type": kind, "sliding_window": None, **changed}, shapes.weights)
    shapes.conforms(relative("mistral"), "the defaults of model_type mistral")
    assert ["CFG-12"] == shapes.failed(relative("qwen2"))
    shapes.refused(relative("qwen3"), "qwen3", "norms of queries and keys")
    shapes.refused(relative("mistral", sliding_window=64), "sliding_window", "64")


def test_the_reference_project_s_first_settings(shapes):
    config = {"model_type": "minimind", "dim": 48, "n_layers": 5, "n_heads": 6, "n_kv_heads": 2, "hidden_dim": None, "norm_eps": 1e-5,
              "max_seq_len": 32768, "vocab_size": 101, "rope_theta": 1e6, "dropout": 0.0, "flash_attn": True, "use_moe": False}
    # Its first version turns neighbouring pairs, and this specification halves: nothing else differs.
    assert ["CFG-9"] == shapes.failed(shapes.place("first", config, renamed(shapes.weights, META)))

# Names.


@pytest.mark.parametrize("segment", ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.", "_forward_module."])
def test_wrappers_anywhere_in_a_name(shapes, segment):
    shapes.conforms(shapes.place("wrapped", shapes.config, inside(shapes.weights, segment)), segment)


def test_a_wrapper_in_another(shapes):
    shapes.conforms(shapes.saved(inside(inside(shapes.weights, "_orig_mod."), "_fsdp_wrapped_module.")), "_fsdp_wrapped_module.")


def test_a_model_within_another_module(shapes, subtests):
    for prefix in ("model.", "net.", "student.llm."):
        with subtests.test(prefix):
            shapes.conforms(shapes.place("inner", shapes.config, {prefix + k: v for k, v in shapes.weights.items()}), f'"{prefix}"')
    both = {p + k: v.clone() for k, v in shapes.weights.items() for p in ("student.", "teacher.")}
    shapes.refused(shapes.place("two", shapes.config, both), "student.", "teacher.", "one of them")


def test_a_body_without_its_head(shapes):
    shapes.conforms(shapes.place("body", shapes.config, {k.removeprefix("model."): v for k, v in shapes.weights.items()}), "model.")


def test_names_of_other_projects(shapes, subtests):
    for name, pairs in (("Meta", META), ("torchtune", TORCHTUNE)):
        with subtests.test(name):
            tensors = renamed(shapes.weights, pairs)
            assert "tok_embeddings.weight" in tensors
            shapes.conforms(shapes.place("other", shapes.config, tensors), name)
            shapes.conforms(shapes.saved({"module." + k: v for k, v in tensors.items()}), name)
    stored = renamed(shapes.weights, META) | {"output.weight": shapes.weights["model.embed_tokens.weight"].clone()}
    shapes.conforms(shapes.saved(stored), "Meta")
    stored["layers.3.feed_forward.w3.weight"] = stored["layers.3.feed_forward.w3.weight"][:-1].contiguous()
    assert "PAR-3" in shapes.failed(shapes.saved(stored))


def test_tables_beside_the_weights(shapes):
    whole = {**shapes.weights, **tables()}
    shapes.conforms(shapes.saved(whole), "freqs_cis", "not judged")
    shapes.conforms(shapes.place("tables", shapes.config, whole), "not judged")
    # What has been learned is no mask, whatever it is called.
    whole["model.layers.0.self_attn.bias"] = torch.randn(48)
    assert "PAR-4" in shapes.failed(shapes.saved(whole))
    whole["model.layers.0.self_attn.bias"] = torch.randn(8, 8)
    assert "PAR-4" in shapes.failed(shapes.saved(whole))
    del whole["model.layers.0.self_attn.bias"]
    whole["model.layers.0.gain"] = torch.ones(4, dtype=torch.complex64)
    assert "PAR-4" in shapes.failed(shapes.saved(whole))

# Files.


def test_what_lightning_saves(shapes):
    state = {"model." + k: v for k, v in shapes.weights.items()}
    checkpoint = {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.5.0", "state_dict": state, "loops": {}, "callbacks": {},
                  "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]}], "lr_schedulers": []}
    shapes.conforms(shapes.saved(checkpoint, "last.ckpt"), "optimizer_states", '"model."')
    checkpoint["hyper_parameters"] = argparse.Namespace(lr=1.0)
    checkpoint["best"] = numpy.float64(0.5)
    shapes.conforms(shapes.saved(checkpoint, "last.ckpt"), "optimizer_states", "argparse.Namespace")


def test_a_state_dict_under_a_name_of_the_trainer_s(shapes):
    shapes.conforms(shapes.saved({"generator": shapes.weights, "step": 3, "optim": {"state": {0: {"exp_avg": torch.ones(3)}}}}), "generator")


def test_sharded_pickles(shapes):
    folder = shapes.place("bins", shapes.config)
    names = sorted(shapes.weights)
    index = {}
    for part, chosen in enumerate((names[:20], names[20:]), 1):
        file = f"pytorch_model-0000{part}-of-00002.bin"
        torch.save({name: shapes.weights[name] for name in chosen}, folder / file)
        index |= dict.fromkeys(chosen, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    shapes.conforms(folder, "pytorch_model-00001-of-00002.bin")
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    shapes.refused(folder, "pytorch_model-00002-of-00002.bin", "is missing")


def test_files_whose_names_say_something_else(shapes):
    shutil.copy(shapes.right / "model.safetensors", shapes.root / "really.pth")
    shapes.conforms(shapes.root / "really.pth", "a safetensors file")
    shutil.copy(shapes.right / "model.safetensors", shapes.root / "model.weights")
    shapes.conforms(shapes.root / "model.weights", "a safetensors file")
    shapes.conforms(shapes.saved(shapes.weights, "really.safetensors"), "a pickle")
    shapes.conforms(shapes.saved(shapes.weights, "step-1000"), "a pickle")
    shapes.refused(shapes.saved({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "optimizer.pt"), "optimiser")


def test_a_second_copy_beside_the_model(shapes):
    folder = shapes.place("copies", shapes.config, shapes.weights)
    safetensors.torch.save_file(renamed(shapes.weights, META), folder / "consolidated.safetensors")
    shapes.conforms(folder, "a second copy of the model, not read: consolidated.safetensors")


def test_one_file_of_another_name_beside_a_configuration(shapes):
    folder = shapes.place("named", shapes.config)
    torch.save(shapes.weights, folder / "full_sft_512.pth")
    torch.save({"lr": 1}, folder / "optimizer.pt")
    shapes.conforms(folder, "full_sft_512.pth")


def distributed(shapes, name, state, config=None):
    folder = shapes.place(name, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    assert (folder / ".metadata").exists()
    return folder


def test_what_torch_distributed_saves(shapes, subtests):
    optimiser = {"state": {"model.norm.weight": {"exp_avg": torch.ones(3)}}, "step": 3}
    for name, state in (("plain", dict(shapes.weights)), ("nested", {"model": dict(shapes.weights), "optimizer": optimiser, "epoch": 3}),
                        ("app", {"app": {"model": inside(shapes.weights, "_orig_mod."), "optim": optimiser}})):
        with subtests.test(name):
            shapes.conforms(distributed(shapes, name, state), "torch.distributed.checkpoint")
    shapes.conforms(distributed(shapes, "configured", dict(shapes.weights), shapes.config), "the code that runs them was not judged")
    folder = distributed(shapes, "short", dict(shapes.weights))
    (folder / "__0_0.distcp").write_bytes((folder / "__0_0.distcp").read_bytes()[:4000])
    shapes.refused(folder, "__0_0.distcp")
    (folder / "__0_0.distcp").unlink()
    shapes.refused(folder, "__0_0.distcp")


def test_a_distributed_checkpoint_with_code_is_refused(shapes):
    marker = shapes.root / "distributed-executed"
    class Attack:
        def __reduce__(shapes):
            return (os.system, (f"touch {marker}",))
    folder = distributed(shapes, "evil", dict(shapes.weights))
    (folder / ".metadata").write_bytes(pickle.dumps(Attack()))
    shapes.refused(folder, ".metadata", "refused")
    assert not marker.exists()


def test_an_adapter_beside_its_base(shapes):
    folder = shapes.place("tuned", shapes.config, shapes.weights)
    safetensors.torch.save_file(lora("base_model.model.model.layers.{}.self_attn.q_proj"), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    shapes.conforms(folder, "only its base was judged")
    wrapped = {"base_model.model." + k.replace("q_proj.weight", "q_proj.base_layer.weight"): v for k, v in shapes.weights.items()}
    wrapped |= lora("base_model.model.model.layers.{}.self_attn.q_proj", "{}.lora_{}.default.weight")
    shapes.conforms(shapes.saved(wrapped), "only its base was judged")
    shapes.conforms(shapes.saved(shapes.weights | lora(wrapped="{}.lora.{}.weight")), "only its base was judged")

    # Two checkpoints.


def compared(shapes, one, other, status, *words):
    out = shapes.root / "out"
    shutil.rmtree(out, ignore_errors=True)
    run = shapes.program("compare", one, other, "--spec", "tiny", "--out", out)
    assert run.returncode == status, run.stdout + run.stderr
    checked = shapes.program("report", "check", out)
    assert "The bundle is complete and consistent." in checked.stdout
    result = json.loads((out / "result.json").read_text())
    for word in words:
        assert word in result["footer"]["verdict"]
    return {requirement["id"]: requirement["verdict"] for requirement in result["requirements"]}


def test_a_cast_of_the_same_weights(shapes):
    cast = shapes.place("cast", shapes.config, {k: v.bfloat16() for k, v in shapes.weights.items()})
    verdicts = compared(shapes, shapes.right, cast, 1, "each weight: a cast to BFloat16 of the tensor before")
    assert (verdicts["SAME-1"], verdicts["SAME-2"], verdicts["SAME-3"]) == ("pass", "pass", "fail")
    compared(shapes, cast, shapes.right, 1, "the tensor before is its cast to BFloat16")
    half = {k: v.half() if "mlp" in k else v for k, v in shapes.weights.items()}
    compared(shapes, shapes.right, shapes.place("partly", shapes.config, half), 1, "15 of 48 weights", "a cast to Half")


def test_the_same_weights_in_another_file(shapes):
    for tensors in (shapes.weights, renamed(shapes.weights, META), inside(shapes.weights, "_orig_mod.")):
        for one, other in ((shapes.right, shapes.saved(tensors)), (shapes.saved(tensors), shapes.right)):
            compared(shapes, one, other, 0, "no difference in the weights", "no configuration to compare")
    changed = {**shapes.weights, "model.norm.weight": shapes.weights["model.norm.weight"] + 1}
    compared(shapes, shapes.right, shapes.saved(changed), 1, "SAME-3")


def test_the_same_weights_under_names_of_one_s_own(shapes):
    own = renamed(shapes.weights, (("model.layers.", "blocks."), ("self_attn.q_proj", "sa.query")))
    verdicts = compared(shapes, shapes.right, shapes.saved(own), 1, "45 parameters are the same weights under other names",
                        "as model.layers.0.input_layernorm.weight is blocks.0.input_layernorm.weight")
    assert (verdicts["SAME-2"], verdicts["SAME-3"]) == ("fail", "pass")


def test_the_same_rows_in_another_order(shapes):
    def pairs(name, values):
        heads = 6 if "q_proj" in name else 2 if "k_proj" in name else None
        return values if heads is None else values.view(heads, 2, -1, 48).transpose(1, 2).reshape(values.shape).contiguous()
    turned = shapes.place("pairs", shapes.config, {k: pairs(k, v) for k, v in shapes.weights.items()})
    compared(shapes, shapes.right, turned, 1, "10 of 48 weights", "the same rows in another order: for neighbouring pairs, where those before are for halves")
    compared(shapes, turned, shapes.right, 1, "for halves, where those before are for neighbouring pairs")
    shuffled = {**shapes.weights, "model.embed_tokens.weight": shapes.weights["model.embed_tokens.weight"].flip(0).contiguous()}
    compared(shapes, shapes.right, shapes.place("shuffled", shapes.config, shuffled), 1, "the same rows in another order")

# What is something else, and said to be.


def test_an_adapter_alone(shapes):
    folder = shapes.place("adapter")
    safetensors.torch.save_file(lora("base_model.model.model.layers.{}.self_attn.q_proj"), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    shapes.refused(folder, "LoRA", "merge")
    shapes.refused(folder / "adapter_model.safetensors", "LoRA", "merge")
    shapes.refused(shapes.saved(lora("layers.{}.self_attn.q_proj", "{}.lora.{}.weight"), "lora_identity_512.pth"), "LoRA", "merge")


def test_quantised_models(shapes, subtests):
    for method, named in (("bitsandbytes", "bitsandbytes"), ("gptq", "GPTQ"), ("awq", "AWQ"), ("fp8", "fp8"), ("compressed-tensors", "compressed-tensors")):
        with subtests.test(method):
            extra = {"load_in_8bit": True} if method == "bitsandbytes" else {}
            shapes.refused(shapes.place("q", {**shapes.config, "quantization_config": {"quant_method": method, **extra}}, shapes.weights), named, "quantised", "float")
    row = "model.layers.0.self_attn.q_proj."
    others = {k: v for k, v in shapes.weights.items() if not k.startswith(row)}
    for named, tensors in (("bitsandbytes", {row + "weight": torch.ones(48, 48, dtype=torch.int8), row + "SCB": torch.ones(48)}),
                           ("GPTQ", {row + "qweight": torch.ones(6, 48, dtype=torch.int32), row + "qzeros": torch.ones(1, 6, dtype=torch.int32),
                                     row + "scales": torch.ones(1, 48), row + "g_idx": torch.ones(48, dtype=torch.int32)}),
                           ("AWQ", {row + "qweight": torch.ones(48, 6, dtype=torch.int32), row + "qzeros": torch.ones(1, 6, dtype=torch.int32), row + "scales": torch.ones(1, 48)}),
                           ("fp8", {row + "weight": torch.ones(48, 48).to(torch.float8_e4m3fn), row + "weight_scale": torch.ones(1)}),
                           ("several weights", {row + "weight": torch.ones(48, 6, dtype=torch.uint32), row + "scales": torch.ones(48)}),
                           ("8-bit", {row + "weight": torch.ones(48, 48, dtype=torch.int8)})):
        with subtests.test(named):
            shapes.refused(shapes.place("q", None, others | tensors) / "model.safetensors", named, "quantised", "float")
            shapes.refused(shapes.saved(others | tensors), named, "quantised", "float")


def test_a_mixture_of_experts(shapes):
    experts = {f"model.layers.0.mlp.experts.{i}.gate_proj.weight": torch.ones(128, 48) for i in range(4)}
    shapes.refused(shapes.saved(shapes.weights | experts), "mixture of experts")
    shapes.refused(shapes.place("moe", {**shapes.config, "model_type": "mixtral", "num_local_experts": 4}, shapes.weights | experts), "mixture of experts")
    shapes.refused(shapes.place("moe", {**shapes.config, "model_type": "minimind", "use_moe": True}, shapes.weights), "mixture of experts")


def test_other_architectures(shapes):
    shapes.refused(shapes.place("gpt2", {"model_type": "gpt2", "n_embd": 48}, {"transformer.wte.weight": torch.ones(2, 2)}), "gpt2", "LayerNorm", "llama")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("m.gguf", b"GGUF\3\0\0\0", ["GGUF", "convert"]), ("m.bin", b"GGUF\3\0\0\0", ["GGUF", "convert"]), ("m.onnx", b"\x08\x07", ["ONNX"]),
    ("flax_model.msgpack", b"\x80", ["Flax"]), ("m.npz", b"PK\x03\x04", ["NumPy"]), ("m.tar.gz", b"\x1f\x8b", ["unpack"]),
])
def test_other_formats(shapes, name, content, words):
    folder = shapes.place("format", shapes.config)
    (folder / name).write_bytes(content)
    shapes.refused(folder / name, name, *words)
    shapes.refused(folder, name, *words)
    (folder / "config.json").unlink()
    assert "pass the file itself" not in shapes.refused(folder, name, *words)


def test_a_folder_says_which_file_to_pass(shapes):
    folder = shapes.place("lone")
    torch.save(shapes.weights, folder / "weights.pth")
    shapes.refused(folder, "config.json", f"pass {folder / 'weights.pth'}")
    shapes.conforms(folder / "weights.pth")
    above = shapes.place("run")
    shutil.copytree(shapes.right, above / "checkpoint-500")
    shapes.refused(above, f"pass {above / 'checkpoint-500'}")
    (shapes.place("notes") / "readme.txt").write_text("none")
    assert "pass the file itself" not in shapes.refused(shapes.root / "notes", "readme.txt", "expected")


def test_errors_name_the_user_s_file(shapes):
    said = shapes.refused(shapes.saved({"a\nb": torch.ones(2)}), "state.pth")
    assert "state.safetensors" not in said

# Trouble of our own is nobody's verdict.


@pytest.mark.parametrize(("place", "limit"), [("/no such place", None), (tempfile.gettempdir(), 100_000)], ids=["missing", "full"])
def test_a_full_or_missing_place_for_temporary_files(shapes, place, limit):
    run = shapes.program("verify", shapes.saved(shapes.weights), "--spec", "tiny", "--out", shapes.root / "out", env={**os.environ, "TMPDIR": place},
                         preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))))
    assert run.returncode == 2, run.stdout + run.stderr
    assert "temporary" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
