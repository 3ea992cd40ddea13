"""Live models with parameters too many or too few, and matrices that begin otherwise.

Run by CTest as `python test_live_parameters.py PROGRAM`. Models run in the interpreter that runs this file.
"""

import json
import pathlib
import sys
import unittest

import live_cases
from live_cases import Runs


class Parameters(Runs):
    """A parameter too many or too few fails by name, does nothing to anything else, and what else there is passes."""

    def adapter(self, settings, change="pass"):
        return self.file(f"""
            import torch
            import minimind_adapter, models, plumbline
            def build(settings):
                model = models.MiniMind({{**settings, **{settings}}})
                {change}
                return model
            adapter = plumbline.Module(build, mask="attention_mask", repeat_kv=models.repeat_kv, rotate=minimind_adapter.rotate,
                                       cache=plumbline.Cache("past_key_values", keywords={{"use_cache": True}}))
            """, "adapter.py")

    def claims(self, **changes):
        """A specification: tiny, with these changes."""
        root = pathlib.Path(__file__).resolve().parents[2]
        tiny = json.loads((root / "fixtures" / "specifications" / "tiny.json").read_text())
        (self.root / "claimed.json").write_text(json.dumps({**tiny, "name": "claimed", **changes}))
        self.specification = str(self.root / "claimed.json")

    def only(self, adapter, fails, not_assessed):
        requirements = self.judged(adapter, 1)
        self.assertEqual(self.verdicts(requirements, "fail"), fails)
        self.assertEqual(self.verdicts(requirements, "not assessed"), not_assessed)
        self.assertEqual(self.verdicts(requirements, "error"), [])
        return requirements

    def test_matrices_that_begin_as_the_specification_says(self):
        """Normal with 0.02, what writes into the residual stream smaller; then one of its two matrices like the others."""
        self.claims(initialization={"embedding": {"normal": 0.02}, "linear": {"normal": 0.02}, "residual": {"normal": 0.02 / 10 ** 0.5}})
        begun = ("for name, values in model.named_parameters(): "
                 "values.dim() == 2 and torch.nn.init.normal_(values, std=0.02 / 10 ** 0.5 if name.endswith(%s) else 0.02)")
        for smaller, wrong in ((("o_proj.weight", "down_proj.weight"), []), (("o_proj.weight",), ["CFG-17"])):
            requirements = self.judged(self.adapter({}, begun % (smaller,)), 3, "--only", "1,9")
            self.assertEqual(self.verdicts(requirements, "fail"), wrong)
            self.assertEqual({requirements[i]["verdict"] for i in ("CFG-14", "TRN-1")}, {"pass"})
            self.assertEqual([r["what"] for r in requirements["CFG-17"]["checks"] if not r["within"]],
                             ["mean square of the initial down_proj.weight"] if wrong else [])

    def test_biases_that_are_missing(self):
        biases = 5 * (2 * 128 + 48 + 2 * 48 + 2 * 16)
        self.claims(attention_bias=True, mlp_bias=True, parameter_count=128256 + biases)
        adapter = self.adapter({"attention_bias": False, "mlp_bias": False})
        requirements = self.only(adapter, ["CFG-12", "PAR-1", "PAR-2"], ["NUM-1", "NUM-2", "NUM-3", "TRN-4"])
        self.assertIn("a bias 0", requirements["PAR-2"]["finding"])


if __name__ == "__main__":
    live_cases.PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=1)
