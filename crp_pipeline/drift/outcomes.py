"""What became of decisions: live ones, those in the log of fresh decisions, and those of a version's past."""

from datetime import datetime

import pandas as pd

from crp_pipeline.contracts import PROBABILITIES, LiveOutcomeSchema, check_frame
from crp_pipeline.metrics import expected_calibration_error, payoff_ratio, wilson_interval

OUTCOME_COLUMNS = {name: str(column.dtype) for name, column in LiveOutcomeSchema.columns.items()}


def outcomes_of(
    decisions: pd.DataFrame, labels: pd.DataFrame, *, version: str, round_trip_cost_bps: float, now: datetime
) -> pd.DataFrame:
    """What became of decisions by `open_time` whose label had ended by `now`: frame of `contracts.LiveOutcomeSchema`.

    `decisions` have `signal`, the probabilities and `confidence`, and those without a confidence are left out; a side earns
    the label's `forward_return`, less the costs of a round trip. An `expected_return` that was not kept is 0.
    """
    known = labels.reindex(decisions.index)
    ended = known["label_end"].notna() & (known["label_end"] <= pd.Timestamp(now)) & known["signal"].notna()
    told, came = (frame[ended & decisions["confidence"].notna()] for frame in (decisions, known))
    side = told["signal"].astype("int64")
    made = told.reindex(columns=["signal", *PROBABILITIES, "confidence", "expected_return"])
    made["expected_return"] = made["expected_return"].fillna(0.0)
    made["version"], made["label_end"], made["outcome"] = version, came["label_end"], came["signal"]
    made["net_return"] = side * came["forward_return"] - side.abs() * round_trip_cost_bps / 1e4
    made["hit"] = side == came["signal"]
    return _outcome_frame(made.rename_axis("open_time").reset_index())


def known_outcomes(outcomes: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    """The outcomes that were known at `now`, checked against their schema."""
    found = _outcome_frame(outcomes)
    return found[found["label_end"] <= pd.Timestamp(now)].reset_index(drop=True)


def no_outcomes() -> pd.DataFrame:
    """An empty frame of `contracts.LiveOutcomeSchema`."""
    return _outcome_frame(pd.DataFrame(columns=list(OUTCOME_COLUMNS)))


def sides(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes of decisions that took a side."""
    return outcomes[outcomes["signal"] != 0]


def one_at_a_time(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Decisions that took a side, each taken when what became of the one before was known; in time order.

    The first one of all begins, and whoever opens within the label of the one before is left out: what is kept could have been
    traded by an account that holds one position, and shares no hour with each other.
    """
    kept, free_from = [], None
    own = sides(outcomes)
    for row, (opens, ends) in enumerate(zip(own["open_time"], own["label_end"], strict=True)):
        if free_from is None or opens >= free_from:
            kept.append(row)
            free_from = ends
    return own.iloc[kept].reset_index(drop=True)


def live_facts(outcomes: pd.DataFrame) -> dict[str, float]:
    """Numbers of live decisions: how many, hit rate with interval, promise, zero skill, payoff, calibration and coverage.

    The interval is Wilson's over `one_at_a_time`, whose labels share nothing. Without skill, who takes sides as often hits in
    `zero_skill_hit_rate`: the shares of sides taken times the shares of outcomes that came. NaN where there is nothing.
    """
    own, alone = sides(outcomes), one_at_a_time(outcomes)
    low, high = wilson_interval(int(alone["hit"].sum()), len(alone)) if len(alone) else (float("nan"),) * 2
    came = outcomes["outcome"].value_counts(normalize=True)
    taken = own["signal"].value_counts(normalize=True)
    return {
        "decisions": float(len(outcomes)),
        "sides": float(len(own)),
        "coverage": len(own) / len(outcomes) if len(outcomes) else float("nan"),
        "independent_sides": float(len(alone)),
        "hit_rate": float(own["hit"].mean()),
        "independent_hit_rate": float(alone["hit"].mean()),
        "independent_hit_rate_low": low,
        "independent_hit_rate_high": high,
        "promised_hit_rate": float(own["confidence"].mean()),
        "zero_skill_hit_rate": float((taken * came.reindex(taken.index).fillna(0)).sum()) if len(own) else float("nan"),
        "payoff": payoff_ratio(alone["net_return"]),
        "mean_net_return_bps": 1e4 * float(alone["net_return"].mean()),
        "calibration_error": expected_calibration_error(own["confidence"], own["hit"]),
    }


def _outcome_frame(rows: pd.DataFrame) -> pd.DataFrame:
    ordered = rows[list(OUTCOME_COLUMNS)].astype(OUTCOME_COLUMNS).sort_values("open_time", ignore_index=True)
    return check_frame(ordered, LiveOutcomeSchema, what="live outcomes")
