"""The networks by name: what each learns, its sizes in every variant, and its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crp_pipeline.contracts import CLASSES, DIRECTIONS, Floats, Samples
from crp_pipeline.models.network import Network
from crp_pipeline.models.network_parameters import (
    CONVOLUTION_SPACE,
    FALLING_SPACE,
    HEADS,
    LAYERED_SPACE,
    SHALLOW_SPACE,
    AttentionLstmParams,
    BidirectionalParams,
    ConvolutionalLstmParams,
    MlpParams,
    RecurrentParams,
    StackedParams,
    TcnAttentionParams,
    TcnParams,
    TransformerParams,
    receptive_field,
)
from crp_pipeline.models.search import Choice, SearchSpace

if TYPE_CHECKING:
    from crp_pipeline.models.nets.body import Body


class MlpRegressor(Network):
    """The forward return from one bar's features."""

    model_type = "mlp_regressor"
    targets: ClassVar[tuple[str, ...]] = ("forward_return",)
    outputs: ClassVar[tuple[str, ...]] = ("forward_return",)
    params: MlpParams
    search_space: ClassVar[SearchSpace] = FALLING_SPACE
    variants: ClassVar[Mapping[str, Any]] = {
        "default": MlpParams(),
        "lightweight": MlpParams(width=8, dropout=0.1),
        "deep": MlpParams(width=128, dropout=0.4, learning_rate=5e-4),
    }

    @property
    def reach(self) -> int:
        """A bar and nothing behind it."""
        return 1

    def body(self, n_features: int) -> Body:
        """Three layers of falling width."""
        from crp_pipeline.models.nets.mlp import Mlp

        width = self.params.width
        return Mlp(n_features, widths=(4 * width, 2 * width, width), dropout=self.params.dropout)


class DirectionLstm(Network):
    """Up or down, from a window that is read both ways."""

    model_type = "lstm"
    outputs: ClassVar[tuple[str, ...]] = DIRECTIONS
    is_causal = False
    has_finite_memory = False
    params: BidirectionalParams
    search_space: ClassVar[SearchSpace] = LAYERED_SPACE
    variants: ClassVar[Mapping[str, Any]] = {
        "default": BidirectionalParams(),
        "lightweight": BidirectionalParams(width=64, n_layers=2, dropout=0.2),
        "deep": BidirectionalParams(n_layers=4, dropout=0.4),
    }

    def body(self, n_features: int) -> Body:
        """Bidirectional layers."""
        from crp_pipeline.models.nets.lstm import BidirectionalLstm

        p = self.params
        return BidirectionalLstm(n_features, width=p.width, n_layers=p.n_layers, dropout=p.dropout)


class StackedLstm(Network):
    """The signal, from three layers of falling width."""

    model_type = "stacked_lstm"
    has_finite_memory = False
    params: StackedParams
    search_space: ClassVar[SearchSpace] = FALLING_SPACE
    variants: ClassVar[Mapping[str, Any]] = {
        "default": StackedParams(),
        "lightweight": StackedParams(width=16, dropout=0.15),
        "deep": StackedParams(width=64, weight_decay=1e-3),
    }

    def body(self, n_features: int) -> Body:
        """Layers of falling width with batch normalisation."""
        from crp_pipeline.models.nets.lstm import StackedLstm as Body

        width, d = self.params.width, self.params.dropout
        return Body(n_features, widths=(4 * width, 2 * width, width), dropouts=(d, d, 2 * d / 3), last=d / 3)


class LstmForecaster(Network):
    """The forward return and, where labels know it, the change of open interest."""

    model_type = "lstm_forecaster"
    targets: ClassVar[tuple[str, ...]] = ("forward_return", "open_interest_change")
    outputs: ClassVar[tuple[str, ...]] = ("forward_return", "open_interest_change")
    has_finite_memory = False
    params: RecurrentParams
    search_space: ClassVar[SearchSpace] = LAYERED_SPACE
    variants: ClassVar[Mapping[str, Any]] = {
        "default": RecurrentParams(window=50),
        "lightweight": RecurrentParams(window=50, width=32, n_layers=1, dropout=0.1),
        "deep": RecurrentParams(window=50, width=128, n_layers=3, dropout=0.3),
    }

    def body(self, n_features: int) -> Body:
        """Layers that read forwards."""
        from crp_pipeline.models.nets.lstm import Lstm

        p = self.params
        return Lstm(n_features, width=p.width, n_layers=p.n_layers, dropout=p.dropout)


