"""Feed-forward network on one bar's features."""

from collections.abc import Sequence

from torch import Tensor, nn

from crp_pipeline.models.nets.body import Body


class Mlp(Body):
    """Layers of falling width with batch normalisation and dropout; every bar on its own."""

    def __init__(self, n_features: int, *, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.width = widths[-1]
        inputs = [n_features, *widths[:-1]]
        self.layers = nn.ModuleList(nn.Linear(n, width) for n, width in zip(inputs, widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = norm(layer(x).transpose(1, 2)).transpose(1, 2)  # (batch, time, width)
            x = self.dropout(values.relu())
        return x
