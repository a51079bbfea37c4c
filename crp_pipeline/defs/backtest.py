"""Room 7 in Dagster: what the decisions would have earned, and how every other candidate did."""

from datetime import UTC, datetime

import dagster as dg
import pandas as pd

from crp_pipeline.backtest import BacktestResult, exit_table, run_backtest
from crp_pipeline.defs.models import BASELINES
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.storage import Places
from crp_pipeline.defs.trials import night_trials, occasion_of
from crp_pipeline.gate.comparison import compare, daily_net_returns, plain_decisions, rules, with_exits
from crp_pipeline.ledger import Ledger
from crp_pipeline.provenance import recipe_hash, stamp
from crp_pipeline.reporting.figures import equity_figure
from crp_pipeline.settings import PipelineSettings


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`backtest` and `comparison` per coin."""
    return [_backtest(settings), _comparison(settings, places)]


def _backtest(settings: PipelineSettings) -> dg.AssetsDefinition:
    @dg.asset(group_name="backtest", kinds={"numba"}, partitions_def=coin_partitions(settings))
    def backtest(candles: pd.DataFrame, labels: pd.DataFrame, ensemble: pd.DataFrame) -> dg.MaterializeResult[BacktestResult]:
        """Every decision traded at the next open, with spread, slippage, fees, stop, target and horizon."""
        exits = exit_table(labels["volatility"], settings.horizon, settings.exits)
        result = run_backtest(candles, with_exits(ensemble, exits), execution=settings.execution, sizing=settings.sizing)
        behind = [candles, labels, ensemble]
        stamp(result.trades, "backtest", behind=behind, files={"settings": recipe_hash(settings)})
        return dg.MaterializeResult(
            value=result,
            metadata={
                **numbers(result.metrics),
                "by_tier": table(result.by_tier.reset_index()),
                "by_session": table(result.by_session.reset_index()),
                "last_trades": table(result.trades.tail(10)),
                "picture": picture(equity_figure(result.equity, n_trades=len(result.trades))),
            },
        )

    return backtest


def _comparison(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(
        group_name="backtest",
        kinds={"pandas", "parquet"},
        partitions_def=coin_partitions(settings),
        ins={name: dg.AssetIn(["models", name]) for name in (*BASELINES, *settings.roster)},
    )
    def comparison(
        context: dg.AssetExecutionContext,
        candles: pd.DataFrame,
        labels: pd.DataFrame,
        ensemble: pd.DataFrame,
        **models: pd.DataFrame,
    ) -> dg.MaterializeResult[pd.DataFrame]:
        """Baselines, each model and the ensemble on the same bars, costs and exits; each of them a trial of the ledger."""
        decisions = {name: plain_decisions(forecast) for name, forecast in models.items()}
        candidates = {
            **{name: decisions.pop(name) for name in BASELINES},
            **rules(candles, horizon=settings.horizon),
            **decisions,
            "ensemble": ensemble,
        }
        exits = exit_table(labels["volatility"], settings.horizon, settings.exits)
        compared = compare(
            candidates,
            candles,
            labels,
            exits,
            execution=settings.execution,
            sizing=settings.sizing,
            config=settings.gate,
            seed=settings.seed,
        )
        behind = [candles, labels, *models.values(), ensemble]
        trials = night_trials(candidates, models, settings, places)
        earned = daily_net_returns(candidates, candles, exits, execution=settings.execution, sizing=settings.sizing)
        ledger = Ledger(places.ledger)
        head = ledger.append(context.partition_key, occasion_of(context), trials, earned, now=datetime.now(UTC))
        stamp(compared, "comparison", behind=behind, files={"settings": recipe_hash(settings)}, ledger=head)
        return dg.MaterializeResult(
            value=compared, metadata={"table": table(compared), "trials": ledger.count(context.partition_key)}
        )

    return comparison
