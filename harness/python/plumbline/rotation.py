"""What queries before and after rotation tell: which pairs are turned (RoPE, Su et al. 2021, formula 34), and by which theta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

PAIRINGS = ("halves", "neighbours")
ENOUGH = 1e-3   # of a pair's length: what rounding may change of it
FITTING = 1e-3  # of the logarithm of theta


@dataclass(frozen=True)
class Rotation:
    """pairing: "halves" or "neighbours"; theta: as measured from the angles, or None where they follow no power."""

    pairing: str
    theta: float | None


def rotation_of(before: torch.Tensor, after: torch.Tensor) -> Rotation | None:
    """From queries (B, T, H, Dh) at positions 0, 1, ... ; None where their pairs are not turned."""
    before, after = before.detach().cpu().double(), after.detach().cpu().double()
    if before.shape != after.shape or before.shape[1] < 2 or before.shape[-1] % 2 or torch.equal(before, after):
        return None
    for pairing in PAIRINGS:
        one, other = pairs(before, pairing), pairs(after, pairing)
        lengths = one.abs()
        if bool(((other.abs() - lengths).abs() <= ENOUGH * lengths.clamp_min(1e-12)).all()):
            return Rotation(pairing, theta_of((other[:, 1] / one[:, 1]).angle()))
    return None


def pairs(x: torch.Tensor, pairing: str) -> torch.Tensor:
    """(B, T, H, Dh / 2) complex."""
    first, second = x.chunk(2, -1) if pairing == "halves" else (x[..., ::2], x[..., 1::2])
    return torch.complex(first.contiguous(), second.contiguous())


def theta_of(angles: torch.Tensor) -> float | None:
    """theta where pair i turns by theta^(-2i/Dh) a position. angles: (B, H, Dh / 2) of position 1."""
    angle = angles.abs().flatten(0, -2).median(0).values  # (Dh / 2)
    count = len(angle)
    # The first pair turns by 1 whatever theta is; small angles have few digits.
    known = [(i, float(angle[i])) for i in range(1, count) if float(angle[i]) > 1e-3]
    if not known or abs(float(angle[0]) - 1) > ENOUGH:
        return None
    logarithms = [-math.log(value) * count / i for i, value in known]
    best = logarithms[0]  # of the largest angle, which has the most digits
    return math.exp(best) if all(abs(one - best) <= FITTING * max(1.0, best) for one in logarithms) else None


def rounded_to(theta: float, stated: float) -> float:
    """The stated theta where the measured one is it to rounding, else four digits of the measured one."""
    if abs(math.log(theta) - math.log(stated)) <= FITTING * max(1.0, math.log(stated)):
        return stated
    return float(f"{theta:.4g}")
