"""Raw features to numbers of one size, inside the network, so that an exported graph takes raw features."""

import torch
from torch import Tensor, nn

CLIP = 5.0
"""Scaled values beyond this say no more than this: features have heavy tails."""


class Scaling(nn.Module):
    """Centre and spread of each feature, learned elsewhere; a missing value becomes the centre."""

    center: Tensor
    spread: Tensor

    def __init__(self, center: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        scaled = ((x - self.center) / self.spread).clamp(-CLIP, CLIP)
        return torch.where(torch.isnan(scaled), torch.zeros_like(scaled), scaled)
