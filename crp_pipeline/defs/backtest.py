"""Room 7 in Dagster: what the decisions would have earned, and how every other candidate did."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.backtest import (
    BacktestResult,
    break_even_cost_bps,
    by_regime,
    by_side,
    cost_walks,
    equity_by_cost,
    exit_table,
    ladder_of,
    latency_penalised,
    run_backtest,
    volatility_regime,
)
from crp_pipeline.defs.costs import latencies_ms
from crp_pipeline.defs.models import BASELINES
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import numbers, picture, table
from crp_pipeline.defs.trials import append_trials, night_trials
from crp_pipeline.defs.versions import version_of
from crp_pipeline.gate.comparison import compare, daily_net_returns, luck_of_the_best, plain_decisions, rules, with_exits
from crp_pipeline.gate.costs import cost_data, cost_hashes
from crp_pipeline.gate.scores import block_days, horizon_days
from crp_pipeline.ledger import Ledger
from crp_pipeline.places import Places
from crp_pipeline.provenance import made_by, stamp
from crp_pipeline.reporting.backtest import comparison_figure, ladder_figure
from crp_pipeline.reporting.figures import equity_figure
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import write_parquet


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`backtest` and `comparison` per coin."""
    return [_backtest(settings, places), _comparison(settings, places)]


def _backtest(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    @dg.asset(group_name="backtest", kinds={"numba"}, partitions_def=coin_partitions(settings))
    def backtest(candles: pd.DataFrame, labels: pd.DataFrame, ensemble: pd.DataFrame) -> dg.MaterializeResult[BacktestResult]:
        """Every decision traded at the next open, with spread, slippage, fees, funding, delay, stop, target and horizon."""
        coin = candles.attrs["coin"]
        own, data = settings.of(coin), cost_data(settings, coin)
        decided = with_exits(ensemble, exit_table(labels["volatility"], own.horizon, own.exits))
        traded: dict[str, Any] = {
            "execution": own.execution,
            "sizing": own.sizing,
            "funding": data.funding,
            "finer": data.finer,
        }
        result = run_backtest(candles, decided, **traded)
        walks = cost_walks(candles, decided, **traded)
        ladder = ladder_of(walks)
        speed = latencies_ms(coin, settings, places)
        late = latency_penalised(candles, decided, mean_ms=speed["mean_ms"], p90_ms=speed["p90_ms"], **traded)
        stressed = {"ladder": ladder, "equity_by_cost": equity_by_cost(walks), "latency": late}
        for name, told in stressed.items():
            write_parquet(places.stress(coin, name), told)
        regime, even = volatility_regime(labels["volatility"]), break_even_cost_bps(result)
        files = {**made_by(settings, coin), **cost_hashes(settings, coin, data)}
        stamp(result.trades, "backtest", behind=[candles, labels, ensemble], files=files)
        return dg.MaterializeResult(
            value=result,
            data_version=version_of(result.trades, "backtest"),
            metadata={
                "picture": picture(equity_figure(result.equity, n_trades=len(result.trades))),
                "cost_picture": picture(
                    ladder_figure(ladder, break_even_bps=even, cost_bps=2 * own.execution.cost_per_side_bps)
                ),
                **numbers(result.metrics),
                "by_tier": table(result.by_tier.reset_index()),
                "by_session": table(result.by_session.reset_index()),
                "by_side": table(by_side(result.trades).reset_index()),
                "by_regime": table(by_regime(result.trades, regime).reset_index()),
                "break_even_cost_bps": even,
                "cost_ladder": table(ladder.reset_index()),
                "latency": table(late.reset_index()),
                "last_trades": table(result.trades.tail(10)),
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
        coin = candles.attrs["coin"]
        own, data = settings.of(coin), cost_data(settings, coin)
        candidates = _candidates(models, ensemble, rules(candles, horizon=own.horizon))
        exits = exit_table(labels["volatility"], own.horizon, own.exits)
        traded: dict[str, Any] = {"execution": own.execution, "sizing": own.sizing, "data": data}
        compared = compare(candidates, candles, labels, exits, config=own.gate, seed=own.seed, **traded)
        trials = night_trials(candidates, models, own, places)
        earned = daily_net_returns(candidates, candles, exits, **traded)
        head = append_trials(context, coin, trials, earned, settings, places)
        files = {**made_by(settings, coin), **cost_hashes(settings, coin, data)}
        stamp(compared, "comparison", behind=[candles, labels, *models.values(), ensemble], files=files, ledger=head)
        learned = [name for name in candidates if name in {*settings.roster, "ensemble"}]
        block = block_days(horizon_days(own))
        luck, better = luck_of_the_best(earned[learned], block=block, config=own.gate, seed=own.seed)
        return dg.MaterializeResult(
            value=compared,
            data_version=version_of(compared, "comparison"),
            metadata={
                "picture": picture(comparison_figure(compared)),
                "table": table(compared),
                "trials": "the ledger is damaged" if head is None else Ledger(places.ledger).count(coin),
                **numbers(luck),
                "better_than_nothing": ", ".join(better) or "none",
                **numbers(_scores(compared)),
            },
        )

    return comparison


def _scores(compared: pd.DataFrame) -> dict[str, float]:
    """`log_loss_<candidate>`, `win_rate_<candidate>` and `expectancy_bps_<candidate>` of all that have them."""
    found = compared.set_index("candidate")[["log_loss", "win_rate", "expectancy_bps"]]
    return {f"{score}_{name}": float(value) for score in found for name, value in found[score].dropna().items()}


def _candidates(
    models: Mapping[str, pd.DataFrame], ensemble: pd.DataFrame, plain_rules: Mapping[str, pd.DataFrame]
) -> dict[str, pd.DataFrame]:
    """Decisions by name in the order of the table: baselines, rules without a model, models, the ensemble."""
    decisions = {name: plain_decisions(forecast) for name, forecast in models.items()}
    baselines = {name: decisions.pop(name) for name in BASELINES}
    return {**baselines, **plain_rules, **decisions, "ensemble": ensemble}
