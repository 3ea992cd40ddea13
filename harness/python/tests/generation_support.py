"""What the tests of generation share: how text is asked for."""

import torch
from support import Case, specification

S = specification()
TOKENS = torch.randint(0, S["vocab_size"], (3, 6), generator=torch.Generator().manual_seed(5))
NEUTRAL = {"most_tokens": 7, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0, "end": None, "seed": 1,
           "padding": "none", "lengths": []}
MULTINOMIALS = torch.multinomial, torch.Tensor.multinomial


class Asked(Case):
    def generate(self, talk, tokens=TOKENS, **fields):
        return talk.ask("generate", {"tokens": tokens}, **{**NEUTRAL, **fields})[1]

    def tearDown(self):
        self.assertEqual((torch.multinomial, torch.Tensor.multinomial), MULTINOMIALS)
        self.assertNotIn("multinomial", vars(torch.Tensor))
