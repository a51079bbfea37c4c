"""Bars per second of the backtest, next to a loop in plain Python: `python -m crp_pipeline_tests.benchmarks.engine`.

The loop is `SlowBroker`, the oracle of the property tests, on fewer bars and scaled per bar; it must make the same trades.
"""

from typing import Annotated

import numpy as np
import pandas as pd
import typer

from crp_pipeline.backtest import ExecutionModel, Sizing, run_backtest, zero_skill
from crp_pipeline.backtest.costs import CostData, costs_of
from crp_pipeline.backtest.engine import simulate
from crp_pipeline.backtest.execution import bars_of, orders_of, rules_of, stake_of
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.fresh import MIB, peak_bytes
from crp_pipeline_tests.benchmarks.market import demo_bars
from crp_pipeline_tests.benchmarks.timing import seconds
from crp_pipeline_tests.properties.slow_broker import FILLS, Market, SlowBroker

N_BARS, N_SLOW_BARS, N_SHUFFLES = 1_051_200, 20_000, 2_000
EXECUTION = ExecutionModel(horizon=24, slippage_noise_bps=1.0)
SIZING = Sizing(risk_per_trade=0.0001, max_leverage=0.01)
"""Small stakes: a hundred thousand trades at a cost must not ruin the account half way."""


def main(quick: Annotated[bool, typer.Option("--quick", help="A tenth of the bars.")] = False) -> None:
    """Print bars per second of the compiled walk, of a whole backtest and of the plain loop."""
    n_bars = N_BARS // 10 if quick else N_BARS
    candles = demo_bars(n_bars)[0].assign(is_repaired=False, segment=0)
    decisions = _decisions(candles)
    few = Market(candles.iloc[:N_SLOW_BARS], decisions.iloc[:N_SLOW_BARS])
    result = run_backtest(few.candles, few.decisions, execution=EXECUTION, sizing=SIZING)
    loops = [
        ("compiled walk", n_bars, _walk(candles, decisions)),
        ("run_backtest", n_bars, lambda: run_backtest(candles, decisions, execution=EXECUTION, sizing=SIZING)),
        ("plain Python loop", N_SLOW_BARS, lambda: SlowBroker(few, EXECUTION, SIZING).live()),
    ]
    taken = {name: (size, seconds(work)[1]) for name, size, work in loops}
    print(f"\nbacktest of the demo market, a decision at every bar, {len(result.trades) / N_SLOW_BARS:.1%} of the bars enter\n")
    print(to_text(_speeds(taken)))
    print(f"\nthe same trades as the loop: {_same_trades(result.trades, few)}; peak {peak_bytes() / MIB:,.0f} MiB")
    print("\nchance against the trades of the first bars\n")
    print(to_text(_chance(few, result)))


def _decisions(candles: pd.DataFrame) -> pd.DataFrame:
    """A side or none at every close, with stop and target near enough to be touched."""
    rng = np.random.default_rng(0)
    distance = 4 * float(np.log(candles["close"]).diff().std())
    return pd.DataFrame(
        {"signal": rng.integers(-1, 2, len(candles)), "stop_distance": distance, "target_distance": distance},
        index=candles.index,
    )


def _walk(candles: pd.DataFrame, decisions: pd.DataFrame):
    bars, orders = bars_of(candles), orders_of(decisions, candles)
    costs, stake = costs_of(EXECUTION, candles, bars, CostData()), stake_of(SIZING, EXECUTION, candles)
    return lambda: simulate(bars, orders, costs, rules_of(EXECUTION), stake)


def _speeds(taken: dict[str, tuple[int, float]]) -> pd.DataFrame:
    slow_bars, slow_s = taken["plain Python loop"]
    rows = [
        {
            "what": name,
            "bars": n_bars,
            "processor s": round(spent, 4),
            "M bars/s": round(n_bars / spent / 1e6, 3),
            "ns per bar": round(1e9 * spent / n_bars, 1),
            "times the loop": round((slow_s / slow_bars) / (spent / n_bars), 1),
        }
        for name, (n_bars, spent) in taken.items()
    ]
    return pd.DataFrame(rows)


def _same_trades(trades: pd.DataFrame, market: Market) -> str:
    diary = pd.DataFrame(SlowBroker(market, EXECUTION, SIZING).live().diary, columns=FILLS)
    told, prices = ["entry_time", "exit_time", "side", "exit_reason"], ["entry_price", "exit_price", "units"]
    same = len(diary) == len(trades) and (diary[told].to_numpy() == trades[told].to_numpy()).all()
    return "yes" if same and np.allclose(diary[prices], trades[prices], rtol=1e-9) else "NO"


def _chance(market: Market, result) -> pd.DataFrame:
    def work():
        return zero_skill(result, market.candles, market.decisions, EXECUTION, n_permutations=N_SHUFFLES)

    spent, trades = seconds(work)[1], len(result.trades)
    cells = N_SHUFFLES * trades
    return pd.DataFrame(
        [
            {
                "trades": trades,
                "shuffles": N_SHUFFLES,
                "processor s": round(spent, 3),
                "ns per side": round(1e9 * spent / cells, 1),
            }
        ]
    )


if __name__ == "__main__":
    typer.run(main)
