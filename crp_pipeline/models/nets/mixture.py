"""Two networks asked together."""

import torch
from torch import Tensor, nn

from crp_pipeline.contracts import CLASSES


class LogPool(nn.Module):
    """Weighted geometric mean of the networks' class probabilities, summing to 1: (batch, 3)."""

    def __init__(self, networks: list[nn.Module], weights: list[float], *, smallest: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.weights, self.smallest = weights, smallest

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        logs = [net(x)[:, : len(CLASSES)].clamp_min(self.smallest).log() for net in self.networks]
        weighted = [weight * log for weight, log in zip(self.weights, logs, strict=True)]
        return torch.stack(weighted).sum(dim=0).softmax(dim=-1)
