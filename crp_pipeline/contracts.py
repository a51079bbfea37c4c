"""The values that travel from stage to stage: frame schemas, samples, folds and decisions.

A frame is indexed by `open_time`, the UTC moment at which its bar opens; whatever a row knows, it knows at that bar's close.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.settings import INTERVALS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

OHLCV = ("open", "high", "low", "close", "volume")
CLASSES = ("short", "neutral", "long")
"""Order of every class axis; the signal of class `i` is `i - 1`."""
DIRECTIONS = ("down", "up")
"""Order of the class axis of models that only tell where the move goes; a neutral label teaches them nothing."""
PROBABILITIES = ("p_short", "p_neutral", "p_long")
CHAMPION, CHALLENGER = ROLES = ("champion", "challenger")
"""Whose decision a fresh one is."""
FORECAST = "forecast_"
"""What the columns of other outputs than class probabilities begin with."""
OPEN_TIME_DTYPE = "datetime64[ns, UTC]"
"""Parquet round trips may change the unit; everything that enters is brought back to this one."""


class Tier(StrEnum):
    """How sure a decision is, against the confidences of the decisions before it."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    NONE = "none"


class FeatureStatus(StrEnum):
    """What became of a feature in the selection of one training block."""

    KEPT = "kept"
    OUTRANKED = "outranked"
    CORRELATED = "correlated"
    DUPLICATE = "duplicate"
    CONSTANT = "constant"
    QUARANTINED = "quarantined"
    """It predicts too well to be believed and was kept from every model."""


def interval_length(interval: str) -> pd.Timedelta:
    """Length of one bar: `interval_length("15m")` is 15 minutes; `DataContractError` for none of `settings.INTERVALS`."""
    if interval not in INTERVALS:
        raise DataContractError(f"interval = {interval!r} is not one of {', '.join(INTERVALS)}")
    return pd.Timedelta(interval.replace("m", "min").replace("d", "D"))


_open_time = pa.Index(
    OPEN_TIME_DTYPE,
    name="open_time",
    unique=True,
    checks=pa.Check(lambda t: ~(t.diff() < pd.Timedelta(0)), name="times are in order"),
)
_price = pa.Column("float64", [pa.Check.gt(0), pa.Check.lt(np.inf)])

CandleSchema = pa.DataFrameSchema(
    {
        "open": _price,
        "high": _price,
        "low": _price,
        "close": _price,
        "volume": pa.Column("float64", [pa.Check.ge(0), pa.Check.lt(np.inf)]),
        "is_repaired": pa.Column("bool"),
        "segment": pa.Column("int64", pa.Check.ge(0)),
    },
    index=_open_time,
    checks=[
        pa.Check(lambda bars: bars.low <= bars[["open", "close"]].min(axis=1), name="low is the lowest price"),
        pa.Check(lambda bars: bars.high >= bars[["open", "close"]].max(axis=1), name="high is the highest price"),
        pa.Check(lambda bars: ~(bars.segment.diff() < 0), name="segments are in time order"),
    ],
    strict=True,
)
"""Repaired candles of one coin: on the interval's grid within a segment; bars that were filled in carry `is_repaired`."""

LabelSchema = pa.DataFrameSchema(
    {
        "signal": pa.Column("float64", pa.Check.isin([-1.0, 0.0, 1.0]), nullable=True),
        "forward_return": pa.Column("float64", nullable=True),
        "trend_strength": pa.Column("float64", nullable=True),
        "label_end": pa.Column(OPEN_TIME_DTYPE, nullable=True),
        "weight": pa.Column("float64", pa.Check.in_range(0, 1), nullable=True),
        "volatility": pa.Column("float64", pa.Check.ge(0), nullable=True),
        "open_interest_change": pa.Column("float64", pa.Check.gt(-1), nullable=True, required=False),
    },
    index=_open_time,
    strict=True,
)
"""One row per bar; every column but `volatility` is missing where the bar has no label.

`open_interest_change` is there where the coin has a feed of open interest, and missing as well where that is unknown.
"""

PredictionSchema = pa.DataFrameSchema(
    {
        **{name: pa.Column("float64", pa.Check.in_range(0, 1), nullable=True) for name in PROBABILITIES},
        "fold": pa.Column("int64", pa.Check.ge(-1)),
        "rounds": pa.Column("int64", pa.Check.ge(0)),
        f"^{FORECAST}": pa.Column("float64", nullable=True, regex=True, required=False),
    },
    index=_open_time,
    strict=True,
)
"""Out-of-fold probabilities of one model; NaN and fold -1 where no fold tests the row.

A model whose outputs are other than the class probabilities also has a column `forecast_<output>` for each of them.
"""

FINAL = -1
"""Fold of what belongs to the final model, which no fold tests."""

SelectionSchema = pa.DataFrameSchema(
    {
        "fold": pa.Column("int64", pa.Check.ge(FINAL)),
        "feature": pa.Column("str"),
        "status": pa.Column("str", pa.Check.isin([str(status) for status in FeatureStatus])),
        "representative": pa.Column("str"),
        "importance": pa.Column("float64", nullable=True),
        "rank": pa.Column("int64", pa.Check.ge(0)),
    },
    index=pa.Index("int64"),
    unique=["fold", "feature"],
    strict=True,
)
"""One row per training block and feature, in the order of the feature table.

`representative` names the feature that stands for a duplicate or correlated one and is empty for the others; `importance` is in
nats; `rank` counts from 1 and is 0 for a feature that was not ranked. The block of the final model is fold `FINAL`.
"""

