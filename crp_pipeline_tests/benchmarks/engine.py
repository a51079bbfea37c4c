"""Bars per second of the backtest, next to a loop in plain Python: `python -m crp_pipeline_tests.benchmarks.engine`.

The loop is `SlowBroker`, the oracle of the property tests, on fewer bars and scaled per bar; it must make the same trades.
With `--peer-python PATH`, an environment that has vectorbt and backtesting.py, those two run the same signals in the same run.
"""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
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
from crp_pipeline_tests.benchmarks.timing import fastest, seconds
from crp_pipeline_tests.properties.slow_broker import FILLS, Market, SlowBroker

N_BARS, N_SLOW_BARS, N_SHUFFLES = 1_051_200, 20_000, 2_000
EXECUTION = ExecutionModel(horizon=24, slippage_noise_bps=1.0)
PLAIN = ExecutionModel(horizon=None, spread_bps=0, slippage_bps=0)
"""What the peers know too: fees, stops and targets."""
SIZING = Sizing(risk_per_trade=0.0001, max_leverage=0.01)
"""Small stakes: a hundred thousand trades at a cost must not ruin the account half way."""


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the bars.")] = False,
    peer_python: Annotated[Path | None, typer.Option(help="Interpreter that has vectorbt and backtesting.py.")] = None,
) -> None:
    """Print bars per second of the compiled walk, of a whole backtest, of the plain loop and, where they are, of two peers."""
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
    if peer_python is not None:
        print("\nthe same signals, stops and fees, no horizon; processor seconds, best of five, compiled before\n")
        print(to_text(_against_peers(candles, decisions, peer_python)))


def _decisions(candles: pd.DataFrame) -> pd.DataFrame:
    """A side or none at every close, with stop and target near enough to be touched."""
    rng = np.random.default_rng(0)
    distance = 4 * float(np.log(candles["close"]).diff().std())
    return pd.DataFrame(
        {"signal": rng.integers(-1, 2, len(candles)), "stop_distance": distance, "target_distance": distance},
        index=candles.index,
    )


def _against_peers(candles: pd.DataFrame, decisions: pd.DataFrame, peer_python: Path) -> pd.DataFrame:
    """Ours beside vectorbt and backtesting.py, ratios per bar; and how many of vectorbt's trades are ours."""
    theirs = _peers(candles, decisions, peer_python)
    walk, whole = _walk(candles, decisions, PLAIN), lambda: run_backtest(candles, decisions, execution=PLAIN, sizing=SIZING)
    walk_s, whole_s = (fastest(work) / len(candles) for work in (walk, whole))
    vectorbt, backtesting = theirs["vectorbt"], theirs["backtesting.py"]
    simulator_s, signals_s = (vectorbt[name] / vectorbt["bars"] for name in ("simulator_s", "whole_s"))
    event_s = backtesting["whole_s"] / backtesting["bars"]
    fills = walk()[0]
    print(
        f"{len(fills):,} trades; vectorbt made {len(vectorbt['entry_bar']):,}, {_shared(fills, vectorbt):.1%} of its are ours\n"
    )
    rows = [
        ("compiled walk", walk_s, "vectorbt's compiled simulator", simulator_s),
        ("compiled walk", walk_s, "vectorbt from_signals", signals_s),
        ("compiled walk", walk_s, f"backtesting.py ({backtesting['bars']:,} bars)", event_s),
        ("run_backtest, with all metrics", whole_s, "vectorbt from_signals, without metrics", signals_s),
        ("run_backtest, with all metrics", whole_s, f"backtesting.py ({backtesting['bars']:,} bars)", event_s),
    ]
    return pd.DataFrame(
        [
            {
                "ours": ours,
                "ns per bar": round(1e9 * spent, 1),
                "theirs": peer,
                "theirs ns per bar": round(1e9 * peer_s, 1),
                "ours is faster by": round(peer_s / spent, 2),
            }
            for ours, spent, peer, peer_s in rows
        ]
    )


def _peers(candles: pd.DataFrame, decisions: pd.DataFrame, peer_python: Path) -> dict:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "market.npz"
        prices = {name: candles[name].to_numpy() for name in ("open", "high", "low", "close")}
        stop, target = decisions["stop_distance"].iloc[0], decisions["target_distance"].iloc[0]
        fee, signal = PLAIN.fee_bps / 1e4, decisions["signal"].to_numpy()
        np.savez(path, **prices, signal=signal, stop=stop, target=target, fee=fee, few=N_SLOW_BARS)
        script = Path(__file__).with_name("peers.py")
        told = subprocess.run([peer_python, script, path], check=True, capture_output=True, text=True).stdout
    return json.loads(told.splitlines()[-1])


def _shared(fills, vectorbt: dict) -> float:
    """Share of vectorbt's trades that ours has with the same bars and exit price; a stop in the entry bar parts the two."""
    prices = fills["exit_price"].tolist()
    ours = dict(zip(zip(fills["entry_bar"].tolist(), fills["exit_bar"].tolist(), strict=True), prices, strict=True))
    theirs = zip(vectorbt["entry_bar"], vectorbt["exit_bar"], vectorbt["exit_price"], strict=True)
    same = [np.isclose(ours.get((entry, leave), np.nan), price, rtol=1e-9) for entry, leave, price in theirs]
    return float(np.mean(same))


def _walk(candles: pd.DataFrame, decisions: pd.DataFrame, execution: ExecutionModel = EXECUTION):
    bars, orders = bars_of(candles), orders_of(decisions, candles)
    costs, stake = costs_of(execution, candles, bars, CostData()), stake_of(SIZING, execution, candles)
    return lambda: simulate(bars, orders, costs, rules_of(execution), stake)


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
