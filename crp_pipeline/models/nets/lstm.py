"""Recurrent networks. Source: Hochreiter and Schmidhuber (1997)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crp_pipeline.models.nets.attention import BandedAttention
from crp_pipeline.models.nets.body import Body
from crp_pipeline.models.nets.convolution import CausalConv


class Lstm(Body):
    """Layers of one width that read forwards in time."""

    def __init__(self, n_features: int, *, width: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        between = dropout if n_layers > 1 else 0.0
        self.layers = nn.LSTM(n_features, width, n_layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        states: Tensor = self.dropout(self.layers(x)[0])
        return states


class BidirectionalLstm(Body):
    """Layers that read a closed window both ways; what they say of its last bar: (batch, 1, 2 * width).

    Of the last layer's backward direction only the first step is ever asked for, so only that one is taken: the same numbers
    as a whole layer's for a quarter less work.
    """

    def __init__(self, n_features: int, *, width: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.width = 2 * width
        inputs = [n_features, *[2 * width] * (n_layers - 1)]
        self.below = nn.ModuleList(nn.LSTM(n, width, batch_first=True, bidirectional=True) for n in inputs[:-1])
        self.forwards = nn.LSTM(inputs[-1], width, batch_first=True)
        self.backwards = nn.LSTM(inputs[-1], width, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer in self.below:
            x = self.dropout(layer(x)[0])
        last = x[:, -1:]
        both = torch.cat([self.forwards(x)[0][:, -1:], self.backwards(last)[0]], dim=-1)
        out: Tensor = self.dropout(both)
        return out


class StackedLstm(Body):
    """Layers of falling width, each followed by batch normalisation and its own dropout; one more dropout at the end."""

    def __init__(self, n_features: int, *, widths: Sequence[int], dropouts: Sequence[float], last: float) -> None:
        super().__init__()
        self.width = widths[-1]
        inputs = [n_features, *widths[:-1]]
        self.layers = nn.ModuleList(nn.LSTM(n, width, batch_first=True) for n, width in zip(inputs, widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
        self.dropouts = nn.ModuleList(nn.Dropout(share) for share in dropouts)
        self.last = nn.Dropout(last)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer, norm, dropout in zip(self.layers, self.norms, self.dropouts, strict=True):
            states = layer(x)[0]  # (batch, time, width)
            x = dropout(norm(states.transpose(1, 2)).transpose(1, 2))
        out: Tensor = self.last(x)
        return out


class CnnLstm(Body):
    """Two causal convolutions that shape what an LSTM reads."""

    def __init__(self, n_features: int, *, width: int, n_layers: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.shape = nn.Sequential(
            CausalConv(n_features, width, kernel=kernel),
            nn.ReLU(),
            nn.Dropout(dropout),
            CausalConv(width, width, kernel=kernel),
            nn.ReLU(),
        )
        self.lstm = Lstm(width, width=width, n_layers=n_layers, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.lstm(self.shape(x))
        return out


class AttentionLstm(Body):
    """An LSTM, and each bar's look back over its states of the last `window` bars."""

    def __init__(self, n_features: int, *, width: int, n_layers: int, n_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.lstm = Lstm(n_features, width=width, n_layers=n_layers, dropout=dropout)
        self.attention = BandedAttention(width, n_heads=n_heads, band=window, dropout=dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        states = self.lstm(x)
        out: Tensor = self.norm(states + self.attention(states))
        return out

    def weights(self, x: Tensor) -> Tensor:
        """Share of its attention that each bar gives each other: (batch, heads, time, time)."""
        return self.attention.weights(self.lstm(x))
