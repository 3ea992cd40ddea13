"""What several of the strangers' models use."""

import math

import torch
from torch import nn


def drawn(*shape):
    """A parameter, small and normal."""
    return nn.Parameter(0.02 * torch.randn(*shape))


def angles_of(positions, size, theta):
    """positions: any shape. Returns one axis more, of Dh / 2."""
    return positions.unsqueeze(-1).float() * torch.exp(torch.arange(0, size, 2, device=positions.device) * (-math.log(theta) / size))


class Norm(nn.Module):
    """The root mean square's norm."""

    def __init__(self, width, eps):
        """Gains of one."""
        super().__init__()
        self.gain, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        """Divides by a square root; the copy leaves x free to change in place."""
        wide = x.to(torch.float32, copy=True)
        return (wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + self.eps)).type_as(x) * self.gain
