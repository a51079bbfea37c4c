"""Attention of each bar to itself and the bars before it, as far back as a band."""

import torch
from torch import Tensor, nn
from torch.nn import functional

ROTARY_BASE = 1_000.0


class BandedAttention(nn.Module):
    """Multi-head attention of (batch, time, width): a bar sees the last `band` bars, its own included.

    Positions enter as rotations of queries and keys, so that only the distance between two bars counts: a forecast does not
    depend on where in a chunk its bar lies. Source: Su et al. (2021), RoFormer. What it adds begins at nought.
    """

    def __init__(self, width: int, *, n_heads: int, band: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.band = n_heads, band
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        nn.init.zeros_(self.merge.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        query, key, value = self._heads(x)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=self._mask(x))
        merged: Tensor = self.dropout(self.merge(seen.transpose(1, 2).flatten(2)))
        return merged

    def weights(self, x: Tensor) -> Tensor:
        """Share of its attention that each bar gives each other: (batch, heads, time, time), rows sum to 1."""
        query, key, _ = self._heads(x)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        shares: Tensor = scores.masked_fill(~self._mask(x), float("-inf")).softmax(dim=-1)
        return shares

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values: (batch, heads, time, width / heads)."""
        parts = self.project(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        cosine, sine = _rotation(x.shape[1], parts.shape[-1], x)
        return _rotated(parts[0], cosine, sine), _rotated(parts[1], cosine, sine), parts[2]

    def _mask(self, x: Tensor) -> Tensor:
        """(time, time): True where the row's bar may look at the column's."""
        bar = torch.arange(x.shape[1], device=x.device)
        back = bar[:, None] - bar[None, :]
        return (back >= 0) & (back < self.band)


def _rotation(n_bars: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each bar's angle at each frequency: (time, width / 2) each."""
    frequency = ROTARY_BASE ** (-torch.arange(0, width, 2, device=like.device, dtype=torch.float32) / width)
    angle = torch.arange(n_bars, device=like.device, dtype=torch.float32)[:, None] * frequency
    return angle.cos(), angle.sin()


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(x.dtype)
