"""What steers the training of every network, and the sizes of each architecture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from crp_pipeline.models.parameters import (
    COUNT,
    DROPPED,
    FROM_TWO,
    NOT_NEGATIVE,
    POSITIVE,
    SWITCH,
    ParameterRule,
    Parameters,
    one_of,
)
from crp_pipeline.models.search import Choice, FloatRange, IntRange, SearchSpace

TCN_KERNEL = 3

TRAINING_SPACE: SearchSpace = {
    "learning_rate": FloatRange(1e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-6, 1e-3, log=True),
    "dropout": FloatRange(0.1, 0.5),
}
WIDTHS = Choice(32, 64, 128, 256)
"""Multiples of what any number of heads of `HEADS` needs."""
HEADS = Choice(2, 4, 8)
FALLING_SPACE: SearchSpace = {**TRAINING_SPACE, "width": Choice(8, 16, 32, 64)}
"""Of three layers of 4, 2 and 1 times the width: the widest has 32 to 256."""
LAYERED_SPACE: SearchSpace = {**TRAINING_SPACE, "width": WIDTHS, "n_layers": IntRange(2, 4)}
SHALLOW_SPACE: SearchSpace = {**TRAINING_SPACE, "width": WIDTHS, "n_layers": IntRange(1, 4)}
"""Of a recurrent part behind or in front of another, which one layer may do for."""
CONVOLUTION_SPACE: SearchSpace = {**TRAINING_SPACE, "width": WIDTHS, "levels": IntRange(3, 6)}
"""29 to 253 bars."""


def receptive_field(levels: int) -> int:
    """Bars that a TCN's output sees: two convolutions of dilation 1, 2, 4, ... per level; 125 at 5 levels."""
    return 1 + 2 * (TCN_KERNEL - 1) * ((1 << levels) - 1)


@dataclass(frozen=True, kw_only=True)
class NetworkParams(Parameters):
    """Training of a network; raises `ValueError` for a value out of its range."""

    epochs: int = 60
    """Most epochs; early stopping usually ends sooner."""
    batch_size: int = 1_024
    """Labelled bars of a step, for windows windows; fewer where an epoch would have too few steps."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    schedule: str = "cosine"
    """`cosine` with warm restarts, `plateau`, or `constant`."""
    patience: int = 5
    """Epochs without improvement on the watched rows before stopping."""
    clip_norm: float = 1.0
    """Largest norm of a step's gradient."""
    dropout: float = 0.1
    class_weighting: bool = False
    """True: a class weighs N-/N+ in the loss, and its probabilities are corrected for that afterwards."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: an accelerator where there is one."""
    precision: str = "auto"
    """`float32`, `bfloat16` (mixed), or `auto`: mixed on an accelerator only."""
    n_threads: int = 1

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **dict.fromkeys(("epochs", "batch_size", "patience", "n_threads"), COUNT),
        **dict.fromkeys(("learning_rate", "clip_norm"), POSITIVE),
        "weight_decay": NOT_NEGATIVE,
        "dropout": DROPPED,
        "schedule": one_of("cosine", "plateau", "constant"),
        "class_weighting": SWITCH,
        "device": one_of("auto", "cpu", "cuda"),
        "precision": one_of("auto", "float32", "bfloat16"),
    }

    @property
    def what_to_lower(self) -> str:
        """The parameters that make a batch smaller, with their values."""
        names = [name for name in ("batch_size", "chunk", "window", "width") if hasattr(self, name)]
        return " or ".join(f"{name} ({getattr(self, name)})" for name in names)


