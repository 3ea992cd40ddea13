"""A configuration is read as the model holds it, and made for transformers 4 and 5."""

import unittest
from types import SimpleNamespace

import models
from support import LLAMA, MINIMIND, PLAIN, in_process, specification, with_transformers

import plumbline
from plumbline.discovered import Discovered
from plumbline.settings import held_against, intermediate_size, llama_config, settings

S = specification(dropout=0.1)
READ = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
        "hidden_act", "rms_norm_eps", "dropout", "attention_bias", "mlp_bias", "tie_word_embeddings", "max_position_embeddings",
        "rope_theta", "rotary")


def values(config):
    return {key: entry["value"] for key, entry in settings(config).items()}


class Read(unittest.TestCase):
    def expect(self, found):
        self.assertEqual({key: found[key]["value"] for key in READ}, {key: S[key] for key in READ})
        self.assertEqual((found["head_dim"]["value"], found["rope_type"]["value"]), (8, "default"))
        self.assertTrue(all(entry["where"] for entry in found.values()))

    @with_transformers
    def test_llama(self):
        found = in_process(LLAMA).hello(S)["configuration"]
        self.expect(found)
        self.assertEqual(found["dropout"]["where"], "config.attention_dropout")
        self.assertIn("rope", found["rope_theta"]["where"])

    def test_minimind(self):
        self.expect(in_process(MINIMIND).hello(S)["configuration"])

    def test_stated(self):
        found = in_process(PLAIN).hello(S)["configuration"]
        self.assertEqual(found["rope_theta"], {"value": 1e6, "where": "stated in the adapter"})
        # Of a model that states nothing, what its data flow shows.
        found = in_process(plumbline.Module(models.Plain)).hello(S)["configuration"]
        self.assertEqual(found["rope_theta"]["where"], "the queries of layer 0, before and after rotation")
        self.assertEqual({key: found[key]["value"] for key in ("rotary", "head_dim", "hidden_act")},
                         {"rotary": "halves", "head_dim": 8, "hidden_act": "silu"})

    def test_a_configuration_is_held_against_what_is_computed(self):
        def build(specification):
            model = models.Plain(specification)
            model.config = SimpleNamespace(num_key_value_heads=S["num_attention_heads"], rms_norm_eps=S["rms_norm_eps"], hidden_act="swish")
            return model

        found = in_process(Discovered(build, "build")).hello(S)["configuration"]
        heads = found["num_key_value_heads"]
        self.assertEqual(heads["value"], S["num_attention_heads"])
        self.assertRegex(heads["where"], r"config\.num_key_value_heads says 6, .*models\.py:\d+ computes 2$")
        self.assertEqual(found["rms_norm_eps"], {"value": S["rms_norm_eps"], "where": "config.rms_norm_eps"})
        self.assertEqual(found["hidden_act"]["value"], "swish")

    def test_what_the_specification_does_not_have_counts(self):
        stated, computed = {"value": 2, "where": "config"}, {"value": 6, "where": "its data flow"}
        found = held_against({"num_key_value_heads": stated}, {"num_key_value_heads": computed}, S)
        self.assertEqual(found, {"num_key_value_heads": {"value": 6, "where": "config says 2, its data flow computes 6"}})

    def test_a_size_that_the_specification_derives_is_held_against_it_too(self):
        for key, right in (("head_dim", 8), ("intermediate_size", intermediate_size(S))):
            stated, computed = {"value": right * 2, "where": "config"}, {"value": right, "where": "its data flow"}
            found = held_against({key: stated}, {key: computed}, S)
            self.assertEqual(found[key], {"value": right * 2, "where": f"config says {right * 2}, its data flow computes {right}"})

    def test_stated_by_a_function_before_the_config(self):
        def configuration(model):
            return {"hidden_act": {"value": "gelu", "where": "models.py"}, "num_hidden_layers": len(model.model.layers)}

        found = in_process(plumbline.Module(models.MiniMind, configuration=configuration)).hello(S)["configuration"]
        self.assertEqual(found["hidden_act"], {"value": "gelu", "where": "models.py"})
        self.assertEqual(found["num_hidden_layers"]["value"], 5)
        self.assertEqual(found["num_hidden_layers"]["where"], "stated in the adapter")

    def test_rotary(self):
        self.assertEqual(values(SimpleNamespace(rope_theta=5.0))["rope_theta"], 5.0)
        five = SimpleNamespace(rope_parameters={"rope_type": "yarn", "rope_theta": 7.0})
        self.assertEqual((values(five)["rope_theta"], values(five)["rope_type"]), (7.0, "yarn"))
        old = SimpleNamespace(rope_theta=5.0, rope_scaling={"type": "linear", "factor": 2.0})
        self.assertEqual(values(old)["rope_type"], "linear")
        both = SimpleNamespace(rope_parameters={"rope_type": "default"}, rope_scaling={"rope_type": "dynamic"})
        self.assertEqual(values(both)["rope_type"], "dynamic")
        self.assertEqual(values(SimpleNamespace(inference_rope_scaling=True))["rope_type"], "inference_rope_scaling")
        self.assertEqual(values(SimpleNamespace())["rope_type"], "default")
        with self.assertRaisesRegex(ValueError, "contradict"):
            settings(SimpleNamespace(rope_theta=5.0, rope_parameters={"rope_theta": 7.0}))


class Made(unittest.TestCase):
    def test_feed_forward_size(self):
        self.assertEqual(intermediate_size({"hidden_size": 512, "intermediate_size": "derived"}), 1408)
        self.assertEqual(intermediate_size({"hidden_size": 48, "intermediate_size": "derived"}), 128)
        self.assertEqual(intermediate_size({"hidden_size": 512, "intermediate_size": 2048}), 2048)

    def test_pairs_cannot_be_said(self):
        with self.assertRaisesRegex(ValueError, "pairs"):
            llama_config(specification("minimind-v1-small"))


if __name__ == "__main__":
    unittest.main()