class CnnLstm(Network):
    """The signal, from an LSTM that reads what convolutions shaped."""

    model_type = "cnn_lstm"
    has_finite_memory = False
    params: ConvolutionalLstmParams
    search_space: ClassVar[SearchSpace] = {**SHALLOW_SPACE, "kernel": Choice(3, 5, 7)}
    variants: ClassVar[Mapping[str, Any]] = {
        "default": ConvolutionalLstmParams(),
        "lightweight": ConvolutionalLstmParams(width=32, kernel=3),
        "deep": ConvolutionalLstmParams(width=128, n_layers=2, dropout=0.3),
    }

    def body(self, n_features: int) -> Body:
        """Convolutions, then an LSTM."""
        from crp_pipeline.models.nets.lstm import CnnLstm as Body

        p = self.params
        return Body(n_features, width=p.width, n_layers=p.n_layers, kernel=p.kernel, dropout=p.dropout)


class AttentionLstm(Network):
    """The signal, from an LSTM and attention over its states."""

    model_type = "attention_lstm"
    has_finite_memory = False
    params: AttentionLstmParams
    search_space: ClassVar[SearchSpace] = {**SHALLOW_SPACE, "n_heads": HEADS}
    variants: ClassVar[Mapping[str, Any]] = {
        "default": AttentionLstmParams(),
        "lightweight": AttentionLstmParams(width=32, n_heads=2),
        "deep": AttentionLstmParams(width=128, n_layers=2, n_heads=8, dropout=0.3),
    }

    def body(self, n_features: int) -> Body:
        """An LSTM with attention."""
        from crp_pipeline.models.nets.lstm import AttentionLstm as Body

        p = self.params
        return Body(n_features, width=p.width, n_layers=p.n_layers, n_heads=p.n_heads, window=p.window, dropout=p.dropout)

    def attention_weights(self, X: Samples) -> Floats:
        """Share of its attention that each sample's bar gives to the bars of its window, oldest first: (n, heads, window)."""
        import torch

        self._require_fitted()
        net = self._learned
        with torch.inference_mode():
            shares = [net.body.weights(net.scaling(windows))[:, :, -1].cpu().numpy() for windows in self.windows_of(X)]
        return np.concatenate(shares).astype(np.float64)


class TemporalConvolution(Network):
    """The signal, from dilated causal convolutions."""

    model_type = "tcn"
    params: TcnParams
    search_space: ClassVar[SearchSpace] = CONVOLUTION_SPACE
    variants: ClassVar[Mapping[str, Any]] = {
        "default": TcnParams(),
        "lightweight": TcnParams(width=32),
        "deep": TcnParams(width=96, levels=6, dropout=0.2),
    }

    @property
    def reach(self) -> int:
        """Bars that the convolutions see together."""
        return receptive_field(self.params.levels)

    def body(self, n_features: int) -> Body:
        """Residual blocks."""
        from crp_pipeline.models.nets.tcn import Tcn

        p = self.params
        return Tcn(n_features, width=p.width, levels=p.levels, dropout=p.dropout)


class TcnAttention(Network):
    """The signal, from a TCN and attention over what it says."""

    model_type = "tcn_attention"
    params: TcnAttentionParams
    search_space: ClassVar[SearchSpace] = {**CONVOLUTION_SPACE, "n_heads": HEADS}
    variants: ClassVar[Mapping[str, Any]] = {
        "default": TcnAttentionParams(),
        "lightweight": TcnAttentionParams(width=32, n_heads=2),
        "deep": TcnAttentionParams(width=96, levels=6, band=128, dropout=0.2),
    }

    @property
    def reach(self) -> int:
        """Bars that the convolutions and the attention after them see together."""
        return receptive_field(self.params.levels) + self.params.band - 1

    def body(self, n_features: int) -> Body:
        """A TCN, then attention."""
        from crp_pipeline.models.nets.tcn import TcnAttention as Body

        p = self.params
        return Body(n_features, width=p.width, levels=p.levels, n_heads=p.n_heads, band=p.band, dropout=p.dropout)


class Transformer(Network):
    """The signal and the trend's strength, from causal attention."""

    model_type = "transformer"
    targets: ClassVar[tuple[str, ...]] = ("signal", "trend_strength")
    outputs: ClassVar[tuple[str, ...]] = (*CLASSES, "trend_strength")
    params: TransformerParams
    search_space: ClassVar[SearchSpace] = {**LAYERED_SPACE, "n_heads": HEADS}
    variants: ClassVar[Mapping[str, Any]] = {
        "default": TransformerParams(),
        "lightweight": TransformerParams(width=32, n_heads=2),
        "deep": TransformerParams(width=128, n_layers=4, n_heads=8, dropout=0.2),
    }

    def body(self, n_features: int) -> Body:
        """Layers of attention."""
        from crp_pipeline.models.nets.transformer import Transformer as Body

        p = self.params
        return Body(n_features, width=p.width, n_layers=p.n_layers, n_heads=p.n_heads, window=p.window, dropout=p.dropout)
