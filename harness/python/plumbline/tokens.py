"""Padding and positions of tokens."""

from __future__ import annotations

import torch

from plumbline.adapter import Generation, Pass


def real_tokens(tokens: torch.Tensor, options: Pass | Generation) -> torch.Tensor:
    """(B, T) bool: row b has options.lengths[b] real tokens, at its start or, padded left, at its end."""
    batch, length = tokens.shape
    if options.padding == "none" or not options.lengths:
        return torch.ones(batch, length, dtype=torch.bool)
    columns = torch.arange(length)
    lengths = torch.tensor(options.lengths).unsqueeze(1)  # (B, 1)
    return columns < lengths if options.padding == "right" else columns >= length - lengths


def positions(real: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """(B, T) int64: real tokens of row b count from before[b]; padding has the position of the token before it, or 0."""
    return (before.unsqueeze(1) + real.cumsum(1) - 1).clamp_min(0)
