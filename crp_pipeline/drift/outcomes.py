"""What became of decisions: live ones, those in the log of fresh decisions, and those of a version's past."""

from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from crp_pipeline.backtest import CostData, lone_net_returns
from crp_pipeline.metrics import payoff_ratio
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.signals.decision import exits_at
from crp_pipeline.signals.outcomes import DECIDED, live_numbers, outcome_frame, sides


@dataclass(frozen=True, eq=False)
class Market:
    """What a coin's decisions are scored by."""

    candles: pd.DataFrame
    labels: pd.DataFrame
    costs: CostData = field(default_factory=CostData)


def outcomes_of(
    decisions: pd.DataFrame, market: Market, settings: PipelineSettings, *, version: str, now: datetime
) -> pd.DataFrame:
    """What became of decisions by `open_time` whose label had ended by `now`: frame of `contracts.LiveOutcomeSchema`.

    `decisions` have `signal`, the probabilities and `confidence`; those without a confidence are left out. Sides earn what the
    backtest's own fills give, under the coin's own `settings`. An `expected_return` that was not kept is 0.
    """
    came = market.labels.reindex(decisions.index)
    is_known = came["signal"].notna() & (came["label_end"] <= pd.Timestamp(now)) & decisions["confidence"].notna()
    made = decisions[is_known].reindex(columns=list(DECIDED)).fillna({"expected_return": 0.0})
    came = came[is_known]
    orders = made[["signal"]].join(exits_at(market.candles, settings))
    earned = lone_net_returns(market.candles, orders, execution=settings.execution, data=market.costs)
    told = made.assign(
        version=version,
        label_end=came["label_end"],
        outcome=came["signal"].astype("int64"),
        net_return=earned,
        hit=made["signal"] == came["signal"],
    )
    return outcome_frame(told.rename_axis("open_time").reset_index())


def known_outcomes(outcomes: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    """The outcomes that were known at `now`, checked against their schema."""
    found = outcome_frame(outcomes)
    return found[found["label_end"] <= pd.Timestamp(now)].reset_index(drop=True)


def no_outcomes() -> pd.DataFrame:
    """An empty frame of `contracts.LiveOutcomeSchema`."""
    return outcome_frame(pd.DataFrame())


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


def live_facts(outcomes: pd.DataFrame, *, level: float) -> dict[str, float]:
    """`signals.outcomes.live_numbers` with `coverage`, the share of decisions that took a side, and `payoff`.

    The payoff is mean win over mean loss of decisions `one_at_a_time`, of which there are `independent_sides`.
    """
    own, alone = sides(outcomes), one_at_a_time(outcomes)
    return {
        **live_numbers(outcomes, level=level),
        "coverage": len(own) / len(outcomes) if len(outcomes) else float("nan"),
        "independent_sides": float(len(alone)),
        "payoff": payoff_ratio(alone["net_return"]),
    }