@dataclass(frozen=True, kw_only=True)
class DenseParams(NetworkParams):
    """Training on contiguous chunks."""

    chunk: int = 128
    """Bars of a chunk that are learned from."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {**NetworkParams.rules, "chunk": FROM_TWO}


@dataclass(frozen=True, kw_only=True)
class MlpParams(DenseParams):
    """Widths 4, 2 and 1 times the narrowest."""

    width: int = 32
    dropout: float = 0.3
    schedule: str = "plateau"

    rules: ClassVar[Mapping[str, ParameterRule]] = {**DenseParams.rules, "width": COUNT}


@dataclass(frozen=True, kw_only=True)
class RecurrentParams(DenseParams):
    """Layers of LSTM cells over a window of bars."""

    window: int = 60
    """Bars that a forecast looks at."""
    width: int = 64
    n_layers: int = 2
    dropout: float = 0.2

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **DenseParams.rules,
        **dict.fromkeys(("window", "width", "n_layers"), COUNT),
    }


@dataclass(frozen=True, kw_only=True)
class BidirectionalParams(NetworkParams):
    """Layers that read a closed window both ways."""

    window: int = 60
    width: int = 128
    n_layers: int = 3
    dropout: float = 0.35
    patience: int = 7
    batch_size: int = 256
    windows_per_label: float = 4.0
    """Windows drawn in an epoch per independent label."""

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **NetworkParams.rules,
        **dict.fromkeys(("window", "width", "n_layers"), COUNT),
        "windows_per_label": POSITIVE,
    }


@dataclass(frozen=True, kw_only=True)
class StackedParams(DenseParams):
    """Three layers of 4, 2 and 1 times the narrowest width, each with batch normalisation."""

    window: int = 60
    width: int = 32
    dropout: float = 0.3
    """After the first two layers; two thirds of it after the third, one third in front of the head."""
    weight_decay: float = 1e-4
    schedule: str = "plateau"

    rules: ClassVar[Mapping[str, ParameterRule]] = {**DenseParams.rules, **dict.fromkeys(("window", "width"), COUNT)}


@dataclass(frozen=True, kw_only=True)
class ConvolutionalLstmParams(RecurrentParams):
    """Two convolutions in front of an LSTM."""

    kernel: int = 5
    n_layers: int = 1

    rules: ClassVar[Mapping[str, ParameterRule]] = {**RecurrentParams.rules, "kernel": COUNT}


@dataclass(frozen=True, kw_only=True)
class AttentionLstmParams(RecurrentParams):
    """An LSTM with attention over its states; `width` is parted among the heads."""

    n_heads: int = 4
    n_layers: int = 1

    rules: ClassVar[Mapping[str, ParameterRule]] = {**RecurrentParams.rules, "n_heads": COUNT}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.n_heads)


@dataclass(frozen=True, kw_only=True)
class TcnParams(DenseParams):
    """Dilated causal convolutions; 5 levels see 125 bars."""

    width: int = 64
    levels: int = 5
    dropout: float = 0.2

    rules: ClassVar[Mapping[str, ParameterRule]] = {**DenseParams.rules, **dict.fromkeys(("width", "levels"), COUNT)}


@dataclass(frozen=True, kw_only=True)
class TcnAttentionParams(TcnParams):
    """A TCN with attention over the last `band` bars."""

    band: int = 64
    n_heads: int = 4

    rules: ClassVar[Mapping[str, ParameterRule]] = {**TcnParams.rules, **dict.fromkeys(("band", "n_heads"), COUNT)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.n_heads)


@dataclass(frozen=True, kw_only=True)
class TransformerParams(DenseParams):
    """Causal attention whose layers together look back over `window` bars; `width` is parted among the heads."""

    window: int = 100
    width: int = 64
    n_layers: int = 2
    n_heads: int = 4
    dropout: float = 0.1

    rules: ClassVar[Mapping[str, ParameterRule]] = {
        **DenseParams.rules,
        **dict.fromkeys(("window", "width", "n_layers", "n_heads"), COUNT),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.width, self.n_heads)


def check_heads(width: int, n_heads: int) -> None:
    """Positions are rotations of pairs of numbers, so each head has an even number of them."""
    if width % (2 * n_heads):
        raise ValueError(f"width = {width} is not allowed: {n_heads} heads need a multiple of {2 * n_heads}")