DecisionSchema = pa.DataFrameSchema(
    {
        "signal": pa.Column("int64", pa.Check.isin([-1, 0, 1])),
        **{name: pa.Column("float64", pa.Check.in_range(0, 1), nullable=True) for name in PROBABILITIES},
        "confidence": pa.Column("float64", pa.Check.in_range(0, 1), nullable=True),
        "expected_return": pa.Column("float64", nullable=True),
        "tier": pa.Column("str", pa.Check.isin([str(tier) for tier in Tier])),
    },
    index=_open_time,
    strict=True,
)
"""One decision per bar, taken at its close; signal 0 and tier `none` where there was nothing to decide with."""

FreshDecisionSchema = pa.DataFrameSchema(
    {
        "open_time": pa.Column(OPEN_TIME_DTYPE),
        "role": pa.Column("str", pa.Check.isin(ROLES)),
        "recipe": pa.Column("str"),
        "version": pa.Column("str"),
        "reign": pa.Column("int64", pa.Check.ge(1)),
        "signal": pa.Column("int64", pa.Check.isin([-1, 0, 1])),
        **{name: pa.Column("float64", pa.Check.in_range(0, 1), nullable=True) for name in PROBABILITIES},
        "confidence": pa.Column("float64", pa.Check.in_range(0, 1), nullable=True),
    },
    index=pa.Index("int64"),
    unique=["open_time", "role", "recipe", "reign"],
    strict=True,
)
"""One row per decision of a registered version about a bar that came after everything it had learned from.

`reign` is the line of the registry's journal at which the reign began that the decision was taken in; without a confidence
there was nothing to decide with.
"""

LiveOutcomeSchema = pa.DataFrameSchema(
    {
        "open_time": pa.Column(OPEN_TIME_DTYPE, pa.Check(lambda t: ~(t.diff() < pd.Timedelta(0)), name="times are in order")),
        "version": pa.Column("str"),
        "signal": pa.Column("int64", pa.Check.isin([-1, 0, 1])),
        **{name: pa.Column("float64", pa.Check.in_range(0, 1)) for name in PROBABILITIES},
        "confidence": pa.Column("float64", pa.Check.in_range(0, 1)),
        "expected_return": pa.Column("float64"),
        "label_end": pa.Column(OPEN_TIME_DTYPE),
        "outcome": pa.Column("int64", pa.Check.isin([-1, 0, 1])),
        "net_return": pa.Column("float64"),
        "hit": pa.Column("bool"),
    },
    index=pa.Index("int64"),
    unique=["open_time"],
    strict=True,
)
"""One row per live decision whose label has ended, in time order; "no decision" has none.

`net_return` is what the side taken earned after costs, as a share of the notional, and 0 where no side was taken; `hit` says
that the signal was the side that came, neutral included.
"""


def check_frame(frame: pd.DataFrame, schema: pa.DataFrameSchema, *, what: str) -> pd.DataFrame:
    """The frame, unchanged, when it meets the schema; raises `DataContractError` naming `what`, column, row and value."""
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as errors:
        raise DataContractError(f"{what}: {_fault(frame, errors.schema_errors[0])}") from errors
    return frame


def _fault(frame: pd.DataFrame, error: pa.errors.SchemaError) -> str:
    """`open breaks 'greater_than(0)' at 2024-01-01 02:00:00+00:00: -1.0`."""
    cases, column = error.failure_cases, error.schema.name
    rule = f"breaks '{getattr(error.check, 'error', None) or getattr(error.check, 'name', error.check)}'"
    if not isinstance(cases, pd.DataFrame) or "index" not in cases:
        return f"{column or 'the frame'} {rule}: {cases}"
    first = cases.iloc[0]
    if column is None:
        return f"a row {rule} at {first['index']}: {frame.loc[[first['index']]].iloc[0].to_dict()}"
    return f"{column} {rule} at {first['index']}: {first['failure_case']}"


@dataclass(frozen=True)
class Samples:
    """Rows to learn from or to score, inside the feature history they belong to.

    `history` is (time, features); `rows` are positions in it. A table row or a window ends at its row, so that nothing past a
    row can be seen. `segment_start[t]` is the first position of the stretch without holes that `t` lies in. Raises
    `DataContractError` for a row outside the history: a negative one would be read from the future end.
    """

    history: Floats
    rows: Ints
    segment_start: Ints | None = None
    columns: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        is_outside = (self.rows < 0) | (self.rows >= len(self.history))
        if is_outside.any():
            row, n_rows = self.rows[is_outside][0], len(self.history)
            raise DataContractError(f"row {row} is not one of the {n_rows} rows of the history, counted from 0")

    def __len__(self) -> int:
        return len(self.rows)

    def table(self) -> Floats:
        """One row of features per sample: (n, features)."""
        return np.ascontiguousarray(self.history[self.rows])

    def windows(self, length: int) -> Floats:
        """The `length` bars that end at each row: (n, length, features).

        Raises `InsufficientHistoryError` where a hole or the start of the history is nearer.
        """
        behind = self.behind()
        if (behind < length - 1).any():
            short = int(np.argmax(behind < length - 1))
            raise InsufficientHistoryError(
                f"row {self.rows[short]} has {behind[short]} bars behind it, a window of {length} needs {length - 1}"
            )
        return np.asarray(self.history[self.rows[:, None] + np.arange(1 - length, 1)])

    def behind(self) -> Ints:
        """Bars between each row and the start of its stretch without holes: (n,)."""
        return self.rows if self.segment_start is None else self.rows - self.segment_start[self.rows]

    def take(self, rows: Ints) -> "Samples":
        """Other rows of the same history."""
        return Samples(self.history, rows, self.segment_start, self.columns)


@dataclass(frozen=True)
class Fold:
    """Positions to train on and positions to test on; no training label meets a test label."""

    number: int
    train: Ints
    test: Ints


Side = Literal[-1, 1]
