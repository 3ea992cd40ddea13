"""The same weights in every shape that training and publishing leave them in, judged and compared by the real program.

Run by CTest as `python test_checkpoint_shapes.py PROGRAM`. Each is what `plumbline export --spec tiny` writes, changed.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import unittest
import warnings
import numpy
import safetensors.torch
import torch

import checkpoint_cases as cases
from checkpoint_cases import META, TORCHTUNE, renamed, inside, tables, lora


class Read(cases.Shapes):
    def test_what_the_reference_project_saves(self):
        """MiniMindConfig states neither biases nor tying: its class has no biases and always ties."""
        kept = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size", "rms_norm_eps", "rope_theta",
                "hidden_act", "max_position_embeddings")
        config = {key: self.config[key] for key in kept} | {
            "model_type": "minimind", "architectures": ["MiniMindForCausalLM"], "dropout": 0.0, "flash_attn": True, "intermediate_size": None,
            "n_routed_experts": 4, "use_moe": False, "inference_rope_scaling": False, "rope_scaling": None}
        for name, weights in (("tied", self.weights), ("both", {**self.weights, "lm_head.weight": self.weights["model.embed_tokens.weight"].clone()})):
            with self.subTest(name):
                self.conforms(self.place("own", config, weights), "config.json has no attention_bias, mlp_bias, tie_word_embeddings",
                              "the defaults of model_type minimind", "tie_word_embeddings true", "the code that runs them was not judged")

    def test_a_llama_that_leaves_out_defaults(self):
        left_out = {key: value for key, value in self.config.items() if key not in ("attention_bias", "mlp_bias", "attention_dropout", "hidden_act")}
        self.conforms(self.place("less", left_out, self.weights), "the defaults of model_type llama", "attention_bias false", 'hidden_act "silu"')

    def test_a_default_that_is_not_the_specification_s_fails(self):
        for key, requirement in (("rms_norm_eps", "CFG-11"), ("tie_word_embeddings", "CFG-13"), ("num_key_value_heads", "CFG-5")):
            with self.subTest(key):
                config = {k: v for k, v in self.config.items() if k != key}
                self.assertIn(requirement, self.failed(self.place("less", config, self.weights), "--spec", "tiny"))

    def test_relatives_of_llama(self):
        """Mistral's layers are a Llama's where its window is as wide as the text; Qwen2's have biases."""
        def relative(kind, **changed):
            config = {k: v for k, v in self.config.items() if k not in ("attention_bias", "mlp_bias")}
            return self.place("relative", {**config, "model_type": kind, "sliding_window": None, **changed}, self.weights)
        self.conforms(relative("mistral"), "the defaults of model_type mistral")
        self.assertEqual(["CFG-12"], self.failed(relative("qwen2"), "--spec", "tiny"))
        self.refused(relative("qwen3"), "qwen3", "norms of queries and keys")
        self.refused(relative("mistral", sliding_window=64), "sliding_window", "64")

    def test_the_reference_project_s_first_settings(self):
        config = {"model_type": "minimind", "dim": 48, "n_layers": 5, "n_heads": 6, "n_kv_heads": 2, "hidden_dim": None, "norm_eps": 1e-5,
                  "max_seq_len": 32768, "vocab_size": 101, "rope_theta": 1e6, "dropout": 0.0, "flash_attn": True, "use_moe": False}
        # Its first version turns neighbouring pairs, and this specification halves: nothing else differs.
        self.assertEqual(["CFG-9"], self.failed(self.place("first", config, renamed(self.weights, META)), "--spec", "tiny"))

    # Names.

    def test_wrappers_anywhere_in_a_name(self):
        for segment in ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "module.", "_forward_module."):
            with self.subTest(segment):
                self.conforms(self.place("wrapped", self.config, inside(self.weights, segment)), segment)
        self.conforms(self.saved(inside(inside(self.weights, "_orig_mod."), "_fsdp_wrapped_module.")), "_fsdp_wrapped_module.")

    def test_a_model_within_another_module(self):
        for prefix in ("model.", "net.", "student.llm."):
            with self.subTest(prefix):
                self.conforms(self.place("inner", self.config, {prefix + k: v for k, v in self.weights.items()}), f'"{prefix}"')
        both = {p + k: v.clone() for k, v in self.weights.items() for p in ("student.", "teacher.")}
        self.refused(self.place("two", self.config, both), "student.", "teacher.", "one of them")

    def test_a_body_without_its_head(self):
        self.conforms(self.place("body", self.config, {k.removeprefix("model."): v for k, v in self.weights.items()}), "model.")

    def test_names_of_other_projects(self):
        for name, pairs in (("Meta", META), ("torchtune", TORCHTUNE)):
            with self.subTest(name):
                tensors = renamed(self.weights, pairs)
                self.assertIn("tok_embeddings.weight", tensors)
                self.conforms(self.place("other", self.config, tensors), name)
                self.conforms(self.saved({"module." + k: v for k, v in tensors.items()}), name)
        stored = renamed(self.weights, META) | {"output.weight": self.weights["model.embed_tokens.weight"].clone()}
        self.conforms(self.saved(stored), "Meta")
        stored["layers.3.feed_forward.w3.weight"] = stored["layers.3.feed_forward.w3.weight"][:-1].contiguous()
        self.assertIn("PAR-3", self.failed(self.saved(stored), "--spec", "tiny"))

    def test_tables_beside_the_weights(self):
        whole = {**self.weights, **tables()}
        self.conforms(self.saved(whole), "freqs_cis", "not judged")
        self.conforms(self.place("tables", self.config, whole), "not judged")
        # What has been learned is no mask, whatever it is called.
        whole["model.layers.0.self_attn.bias"] = torch.randn(48)
        self.assertIn("PAR-4", self.failed(self.saved(whole), "--spec", "tiny"))
        whole["model.layers.0.self_attn.bias"] = torch.randn(8, 8)
        self.assertIn("PAR-4", self.failed(self.saved(whole), "--spec", "tiny"))
        del whole["model.layers.0.self_attn.bias"]
        whole["model.layers.0.gain"] = torch.ones(4, dtype=torch.complex64)
        self.assertIn("PAR-4", self.failed(self.saved(whole), "--spec", "tiny"))

    # Files.

    def test_what_lightning_saves(self):
        state = {"model." + k: v for k, v in self.weights.items()}
        checkpoint = {"epoch": 1, "global_step": 2, "pytorch-lightning_version": "2.5.0", "state_dict": state, "loops": {}, "callbacks": {},
                      "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]}], "lr_schedulers": []}
        self.conforms(self.saved(checkpoint, "last.ckpt"), "optimizer_states", '"model."')
        checkpoint["hyper_parameters"] = argparse.Namespace(lr=1.0)
        checkpoint["best"] = numpy.float64(0.5)
        self.conforms(self.saved(checkpoint, "last.ckpt"), "optimizer_states", "argparse.Namespace")

    def test_a_state_dict_under_a_name_of_the_trainer_s(self):
        self.conforms(self.saved({"generator": self.weights, "step": 3, "optim": {"state": {0: {"exp_avg": torch.ones(3)}}}}), "generator")

    def test_sharded_pickles(self):
        folder = self.place("bins", self.config)
        names = sorted(self.weights)
        index = {}
        for part, chosen in enumerate((names[:20], names[20:]), 1):
            file = f"pytorch_model-0000{part}-of-00002.bin"
            torch.save({name: self.weights[name] for name in chosen}, folder / file)
            index |= dict.fromkeys(chosen, file)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        self.conforms(folder, "pytorch_model-00001-of-00002.bin")
        (folder / "pytorch_model-00002-of-00002.bin").unlink()
        self.refused(folder, "pytorch_model-00002-of-00002.bin", "is missing")

    def test_files_whose_names_say_something_else(self):
        shutil.copy(self.right / "model.safetensors", self.root / "really.pth")
        self.conforms(self.root / "really.pth", "a safetensors file")
        shutil.copy(self.right / "model.safetensors", self.root / "model.weights")
        self.conforms(self.root / "model.weights", "a safetensors file")
        self.conforms(self.saved(self.weights, "really.safetensors"), "a pickle")
        self.conforms(self.saved(self.weights, "step-1000"), "a pickle")
        self.refused(self.saved({"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}, "optimizer.pt"), "optimiser")

    def test_a_second_copy_beside_the_model(self):
        folder = self.place("copies", self.config, self.weights)
        safetensors.torch.save_file(renamed(self.weights, META), folder / "consolidated.safetensors")
        self.conforms(folder, "a second copy of the model, not read: consolidated.safetensors")

    def test_one_file_of_another_name_beside_a_configuration(self):
        folder = self.place("named", self.config)
        torch.save(self.weights, folder / "full_sft_512.pth")
        torch.save({"lr": 1}, folder / "optimizer.pt")
        self.conforms(folder, "full_sft_512.pth")

    def distributed(self, name, state, config=None):
        import torch.distributed.checkpoint as dcp
        folder = self.place(name, config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save(state, checkpoint_id=folder, no_dist=True)
        self.assertTrue((folder / ".metadata").exists())
        return folder

    def test_what_torch_distributed_saves(self):
        optimiser = {"state": {"model.norm.weight": {"exp_avg": torch.ones(3)}}, "step": 3}
        for name, state in (("plain", dict(self.weights)), ("nested", {"model": dict(self.weights), "optimizer": optimiser, "epoch": 3}),
                            ("app", {"app": {"model": inside(self.weights, "_orig_mod."), "optim": optimiser}})):
            with self.subTest(name):
                self.conforms(self.distributed(name, state), "torch.distributed.checkpoint")
        self.conforms(self.distributed("configured", dict(self.weights), self.config), "the code that runs them was not judged")
        folder = self.distributed("short", dict(self.weights))
        (folder / "__0_0.distcp").write_bytes((folder / "__0_0.distcp").read_bytes()[:4000])
        self.refused(folder, "__0_0.distcp")
        (folder / "__0_0.distcp").unlink()
        self.refused(folder, "__0_0.distcp")

    def test_a_distributed_checkpoint_with_code_is_refused(self):
        marker = self.root / "distributed-executed"
        class Attack:
            def __reduce__(self):
                return (os.system, (f"touch {marker}",))
        folder = self.distributed("evil", dict(self.weights))
        (folder / ".metadata").write_bytes(pickle.dumps(Attack()))
        self.refused(folder, ".metadata", "refused")
        self.assertFalse(marker.exists())

    def test_an_adapter_beside_its_base(self):
        folder = self.place("tuned", self.config, self.weights)
        safetensors.torch.save_file(lora("base_model.model.model.layers.{}.self_attn.q_proj"), folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
        self.conforms(folder, "only its base was judged")
        wrapped = {"base_model.model." + k.replace("q_proj.weight", "q_proj.base_layer.weight"): v for k, v in self.weights.items()}
        wrapped |= lora("base_model.model.model.layers.{}.self_attn.q_proj", "{}.lora_{}.default.weight")
        self.conforms(self.saved(wrapped), "only its base was judged")
        self.conforms(self.saved(self.weights | lora(wrapped="{}.lora.{}.weight")), "only its base was judged")

    # Two checkpoints.


class ComparedOrRefused(cases.Shapes):
    def compared(self, one, other, status, *words):
        out = self.root / "out"
        shutil.rmtree(out, ignore_errors=True)
        run = subprocess.run([cases.PROGRAM, "compare", str(one), str(other), "--spec", "tiny", "--out", str(out)], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        checked = subprocess.run([cases.PROGRAM, "report", "check", str(out)], capture_output=True, text=True)
        self.assertIn("The bundle is complete and consistent.", checked.stdout)
        result = json.loads((out / "result.json").read_text())
        for word in words:
            self.assertIn(word, result["footer"]["verdict"])
        return {requirement["id"]: requirement["verdict"] for requirement in result["requirements"]}

    def test_a_cast_of_the_same_weights(self):
        cast = self.place("cast", self.config, {k: v.bfloat16() for k, v in self.weights.items()})
        verdicts = self.compared(self.right, cast, 1, "each weight: a cast to BFloat16 of the tensor before")
        self.assertEqual((verdicts["SAME-1"], verdicts["SAME-2"], verdicts["SAME-3"]), ("pass", "pass", "fail"))
        self.compared(cast, self.right, 1, "the tensor before is its cast to BFloat16")
        half = {k: v.half() if "mlp" in k else v for k, v in self.weights.items()}
        self.compared(self.right, self.place("partly", self.config, half), 1, "15 of 48 weights", "a cast to Half")

    def test_the_same_weights_in_another_file(self):
        for tensors in (self.weights, renamed(self.weights, META), inside(self.weights, "_orig_mod.")):
            for one, other in ((self.right, self.saved(tensors)), (self.saved(tensors), self.right)):
                self.compared(one, other, 0, "no difference in the weights", "no configuration to compare")
        changed = {**self.weights, "model.norm.weight": self.weights["model.norm.weight"] + 1}
        self.compared(self.right, self.saved(changed), 1, "SAME-3")

    def test_the_same_weights_under_names_of_one_s_own(self):
        own = renamed(self.weights, (("model.layers.", "blocks."), ("self_attn.q_proj", "sa.query")))
        verdicts = self.compared(self.right, self.saved(own), 1, "45 parameters are the same weights under other names",
                                 "as model.layers.0.input_layernorm.weight is blocks.0.input_layernorm.weight")
        self.assertEqual((verdicts["SAME-2"], verdicts["SAME-3"]), ("fail", "pass"))

    def test_the_same_rows_in_another_order(self):
        def pairs(name, values):
            heads = 6 if "q_proj" in name else 2 if "k_proj" in name else None
            return values if heads is None else values.view(heads, 2, -1, 48).transpose(1, 2).reshape(values.shape).contiguous()
        turned = self.place("pairs", self.config, {k: pairs(k, v) for k, v in self.weights.items()})
        self.compared(self.right, turned, 1, "10 of 48 weights", "the same rows in another order: for neighbouring pairs, where those before are for halves")
        self.compared(turned, self.right, 1, "for halves, where those before are for neighbouring pairs")
        shuffled = {**self.weights, "model.embed_tokens.weight": self.weights["model.embed_tokens.weight"].flip(0).contiguous()}
        self.compared(self.right, self.place("shuffled", self.config, shuffled), 1, "the same rows in another order")

    # What is something else, and said to be.

    def test_an_adapter_alone(self):
        folder = self.place("adapter")
        safetensors.torch.save_file(lora("base_model.model.model.layers.{}.self_attn.q_proj"), folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
        self.refused(folder, "LoRA", "merge")
        self.refused(folder / "adapter_model.safetensors", "LoRA", "merge")
        self.refused(self.saved(lora("layers.{}.self_attn.q_proj", "{}.lora.{}.weight"), "lora_identity_512.pth"), "LoRA", "merge")

    def test_quantised_models(self):
        for method, named in (("bitsandbytes", "bitsandbytes"), ("gptq", "GPTQ"), ("awq", "AWQ"), ("fp8", "fp8"), ("compressed-tensors", "compressed-tensors")):
            with self.subTest(method):
                extra = {"load_in_8bit": True} if method == "bitsandbytes" else {}
                self.refused(self.place("q", {**self.config, "quantization_config": {"quant_method": method, **extra}}, self.weights), named, "quantised", "float")
        row = "model.layers.0.self_attn.q_proj."
        others = {k: v for k, v in self.weights.items() if not k.startswith(row)}
        for named, tensors in (("bitsandbytes", {row + "weight": torch.ones(48, 48, dtype=torch.int8), row + "SCB": torch.ones(48)}),
                               ("GPTQ", {row + "qweight": torch.ones(6, 48, dtype=torch.int32), row + "qzeros": torch.ones(1, 6, dtype=torch.int32),
                                         row + "scales": torch.ones(1, 48), row + "g_idx": torch.ones(48, dtype=torch.int32)}),
                               ("AWQ", {row + "qweight": torch.ones(48, 6, dtype=torch.int32), row + "qzeros": torch.ones(1, 6, dtype=torch.int32), row + "scales": torch.ones(1, 48)}),
                               ("fp8", {row + "weight": torch.ones(48, 48).to(torch.float8_e4m3fn), row + "weight_scale": torch.ones(1)}),
                               ("several weights", {row + "weight": torch.ones(48, 6, dtype=torch.uint32), row + "scales": torch.ones(48)}),
                               ("8-bit", {row + "weight": torch.ones(48, 48, dtype=torch.int8)})):
            with self.subTest(named):
                self.refused(self.place("q", None, others | tensors) / "model.safetensors", named, "quantised", "float")
                self.refused(self.saved(others | tensors), named, "quantised", "float")

    def test_a_mixture_of_experts(self):
        experts = {f"model.layers.0.mlp.experts.{i}.gate_proj.weight": torch.ones(128, 48) for i in range(4)}
        self.refused(self.saved(self.weights | experts), "mixture of experts")
        self.refused(self.place("moe", {**self.config, "model_type": "mixtral", "num_local_experts": 4}, self.weights | experts), "mixture of experts")
        self.refused(self.place("moe", {**self.config, "model_type": "minimind", "use_moe": True}, self.weights), "mixture of experts")

    def test_other_architectures(self):
        self.refused(self.place("gpt2", {"model_type": "gpt2", "n_embd": 48}, {"transformer.wte.weight": torch.ones(2, 2)}), "gpt2", "LayerNorm", "llama")

    def test_other_formats(self):
        for name, content, words in (("m.gguf", b"GGUF\3\0\0\0", ("GGUF", "convert")), ("m.bin", b"GGUF\3\0\0\0", ("GGUF", "convert")), ("m.onnx", b"\x08\x07", ("ONNX",)),
                                     ("flax_model.msgpack", b"\x80", ("Flax",)), ("m.npz", b"PK\x03\x04", ("NumPy",)), ("m.tar.gz", b"\x1f\x8b", ("unpack",))):
            with self.subTest(name):
                folder = self.place("format", self.config)
                (folder / name).write_bytes(content)
                self.refused(folder / name, name, *words)
                self.refused(folder, name, *words)
                (folder / "config.json").unlink()
                self.assertNotIn("pass the file itself", self.refused(folder, name, *words))

    def test_a_folder_says_which_file_to_pass(self):
        folder = self.place("lone")
        torch.save(self.weights, folder / "weights.pth")
        self.refused(folder, "config.json", f"pass {folder / 'weights.pth'}")
        self.conforms(folder / "weights.pth")
        above = self.place("run")
        shutil.copytree(self.right, above / "checkpoint-500")
        self.refused(above, f"pass {above / 'checkpoint-500'}")
        (self.place("notes") / "readme.txt").write_text("none")
        self.assertNotIn("pass the file itself", self.refused(self.root / "notes", "readme.txt", "expected"))

    def test_errors_name_the_user_s_file(self):
        said = self.refused(self.saved({"a\nb": torch.ones(2)}), "state.pth")
        self.assertNotIn("state.safetensors", said)

    # Trouble of our own is nobody's verdict.

    def test_a_full_or_missing_place_for_temporary_files(self):
        file = self.saved(self.weights)
        for place, limit in ((self.root / "no such place", None), (None, 100_000)):
            with self.subTest(place=place, limit=limit):
                environment = dict(os.environ) | ({"TMPDIR": str(place)} if place else {})
                run = subprocess.run([cases.PROGRAM, "verify", file, "--spec", "tiny", "--out", self.root / "out"], capture_output=True, text=True, env=environment,
                                     preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None)
                self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
                self.assertIn("temporary", run.stderr)
                self.assertEqual(len(run.stderr.strip().splitlines()), 1)


if __name__ == "__main__":
    cases.PROGRAM = sys.argv.pop(1)
    unittest.main(verbosity=1)
