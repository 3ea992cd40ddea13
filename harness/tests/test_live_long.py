"""Live models in other types, edits that a diagnosis cannot be asked about, and more parameters too many or too few.

Run by CTest as `python test_live_long.py PROGRAM`. Models run in the interpreter that runs this file.
"""

import json
import pathlib
import shutil
import sys
import types
import unittest

import live_cases
from live_cases import MODELS
import test_live
import test_live_parameters
from edits import BFLOAT16_EDITS, EDITS, MORE_EDITS  # beside the models


class Edits(test_live.Honest):
    """Mistakes that test_diagnosis.py cannot ask about, and the other types of what is right; run with --long."""

    def test_a_model_of_names_and_layouts_of_its_own(self):
        self.conforms("plain_adapter.py", "bf16")

    def test_a_model_like_minimind(self):
        self.conforms("minimind_adapter.py", "f32")

    # Its other tests are run by test_live.py.
    test_models_as_people_write_them = test_transformers_llama = None

    def edited(self, edit):
        folder = self.root / edit.name
        folder.mkdir()
        text = (MODELS / "models.py").read_text()
        for old, new in edit.change.items():
            self.assertEqual(text.count(old), 1, old)
            text = text.replace(old, new)
        (folder / "models.py").write_text(text)
        return pathlib.Path(shutil.copy(MODELS / "plain_adapter.py", folder))

    def test_what_is_wrong_in_half_precision_alone(self):
        for edit in BFLOAT16_EDITS:
            with self.subTest(edit.name):
                requirements = self.judged(self.edited(edit), 1, "--dtype", "bf16")
                self.assertLessEqual(set(edit.fails), set(self.verdicts(requirements, "fail")))
                found = json.loads((self.out / "result.json").read_text())["localisation"]
                self.assertEqual(found["first_locally_wrong"], edit.stage, found["conclusion"])

    def test_a_cache_that_takes_one_token_at_a_time(self):
        """Room for one token less than was asked for is seen where no chunk can overrun it, too."""
        small = next(edit for edit in EDITS + MORE_EDITS if edit.name == "cache-one-too-small")
        for edit, status in ((types.SimpleNamespace(name="right", change={}), 0), (small, 1)):
            with self.subTest(edit.name):
                adapter = self.edited(edit)
                adapter.write_text(adapter.read_text().replace("fixed=True,", "fixed=True, chunks=False,"))
                requirements = self.judged(adapter, status)
                self.assertIn("KVC-8", self.verdicts(requirements, "fail" if status else "pass"))
                self.assertIn("KVC-5", self.verdicts(requirements, "not applicable"))

    def test_what_cannot_be_compared(self):
        for edit in EDITS:
            if edit.refused:
                self.refused(self.edited(edit), edit.refused)


class MoreParameters(test_live_parameters.Parameters):
    """The other kinds; run with --long."""

    # Run by test_live_parameters.py.
    test_matrices_that_begin_as_the_specification_says = test_biases_that_are_missing = None

    def test_an_output_head_that_is_missing(self):
        self.claims(tie_word_embeddings=False, parameter_count=128256 + 101 * 48)
        self.only(self.adapter({"tie_word_embeddings": True}), ["CFG-13", "PAR-1", "PAR-2"],
                  ["NUM-1", "NUM-2", "NUM-3", "TRN-4", "TRN-5"])

    def test_the_weight_of_a_norm_that_is_missing(self):
        adapter = self.adapter({}, "del model.model.norm.weight; model.model.norm.weight = torch.ones(48)")
        self.only(adapter, ["PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-8", "TRN-4"])

    def test_a_layer_that_is_missing(self):
        self.claims(num_hidden_layers=6, parameter_count=152928)
        requirements = self.judged(self.adapter({"num_hidden_layers": 5}), 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["CFG-3", "PAR-1", "PAR-2", "KVC-1", "KVC-3"])
        for identifier in ("NUM-6", "NUM-7", "MODE-1", "KVC-11"):
            self.assertEqual(requirements[identifier]["verdict"], "pass", identifier)
        self.assertIn("layers.5", requirements["GQA-7"]["reason"])

    def test_a_layer_too_many(self):
        self.only(self.adapter({"num_hidden_layers": 6}), ["CFG-3", "PAR-1", "PAR-4", "KVC-1", "KVC-3"], ["KVC-2", "KVC-9"])

    def test_biases_and_a_head_too_many(self):
        adapter = self.adapter({"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False})
        requirements = self.only(adapter, ["CFG-12", "CFG-13", "CFG-14", "PAR-1", "PAR-4", "PAR-7"], ["TRN-5"])
        self.assertIn("a bias 0", requirements["PAR-4"]["finding"])

    def test_a_matrix_that_nothing_replaces(self):
        adapter = self.adapter({}, "for layer in model.model.layers: layer.self_attn.o_proj = torch.nn.Identity()")
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), ["PAR-1", "PAR-2"])
        self.assertIn("it has no parameter model.layers.0.self_attn.o_proj.weight", requirements["NUM-6"]["reason"])


if __name__ == "__main__":
    live_cases.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
