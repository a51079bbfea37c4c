"""What a network is asked: each head turns the body's states into logits, scores them in training and answers outside.

Logits stay inside: a loss takes them as they are and only `answer` turns them into probabilities or returns. A label that is
missing teaches nothing.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from crp_pipeline.contracts import CLASSES

NORMAL_MEDIAN = 0.6745
"""Median size of a normal variable of standard deviation 1."""
SMALLEST_SPREAD = 1e-12


class Head(nn.Module):
    """A linear map of the states and the loss of one target."""

    def __init__(self, width: int, n_logits: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, n_logits)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, states: Tensor) -> Tensor:  # noqa: D102
        logits: Tensor = self.project(states)
        return logits

    @abstractmethod
    def prepare(self, y: Tensor, weight: Tensor, *, balanced: bool) -> None:
        """Start from what the labels (n,) say without any feature."""

    @abstractmethod
    def loss(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each row and whether it counts: both (..., )."""

    @abstractmethod
    def answer(self, logits: Tensor) -> Tensor:
        """Outputs of each row: (..., len(outputs))."""

    @abstractmethod
    def is_right(self, logits: Tensor, y: Tensor) -> Tensor:
        """Whether the likeliest answer came: (...,)."""


class SignalHead(Head):
    """Short, neutral and long."""

    shift: Tensor
    """Logarithm of the class weights, (3,): taken off again outside, which undoes what they did to the probabilities."""

    def __init__(self, width: int) -> None:
        super().__init__(width, len(CLASSES))
        self.register_buffer("shift", torch.zeros(len(CLASSES)))

    def prepare(self, y: Tensor, weight: Tensor, *, balanced: bool) -> None:
        """Start from the class frequencies; balanced classes weigh N-/N+ each."""
        counts = torch.stack([weight[y == value].sum() for value in (-1.0, 0.0, 1.0)])
        share = (counts + 1e-3 * counts.sum()) / (counts.sum() * (1 + 3e-3))
        if balanced:
            self.shift.copy_(((1 - share) / share).log())
        with torch.no_grad():
            self.project.bias.copy_(share.log() + self.shift)

    def loss(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy, weighted by class."""
        known = torch.isfinite(y)
        came = torch.where(known, y + 1, torch.zeros_like(y)).long()
        losses = functional.cross_entropy(logits.flatten(0, -2), came.flatten(), weight=self.shift.exp(), reduction="none")
        return losses.view_as(y), known

    def answer(self, logits: Tensor) -> Tensor:
        """Probabilities of the three classes. Source of the correction: King and Zeng (2001)."""
        return (logits - self.shift).softmax(dim=-1)

    def is_right(self, logits: Tensor, y: Tensor) -> Tensor:
        """The most probable class came."""
        return (logits - self.shift).argmax(dim=-1) == y + 1


class DirectionHead(Head):
    """Down or up; a neutral label counts for nothing."""

    shift: Tensor
    """Logarithm of the weight of up, (1,)."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)
        self.register_buffer("shift", torch.zeros(1))

    def prepare(self, y: Tensor, weight: Tensor, *, balanced: bool) -> None:
        """Start from the share of up; a balanced up weighs N-/N+."""
        down, up = weight[y < 0].sum() + 1e-3, weight[y > 0].sum() + 1e-3
        odds = (up / down).log().view(1)
        if balanced:
            self.shift.copy_(-odds)
        with torch.no_grad():
            self.project.bias.copy_(odds + self.shift)

    def loss(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy with logits."""
        known = torch.isfinite(y) & (y != 0)
        losses = functional.binary_cross_entropy_with_logits(
            logits[..., 0], (y > 0).to(logits.dtype), pos_weight=self.shift.exp(), reduction="none"
        )
        return losses, known

    def answer(self, logits: Tensor) -> Tensor:
        """Probabilities of down and up."""
        up = (logits - self.shift).sigmoid()
        return torch.cat([1 - up, up], dim=-1)

    def is_right(self, logits: Tensor, y: Tensor) -> Tensor:
        """The move went where it was said to go."""
        return ((logits - self.shift)[..., 0] > 0) == (y > 0)


class ValueHead(Head):
    """A number, such as a return, in units of its own spread while it is learned."""

    spread: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, 1)
        self.register_buffer("spread", torch.ones(1))

    def prepare(self, y: Tensor, weight: Tensor, *, balanced: bool) -> None:
        """Take the labels' median size as unit, as a standard deviation: a few wild ones do not set the scale."""
        known = y[torch.isfinite(y)]
        if len(known):
            typical = known.abs().median() / NORMAL_MEDIAN
            self.spread.copy_(typical if typical > 0 else known.square().mean().sqrt().clamp_min(SMALLEST_SPREAD))

    def loss(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Huber's loss: returns have heavy tails."""
        known = torch.isfinite(y)
        aim = torch.where(known, y, torch.zeros_like(y)) / self.spread
        return functional.huber_loss(logits[..., 0], aim, reduction="none"), known

    def answer(self, logits: Tensor) -> Tensor:
        """The number in its own unit."""
        return logits * self.spread

    def is_right(self, logits: Tensor, y: Tensor) -> Tensor:
        """The number has the sign that came."""
        return (logits[..., 0] > 0) == (y > 0)
