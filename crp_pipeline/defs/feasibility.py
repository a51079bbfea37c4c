"""Before room 5 in Dagster: what win rate is achievable on this coin at all, told before anything is trained."""

from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.defs.partitions import coin_check, coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import FRAME
from crp_pipeline.defs.versions import version_of
from crp_pipeline.gate.costs import cost_data, cost_hashes
from crp_pipeline.gate.feasibility import Feasibility, asked_coverage, feasibility, feasibility_table
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.feasibility import ceilings_table, feasibility_figure, feasibility_page, win_rates_table
from crp_pipeline.settings import PipelineSettings

POSSIBLE = "threshold_is_possible"


def assets(settings: PipelineSettings) -> list[dg.AssetsDefinition]:
    """`feasibility` per coin."""
    coins = coin_partitions(settings)

    @dg.asset(
        key="feasibility",
        group_name="gate",
        kinds={"numba"},
        partitions_def=coins,
        dagster_type=FRAME,
        check_specs=[coin_check(POSSIBLE, "feasibility", coins, "A perfect oracle reaches the win rate that is asked for.")],
    )
    def feasibility_panel(
        context: dg.AssetExecutionContext, candles: pd.DataFrame, labels: pd.DataFrame
    ) -> dg.MaterializeResult:
        """Win rates of an oracle, a coin flip and always long under the costs and exits in force, and what proof takes."""
        coin = context.partition_key
        own, data = settings.of(coin), cost_data(settings, coin)
        asked: dict[str, Any] = {
            "costs": own.execution,
            "exits": own.exits,
            "volatility": labels["volatility"],
            "target_win_rate": own.gate.min_win_rate,
            "level": own.gate.level,
            "data": data,
        }
        found = feasibility(candles, horizon=own.horizon, coverage=asked_coverage(own), **asked)
        ceilings = feasibility_table(candles, horizons=sorted({1, max(own.horizon // 4, 1), own.horizon}), **asked)
        files = {**made_by(settings, coin), **cost_hashes(settings, coin, data)}
        stamp(ceilings, "feasibility", behind=[candles, labels], files=files)
        context.log.info(feasibility_page(found, coin=coin).partition("\n")[0])
        return dg.MaterializeResult(
            value=ceilings,
            data_version=version_of(ceilings, "feasibility"),
            check_results=[_check(found)],
            metadata={
                "picture": picture(feasibility_figure(found, coin=coin)),
                **numbers(_numbers(found)),
                "win_rates": table(win_rates_table(found)),
                "ceilings": table(ceilings_table(ceilings)),
            },
        )

    return [feasibility_panel]


def _numbers(found: Feasibility) -> dict[str, float]:
    told = ("oracle_win_rate", "coin_flip_win_rate", "always_long_win_rate", "break_even_win_rate", "break_even_accuracy")
    proof = ("ceiling", "trade_ceiling", "largest_coverage", "trades_to_prove", "nights_to_prove")
    return {name: float(getattr(found, name)) for name in (*told, *proof)}


def _check(found: Feasibility) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=POSSIBLE,
        passed=found.is_possible,
        severity=dg.AssetCheckSeverity.ERROR,
        description=found.refusal or "a perfect oracle reaches it",
        metadata={"ceiling_high": found.highest_at(found.coverage), "target": found.target_win_rate},
    )
