"""Causal convolution: the output at a bar sees that bar and earlier ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConv(nn.Module):
    """Dilated convolution over time on (batch, time, channels), padded with zeros before the first bar.

    Written as one matrix product over shifted copies: on processors several times faster than `Conv1d` with dilation.
    """

    def __init__(self, n_in: int, n_out: int, *, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.shifts = [dilation * back for back in reversed(range(kernel))]
        self.mix = nn.Linear(kernel * n_in, n_out)
        nn.init.kaiming_normal_(self.mix.weight, nonlinearity="relu")
        nn.init.zeros_(self.mix.bias)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        n_bars = x.shape[1]
        padded = functional.pad(x, (0, 0, self.shifts[0], 0))
        copies = [padded[:, self.shifts[0] - shift : self.shifts[0] - shift + n_bars] for shift in self.shifts]
        mixed: Tensor = self.mix(torch.cat(copies, dim=-1))
        return mixed
