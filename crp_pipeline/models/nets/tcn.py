"""Temporal convolutional network. Source: Bai, Kolter and Koltun (2018)."""

from torch import Tensor, nn

from crp_pipeline.models.nets.attention import BandedAttention
from crp_pipeline.models.nets.body import Body
from crp_pipeline.models.nets.convolution import CausalConv
from crp_pipeline.models.network_parameters import TCN_KERNEL as KERNEL


class ResidualBlock(nn.Module):
    """Two causal convolutions of one dilation, and a way round them.

    The second begins at nought, so that the network begins as a map of single bars and takes up their past where it pays.
    Source: Goyal et al. (2017), section 5.1.
    """

    def __init__(self, width: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        last = CausalConv(width, width, kernel=KERNEL, dilation=dilation)
        nn.init.zeros_(last.mix.weight)
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            CausalConv(width, width, kernel=KERNEL, dilation=dilation),
            nn.ReLU(),
            nn.Dropout(dropout),
            last,
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        added: Tensor = self.layers(x)
        return x + added


class Tcn(Body):
    """Residual blocks whose dilation doubles from level to level."""

    def __init__(self, n_features: int, *, width: int, levels: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(n_features, width)
        blocks = (ResidualBlock(width, dilation=2**level, dropout=dropout) for level in range(levels))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.dropout(self.project(x))  # (batch, time, width)
        out: Tensor = self.norm(self.blocks(x))
        return out


class TcnAttention(Body):
    """A TCN, and each bar's look back over what the TCN said of the bars before it."""

    def __init__(self, n_features: int, *, width: int, levels: int, n_heads: int, band: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.tcn = Tcn(n_features, width=width, levels=levels, dropout=dropout)
        self.attention = BandedAttention(width, n_heads=n_heads, band=band, dropout=dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        seen = self.tcn(x)
        out: Tensor = self.norm(seen + self.attention(seen))
        return out
