"""Seconds of all of a coin's gate statistics on one core: `python -m crp_pipeline_tests.benchmarks.inference`.

For one core, start it with `OMP_NUM_THREADS=1 taskset -c 0`.
"""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from crp_pipeline.backtest import ExecutionModel, Sizing, run_backtest, zero_skill
from crp_pipeline.metrics import (
    block_bootstrap_interval,
    diebold_mariano,
    e_process,
    probability_of_backtest_overfitting,
    stepm_survivors,
    superior_predictive_ability,
    tier_calibration_floor,
)
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.benchmarks.fresh import MIB, peak_bytes
from crp_pipeline_tests.benchmarks.market import demo_bars
from crp_pipeline_tests.benchmarks.timing import once

N_DAYS, N_TRADES, N_BARS, N_TRIALS, N_CANDIDATES = 1_500, 1_000, 36_000, 200, 12
N_RESAMPLES = 10_000


def main(quick: Annotated[bool, typer.Option("--quick", help="A tenth of the resamples.")] = False) -> None:
    """Print processor and wall seconds of each statistic and of all together."""
    taken = {name: once(work) for name, work in _statistics(N_RESAMPLES // 10 if quick else N_RESAMPLES)}
    rows = [{"statistic": name, "processor s": cpu, "wall s": wall} for name, (wall, cpu) in taken.items()]
    table = pd.DataFrame(rows)
    table.loc[len(table)] = ["all of a coin's gate statistics", *table[["processor s", "wall s"]].sum()]
    print(to_text(table.round(2)))
    print(f"\npeak {peak_bytes() / MIB:,.0f} MiB")


def _statistics(n: int) -> list[tuple[str, Callable[[], object]]]:
    """Each statistic by its name, ready to be taken."""
    rng = np.random.default_rng(0)
    gain, difference = rng.normal(0.001, 0.02, (2, N_DAYS))
    returns, trials = rng.normal(0.001, 0.02, N_TRADES), rng.normal(0, 0.01, (N_DAYS, N_TRIALS))
    confidence, tiers = rng.uniform(0.4, 0.9, N_BARS), rng.choice(["high", "medium", "low"], N_BARS)
    kept = {"block": 5, "n_resamples": n, "seed": 0}
    candidates = trials[:, :N_CANDIDATES]
    return [
        ("first import of arch", lambda: block_bootstrap_interval([0.0, 1.0], np.mean, block=1, n_resamples=1, seed=0)),
        (f"{n:,} resamples of {N_DAYS:,} daily log-loss gains", lambda: block_bootstrap_interval(gain, np.mean, **kept)),
        (f"{n:,} resamples of {N_TRADES:,} trade returns", lambda: block_bootstrap_interval(returns, np.mean, **kept)),
        (f"{n:,} resamples of {N_DAYS:,} daily differences", lambda: block_bootstrap_interval(difference, np.mean, **kept)),
        _shuffles(n),
        (
            f"overfitting, 16 blocks of {N_TRIALS} trials",
            lambda: probability_of_backtest_overfitting(trials, n_blocks=16),
        ),
        (
            f"superior ability of {N_CANDIDATES}, {n:,} resamples",
            lambda: superior_predictive_ability(difference, candidates, **kept),
        ),
        (f"survivors of {N_CANDIDATES}, {n:,} resamples", lambda: stepm_survivors(difference, candidates, **kept)),
        (
            f"noise floor of {N_BARS:,} confidences, 2,000 draws",
            lambda: tier_calibration_floor(confidence, tiers, effective_share=1 / 24, seed=0),
        ),
        ("Diebold-Mariano, horizon of 24", lambda: diebold_mariano(confidence, confidence[::-1], horizon=24)),
        (f"e-process of {N_BARS:,} decisions", lambda: e_process(rng.random(N_BARS) < 0.5)),
    ]


def _shuffles(n: int) -> tuple[str, Callable[[], object]]:
    """Shuffled sides of about a thousand trades; walking them first compiles the engine, which is not counted."""
    execution, sizing = ExecutionModel(horizon=24), Sizing(risk_per_trade=0.001, max_leverage=0.1)
    candles = demo_bars(24 * N_TRADES)[0].assign(is_repaired=False, segment=0)
    signal = np.random.default_rng(0).choice([-1, 1], len(candles))
    decisions = pd.DataFrame({"signal": signal}, index=candles.index)
    result = run_backtest(candles, decisions, execution=execution, sizing=sizing)
    zero_skill(result, candles, decisions, execution, n_permutations=1)
    name = f"{n:,} shuffles of the sides of {len(result.trades):,} trades"
    return name, lambda: zero_skill(result, candles, decisions, execution, n_permutations=n)


if __name__ == "__main__":
    typer.run(main)
