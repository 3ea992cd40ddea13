"""Real tokens and their positions."""

import unittest

import torch

from plumbline.adapter import Pass
from plumbline.tokens import positions, real_tokens


class Tokens(unittest.TestCase):
    def test_real_tokens(self):
        tokens = torch.zeros(3, 4)
        for side, right in (("right", [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]),
                            ("left", [[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]), ("none", [[1] * 4] * 3)):
            self.assertEqual(real_tokens(tokens, Pass(padding=side, lengths=[2, 4, 0])).int().tolist(), right, side)
        self.assertTrue(real_tokens(tokens, Pass(padding="left")).all())

    def test_positions(self):
        """Padding stands where the token before it does; before the first one at 0, never at -1."""
        real = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 1]]).bool()
        self.assertEqual(positions(real, torch.tensor([0, 0])).tolist(), [[0, 1, 1, 2], [0, 0, 0, 1]])
        self.assertEqual(positions(real, torch.tensor([5, 3])).tolist(), [[5, 6, 6, 7], [2, 2, 3, 4]])


if __name__ == "__main__":
    unittest.main()
