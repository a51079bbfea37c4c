"""What became of live decisions: each is scored when its label has ended, by the backtest's own fills.

A decision whose label touches a filled-in bar or a hole has no label and is never scored, as in training.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crp_pipeline.backtest import CostData, lone_net_returns
from crp_pipeline.contracts import OPEN_TIME_DTYPE, PROBABILITIES, LiveOutcomeSchema, check_frame
from crp_pipeline.labels import average_uniqueness, make_labels
from crp_pipeline.metrics import expected_calibration_error, win_rate
from crp_pipeline.models.scoring import share_interval
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.decision import exits_at
from crp_pipeline.signals.signal import Signal

DECIDED = ("signal", *PROBABILITIES, "confidence", "expected_return")


def score(decided: Sequence[Signal], candles: pd.DataFrame, settings: PipelineSettings, data: CostData) -> pd.DataFrame:
    """Outcomes of those decisions whose label has ended within these candles: frame of `contracts.LiveOutcomeSchema`.

    `settings` are the coin's own. The candles must begin early enough for the volatility at the first decision.
    """
    told = decided_frame(decided)
    labels = make_labels(candles, settings.labels).reindex(told.index)
    known = labels["signal"].notna()
    told, labels = told[known], labels[known]
    orders = told[["signal"]].join(exits_at(candles, settings))
    earned = lone_net_returns(candles, orders, execution=settings.execution, data=data)
    made = told.assign(
        label_end=labels["label_end"],
        outcome=labels["signal"].astype(np.int64),
        net_return=earned,
        hit=told["signal"] == labels["signal"],
    )
    return outcome_frame(made.reset_index(names="open_time"))


def unscored(signals: Sequence[Signal], outcomes: pd.DataFrame) -> list[Signal]:
    """Decisions after the last one that was scored."""
    last = outcomes["open_time"].max() if len(outcomes) else None
    return [it for it in signals if it.is_decided and (last is None or it.open_time > last)]


def outcome_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows as a frame of `contracts.LiveOutcomeSchema`, in time order."""
    kinds = {name: str(column.dtype) for name, column in LiveOutcomeSchema.columns.items()}
    frame = rows.reindex(columns=list(kinds)).sort_values("open_time", ignore_index=True)
    for name in ("open_time", "label_end"):
        frame[name] = pd.DatetimeIndex(pd.to_datetime(frame[name], utc=True)).as_unit("ns")
    return check_frame(frame.astype(kinds), LiveOutcomeSchema, what="live outcomes")


def decided_frame(signals: Sequence[Signal]) -> pd.DataFrame:
    """Decisions by their bar's open time; without a "no decision"."""
    rows = [it for it in signals if it.is_decided]
    times = pd.DatetimeIndex([it.open_time for it in rows], dtype=OPEN_TIME_DTYPE, name="open_time")
    columns = ("version", *DECIDED)
    return pd.DataFrame({name: [getattr(it, name) for it in rows] for name in columns}, index=times).astype(
        {"version": "str", "signal": "int64", **dict.fromkeys((*PROBABILITIES, "confidence", "expected_return"), "float64")}
    )


def sides(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of decisions that took a side."""
    return outcomes[outcomes["signal"] != 0]


def live_numbers(outcomes: pd.DataFrame, *, level: float) -> dict[str, float]:
    """What scored decisions add up to; NaN where nothing can be said.

    `hit_rate` is that of the decisions that took a side, with the interval of so many independent labels, beside the rate that
    the same sides dealt at random would have; `expected_hit_rate` is what their confidence promised. `net_return` adds up
    what each side earned by itself, as a share of its notional.
    """
    own = sides(outcomes)
    effective_n = effective_labels(own)
    rate = _mean(own["hit"])
    low, high = share_interval(rate, effective_n, level=level)
    return {
        "scored": float(len(outcomes)),
        "sides": float(len(own)),
        "effective_n": effective_n,
        "hit_rate": rate,
        "hit_rate_low": low,
        "hit_rate_high": high,
        "zero_skill_hit_rate": _zero_skill(own),
        "expected_hit_rate": _mean(own["confidence"]),
        "calibration_error": expected_calibration_error(outcomes["confidence"], outcomes["hit"]),
        "win_rate": win_rate(own["net_return"].to_numpy()),
        "net_return": float(own["net_return"].sum()),
        "net_return_bps": 1e4 * _mean(own["net_return"]),
    }


def effective_labels(outcomes: pd.DataFrame) -> float:
    """How many independent labels these are: labels that overlap share what they tell."""
    return float(average_uniqueness(outcomes["open_time"], outcomes["label_end"]).sum()) if len(outcomes) else 0.0


def _zero_skill(own: pd.DataFrame) -> float:
    """Chance of a hit when as many longs and shorts are dealt at random to the same bars."""
    if not len(own):
        return math.nan
    return sum(_mean(own["signal"] == side) * _mean(own["outcome"] == side) for side in (-1, 1))


def _mean(values: "pd.Series[float] | pd.Series[bool]") -> float:
    return float(values.mean()) if len(values) else math.nan
