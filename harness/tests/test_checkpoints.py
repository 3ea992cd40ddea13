"""Checkpoints that `transformers` writes, right and wrong, and files that are broken, judged by the real program.

Run by CTest as `python test_checkpoints.py PROGRAM`, with one release of transformers on PYTHONPATH.
"""

import json
import os
import pathlib
import shutil
import struct
import sys
import unittest

os.environ["HF_HUB_OFFLINE"] = "1"
import safetensors.torch
import torch
import transformers

import checkpoint_cases as shapes

HERE = pathlib.Path(__file__).resolve().parent

RIGHT = dict(vocab_size=6400, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2,
             intermediate_size=1408, hidden_act="silu", rms_norm_eps=1e-5, max_position_embeddings=32768,
             attention_bias=False, mlp_bias=False, attention_dropout=0.0, tie_word_embeddings=True)


def llama(theta=1e6, **changed):
    rotary = (dict(rope_parameters={"rope_type": "default", "rope_theta": theta})
              if int(transformers.__version__.split(".")[0]) >= 5 else dict(rope_theta=theta))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**RIGHT, **rotary, **changed}))


class Checkpoints(shapes.Judged):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        torch.manual_seed(0)
        cls.right = cls.root / "right"
        llama().save_pretrained(cls.right)

    def copy(self, name):
        target = self.root / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.right, target)
        return target

    def saved(self, name, theta=1e6, **changed):
        llama(theta, **changed).save_pretrained(self.root / name)
        return self.root / name

    def edited(self, name, **changed):
        """The right checkpoint with keys of its config.json changed, or removed where None."""
        target = self.copy(name)
        config = json.loads((target / "config.json").read_text())
        for key, value in changed.items():
            config.pop(key, None) if value is None else config.update({key: value})
        (target / "config.json").write_text(json.dumps(config))
        return target

    # What is right.

    def test_right_size_conforms(self):
        run, result = self.verify(self.right)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("the code that runs them was not judged", result["footer"]["verdict"])
        self.assertIn("the code that runs them was not judged", run.stdout)

    def test_sharded_and_half_types_conform(self):
        for name, options, dtype in (("sharded", dict(max_shard_size="20MB"), torch.float32), ("half", {}, torch.float16), ("brain", {}, torch.bfloat16)):
            with self.subTest(name):
                llama().to(dtype).save_pretrained(self.root / name, **options)
                run, _ = self.verify(self.root / name)
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_a_stored_copy_of_the_tied_head_conforms(self):
        target = self.copy("stored")
        tensors = safetensors.torch.load_file(target / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
        self.assertEqual(self.verify(target)[0].returncode, 0)

    def test_the_tied_matrix_under_the_head_s_name_conforms(self):
        target = self.copy("head")
        tensors = safetensors.torch.load_file(target / "model.safetensors")
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
        safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
        run, result = self.verify(target)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertTrue(any("lm_head.weight" in note for note in result["header"]["notes"]))

    def test_a_half_precision_state_dict_conforms(self):
        state = {"_orig_mod." + k: v.half() for k, v in llama().state_dict().items()}
        torch.save(state, self.root / "full_sft_512.pth")
        run, result = self.verify(self.root / "full_sft_512.pth", "--spec", "minimind2-small")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self.assertIn("neither a configuration nor the code", result["footer"]["verdict"])

    # What is another model.

    def test_other_layers(self):
        self.assertLessEqual({"CFG-3", "PAR-1", "PAR-4"}, set(self.failed(self.saved("layers", num_hidden_layers=23))))

    def test_other_key_value_heads(self):
        self.assertLessEqual({"CFG-5", "PAR-1", "PAR-3"}, set(self.failed(self.saved("heads", num_key_value_heads=8))))

    def test_other_feed_forward(self):
        self.assertLessEqual({"CFG-6", "PAR-1", "PAR-3"}, set(self.failed(self.saved("wide", intermediate_size=2048))))

    def test_other_theta(self):
        self.assertEqual(["CFG-8"], self.failed(self.saved("theta", theta=1e4)))

    def test_untied_head(self):
        self.assertEqual(["CFG-13", "PAR-5"], self.failed(self.saved("untied", tie_word_embeddings=False)))

    def test_not_a_number(self):
        target = self.copy("nan")
        tensors = safetensors.torch.load_file(target / "model.safetensors")
        tensors["model.layers.3.mlp.up_proj.weight"][7, 11] = float("nan")
        safetensors.torch.save_file(tensors, target / "model.safetensors", {"format": "pt"})
        run, _ = self.verify(target)
        self.assertEqual(self.failed(target), ["PAR-6"])
        self.assertIn("model.layers.3.mlp.up_proj.weight[7,11]", run.stdout)

    def test_other_values_of_the_configuration(self):
        for key, value, expected in (("rms_norm_eps", 1e-6, "CFG-11"), ("hidden_act", "gelu", "CFG-7"), ("attention_dropout", 0.5, "CFG-10"),
                                     ("mlp_bias", True, "CFG-12"), ("rope_scaling", {"rope_type": "linear", "factor": 2.0}, "CFG-9"), ("partial_rotary_factor", 0.5, "CFG-9")):
            with self.subTest(key):
                self.assertEqual([expected], self.failed(self.edited("edited", **{key: value})))

    def test_a_missing_value_is_what_its_class_takes(self):
        for key, expected in (("rms_norm_eps", "CFG-11"), ("tie_word_embeddings", "CFG-13"), ("num_key_value_heads", "CFG-5")):
            with self.subTest(key):
                self.assertIn(expected, self.failed(self.edited("missing", **{key: None})))
        for key, expected in (("vocab_size", "CFG-1"), ("intermediate_size", "CFG-6")):
            with self.subTest(key):  # no class is asked for a size
                run, result = self.verify(self.edited("missing", **{key: None}))
                self.assertEqual(run.returncode, 3, run.stdout)
                self.assertIn(expected, [r["id"] for r in result["requirements"] if r["verdict"] == "not assessed"])

    # What cannot be judged.

    def test_unusable_configurations(self):
        self.refused(self.edited("bad", num_attention_heads=6, head_dim=None), "512", "6 heads")
        self.refused(self.edited("bad", head_dim=63), "63", "odd")
        self.refused(self.edited("bad", num_key_value_heads=3), "8 query heads", "3 key/value heads")
        self.refused(self.edited("bad", model_type="gpt2"), "gpt2", "llama")
        self.refused(self.edited("bad", model_type=None), "model_type")
        self.refused(self.edited("bad", hidden_size="512"), "hidden_size", "whole number")
        self.refused(self.edited("bad", hidden_size=10**30), "hidden_size")
        self.refused(self.edited("bad", num_hidden_layers=-1), "num_hidden_layers")
        target = self.copy("bad")
        for text in ("", "{", "[1, 2]", '{"a": 1, "a": 2}', "\xff", "[" * 100000, '{"model_type": "llama", "hidden_size": 1e999}'):
            (target / "config.json").write_text(text, encoding="latin-1")
            self.refused(target, "config.json")

    def test_unusable_places(self):
        empty = self.root / "empty"
        empty.mkdir(exist_ok=True)
        self.refused(empty, "config.json")
        self.refused(self.root / "nowhere", "nowhere")
        target = self.copy("weightless")
        (target / "model.safetensors").unlink()
        self.refused(target, "safetensors")

    def test_broken_weights(self):
        target = self.copy("broken")
        file = target / "model.safetensors"
        good = file.read_bytes()
        length = struct.unpack("<Q", good[:8])[0]
        for name, content in (("empty", b""), ("short", good[:5]), ("truncated", good[: len(good) // 2]), ("longer", good + b"\0" * 8),
                              ("huge header", struct.pack("<Q", 2**63) + good[8:]), ("no JSON", good[:8] + b"x" * length + good[8 + length:])):
            with self.subTest(name):
                file.write_bytes(content)
                self.refused(target, "model.safetensors")

    def test_a_pickle_with_code_is_refused(self):
        marker = self.root / "executed"
        class Attack:
            def __reduce__(self):
                return (os.system, (f"touch {marker}",))
        torch.save({"model.norm.weight": Attack()}, self.root / "attack.pth")
        self.refused(self.root / "attack.pth", "refused")
        self.assertFalse(marker.exists())


if __name__ == "__main__":
    shapes.PROGRAM = sys.argv.pop(1)
    print("transformers", transformers.__version__)
    unittest.main(verbosity=1)
