"""A training block: the rows that a model learns from, the later ones that it watches, and the fit on both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crp_pipeline.contracts import Floats, Ints, Samples
from crp_pipeline.errors import InsufficientHistoryError
from crp_pipeline.models.base import Model, Validation
from crp_pipeline.models.readout import fit_readout
from crp_pipeline.splits import purged_tail


@dataclass(frozen=True)
class Block:
    """What one fit is shown; `y`, `weight` and `signal` are those of every bar of the history."""

    samples: Samples
    learn: Ints
    watch: Ints
    """Later rows, purged from those to learn from; none for a final model."""
    y: Floats
    """(n_bars,) for one target, (n_bars, targets) for several."""
    weight: Floats
    signal: Floats

    @property
    def rows(self) -> Ints:
        """Rows learned from, then rows watched."""
        return np.concatenate([self.learn, self.watch])


def training_block(
    model: Model, samples: Samples, labels: pd.DataFrame, rows: Ints, *, validation_share: float | None = None
) -> Block:
    """The block of these rows; their latest `validation_share` is watched, none where it is None.

    Rows with fewer bars behind them than the model looks at are left out; raises `InsufficientHistoryError` where none is left.
    """
    kept = _reached(samples, rows, model)
    learn, watch = (kept, kept[:0]) if validation_share is None else _parted(kept, labels, validation_share)
    y, weight, signal = target_table(labels, model.targets), labels["weight"].to_numpy(), labels["signal"].to_numpy()
    return Block(samples, learn, watch, y, weight, signal)


def fit_block(model: Model, block: Block, *, seed: int) -> Model:
    """The model, fitted on the block: stopped early on the rows that it watches, and read out on them."""
    samples, learn, watch, y, weight = block.samples, block.learn, block.watch, block.y, block.weight
    validation = Validation(samples.take(watch), y[watch], weight[watch]) if len(watch) else None
    model.fit(samples.take(learn), y[learn], weight=weight[learn], validation=validation, seed=seed)
    if not model.tells_classes and validation is not None:
        outputs = model.predict(validation.samples)
        model.readout = fit_readout(outputs, model.outputs, block.signal[watch], weight[watch], seed=seed)
    return model


def target_table(labels: pd.DataFrame, targets: Sequence[str]) -> Floats:
    """What a model learns from: (n,) for one target, (n, len(targets)) for several; NaN in a column that labels do not have."""
    values = labels.reindex(columns=list(targets)).to_numpy(dtype=np.float64)
    return values[:, 0] if len(targets) == 1 else values


def _parted(rows: Ints, labels: pd.DataFrame, share: float) -> tuple[Ints, Ints]:
    return purged_tail(rows, labels.index, labels["label_end"], share=share)


def _reached(samples: Samples, rows: Ints, model: Model) -> Ints:
    """The rows that have as many bars behind them as the model looks at."""
    kept = rows[samples.take(rows).behind() >= model.reach - 1]
    if len(rows) and not len(kept):
        raise InsufficientHistoryError(
            f"{model.model_type} looks at {model.reach} bars and none of {len(rows)} rows to learn from "
            f"has {model.reach - 1} behind it"
        )
    return kept
