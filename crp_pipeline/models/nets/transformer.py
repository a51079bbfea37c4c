"""Causal transformer encoder over bars, pre-norm. Source: Vaswani et al. (2017); Xiong et al. (2020)."""

from torch import Tensor, nn

from crp_pipeline.models.nets.attention import BandedAttention
from crp_pipeline.models.nets.body import Body


class Layer(nn.Module):
    """Attention, then a feed-forward network, each with a way round it."""

    def __init__(self, width: int, *, n_heads: int, band: int, dropout: float) -> None:
        super().__init__()
        self.attention = BandedAttention(width, n_heads=n_heads, band=band, dropout=dropout)
        last = nn.Linear(2 * width, width)
        nn.init.zeros_(last.weight)
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), last, nn.Dropout(dropout))
        self.before_attention, self.before_thinking = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = x + self.attention(self.before_attention(x))
        thought: Tensor = self.think(self.before_thinking(x))
        return x + thought


class Transformer(Body):
    """`n_layers` layers whose bands together reach back `window` bars."""

    def __init__(self, n_features: int, *, width: int, n_layers: int, n_heads: int, window: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(n_features, width)
        band = (window - 1) // n_layers + 1
        self.layers = nn.Sequential(*(Layer(width, n_heads=n_heads, band=band, dropout=dropout) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.project(x)  # (batch, time, width)
        out: Tensor = self.norm(self.layers(x))
        return out
