"""What a win rate can and must be on these candles, asked before any training.

At the open after every bar one position is opened long and one short, under the horizon, exits and costs in force. The
oracle, who knows the future, takes the better of the two: no side on every bar is right on more of the bars. One that may
abstain picks its bars, so on a share c of the bars it wins at most `min(1, oracle / c)` of them: that is the ceiling of bars.
Bars whose future touches a hole, a filled-in bar or the end are not asked, as for labels.

A backtest counts trades, which come one at a time, and more often where they win: its win rate may lie above the ceiling of
bars. `gate.ceiling` bounds it by the best sequence of trades on these very bars. A ceiling says what is impossible, not what
can be learned. A target has the benefit of the doubt, here as in the gate: it is impossible where it lies above both the
ceiling of trades and that of the upper end of the oracle's interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from crp_pipeline.backtest.costs import CostData
from crp_pipeline.backtest.execution import bar_length_ns, exit_distances
from crp_pipeline.candles.volatility import causal_volatility
from crp_pipeline.contracts import Bools, Floats, Ints
from crp_pipeline.errors import DataContractError, InsufficientHistoryError
from crp_pipeline.gate.ceiling import TradeCeiling, outcomes_of, trade_ceiling
from crp_pipeline.labels import is_whole
from crp_pipeline.metrics import effective_sample_size, wilson_interval
from crp_pipeline.settings import ExecutionModel, ExitConfig, LabelConfig, PipelineSettings, ScaledExecution

COVERAGES = (1.0, 0.5, 0.33, 0.1)
"""Shares of the bars to act on that tables and pictures show."""
COST_MULTIPLES = (1.0, 1.5, 2.0, 3.0)
POWER = 0.8
"""Chance to prove a win rate that is true, with the number of trades that is asked for."""

_FEWEST_TRADES = 10
"""Fewer prove nothing, whatever the formula says."""


@dataclass(frozen=True)
class Feasibility:
    """The win rates against which a win rate must be read. Rates and shares lie in [0, 1], money is in basis points."""

    horizon: int
    """Bars between entry and exit at most."""
    n: int
    """Bars whose two outcomes are known."""
    effective_n: float
    """Independent ones among them: neighbours share their future, so that there are at most `n / horizon`."""
    target_win_rate: float
    coverage: float
    """Share of the bars on which the target is to be met."""
    cost_bps: float
    """Expected cost of a round trip."""
    mean_move_bps: float
    """Mean absolute move from the entry's open to the open `horizon` bars later, before costs."""
    volatility_bps: float
    """Standard deviation of that move."""
    oracle_win_rate: float
    """Share of the bars on which the better side earns more than its costs."""
    oracle_win_rate_low: float
    oracle_win_rate_high: float
    coin_flip_win_rate: float
    always_long_win_rate: float
    break_even_win_rate: float
    """Win rate at which random sides of average wins and losses earn their costs; 1 without a win, 0 without a loss."""
    break_even_accuracy: float
    """Share of better sides taken at which the mean net return is 0, when the size of the move does not matter; above 1
    not even all of them pay. NaN where both sides earn the same on every bar."""
    trades_if_observed: float
    """Independent trades after which the lower end of the gate's two-sided interval at `level` lies above break-even and coin
    flip, when the target is what was observed."""
    trades_to_prove: float
    """The same with a chance of 80 % for a model whose true win rate is the target; infinite for a target not above."""
    trades_per_night: float
    """Independent trades that one night adds: horizons of a day's bars that do not overlap, times coverage."""
    trades: TradeCeiling = field(repr=False)
    """The highest win rate of trades taken one at a time."""

    @property
    def ceiling(self) -> float:
        """What the oracle won at the coverage asked for."""
        return self.ceiling_at(self.coverage)

    @property
    def trade_ceiling(self) -> float:
        """What no sequence of trades exceeds at the coverage asked for."""
        return self.highest_trades_at(self.coverage)

    def ceiling_at(self, coverage: float) -> float:
        """Share of the bars that the oracle won who picked this share of them."""
        return min(1.0, self.oracle_win_rate / _share(coverage))

    def highest_bars_at(self, coverage: float) -> float:
        """That ceiling by the upper end of the oracle's interval."""
        return min(1.0, self.oracle_win_rate_high / _share(coverage))

    def highest_trades_at(self, coverage: float) -> float:
        """What no sequence of trades on these bars exceeds whose decisions take a side on this share of them."""
        return self.trades.at(_share(coverage))

    def highest_at(self, coverage: float) -> float:
        """The ceiling with the benefit of the doubt, be it of bars or of trades."""
        return max(self.highest_bars_at(coverage), self.highest_trades_at(coverage))

    @property
    def largest_coverage(self) -> float:
        """Share of the bars beyond which the target is out of reach, with the benefit of the doubt."""
        of_bars = min(1.0, self.oracle_win_rate_high / self.target_win_rate)
        return max(of_bars, self.trades.largest_coverage(self.target_win_rate))

    @property
    def nights_if_observed(self) -> float:
        """Nights that bring `trades_if_observed`."""
        return self.trades_if_observed / self.trades_per_night

    @property
    def nights_to_prove(self) -> float:
        """Nights that bring `trades_to_prove`."""
        return self.trades_to_prove / self.trades_per_night

    @property
    def is_possible(self) -> bool:
        """Whether an oracle could have met the target at this coverage on such bars, with the benefit of the doubt."""
        return self.target_win_rate <= self.highest_at(self.coverage)

    @property
    def refusal(self) -> str | None:
        """Why the target is impossible, in one sentence with the numbers; None where it is possible."""
        if self.is_possible:
            return None
        oracle = f"{self.oracle_win_rate:.1%} ({self.oracle_win_rate_low:.1%} to {self.oracle_win_rate_high:.1%})"
        return (
            f"a win rate of {self.target_win_rate:.1%} on {self.coverage:.0%} of the bars is impossible: an oracle that knows "
            f"the future wins at most {self.highest_bars_at(self.coverage):.1%} of these bars and "
            f"{self.trade_ceiling:.1%} of the trades, taken one at a time, because at a horizon of "
            f"{self.horizon} the better side earns its {self.cost_bps:.1f} bps of cost on {oracle} of {self.n:,} bars only, "
            f"where the mean move is {self.mean_move_bps:.1f} bps and a coin flip wins {self.coin_flip_win_rate:.1%}; within "
            f"reach it is on at most {self.largest_coverage:.1%} of the bars"
        )


def feasibility(
    candles: pd.DataFrame,
    *,
    horizon: int,
    costs: float | ExecutionModel,
    exits: ExitConfig | None = None,
    volatility: ArrayLike | None = None,
    target_win_rate: float = 0.68,
    coverage: float = 1.0,
    level: float = 0.95,
    data: CostData | None = None,
) -> Feasibility:
    """Measure oracle, best sequence of trades, coin flip, always-long and break-even on these candles.

    `costs` is a round trip in basis points, half of it paid on the notional of each fill, or an execution model, whose
    horizon is replaced. `exits` add stop and target at multiples of `volatility`, per bar and known at its close: (n,), by
    default that of the labels; bars where it is unknown are not asked. `data` holds settled funding and finer candles, which
    the oracle pays as the backtest does.

    Raises `InsufficientHistoryError` when no bar has a known future, `DataContractError` for other arrays than (n,).
    """
    _share(coverage), _share(target_win_rate), _share(level)
    stops, targets = _distances(candles, horizon, exits, volatility)
    unlimited = np.isnan(stops) & (exits is not None)
    decided = _decided(candles, horizon, unlimited)
    execution = _execution(costs, horizon)
    outcomes = outcomes_of(candles, stops, targets, execution, data or CostData())
    long, short = outcomes.net[:, decided]
    opened = candles["open"].to_numpy(dtype=float)
    move = opened[decided + 1 + horizon] / opened[decided + 1] - 1
    wins = np.maximum(long, short) > 0
    effective_n = _effective_n(wins, horizon)
    oracle = float(wins.mean())
    low, high = wilson_interval(oracle * effective_n, effective_n, level=level)
    coin_flip, break_even = float(np.r_[long > 0, short > 0].mean()), _break_even_win_rate(np.r_[long, short])
    return Feasibility(
        horizon=horizon,
        n=len(wins),
        effective_n=effective_n,
        target_win_rate=target_win_rate,
        coverage=coverage,
        cost_bps=_round_trip_bps(costs),
        mean_move_bps=1e4 * float(np.abs(move).mean()),
        volatility_bps=1e4 * float(move.std()),
        oracle_win_rate=oracle,
        oracle_win_rate_low=low,
        oracle_win_rate_high=high,
        coin_flip_win_rate=coin_flip,
        always_long_win_rate=float((long > 0).mean()),
        break_even_win_rate=break_even,
        break_even_accuracy=_break_even_accuracy(np.maximum(long, short), np.minimum(long, short)),
        **_needed(max(coin_flip, break_even), target_win_rate, level),
        trades_per_night=coverage * _bars_per_day(candles) / horizon,
        trades=trade_ceiling(
            candles,
            outcomes,
            execution,
            free=unlimited,
            closes_at_end=not isinstance(costs, ExecutionModel) or costs.close_at_end,
        ),
    )


def feasibility_table(  # noqa: PLR0913 - what `feasibility` asks for, and along which lines
    candles: pd.DataFrame,
    *,
    horizons: Sequence[int],
    costs: float | ExecutionModel,
    cost_multiples: Sequence[float] = COST_MULTIPLES,
    coverages: Sequence[float] = COVERAGES,
    exits: ExitConfig | None = None,
    volatility: ArrayLike | None = None,
    target_win_rate: float = 0.68,
    level: float = 0.95,
    data: CostData | None = None,
) -> pd.DataFrame:
    """One row per horizon and multiple of the costs: win rates of `feasibility`, and the ceiling of bars at each coverage.

    `trade_ceiling` is that of trades, where every bar takes a side.
    `largest_coverage` is the share of the bars beyond which the target is out of reach.
    """
    rows: list[dict[str, float]] = []
    for horizon in horizons:
        for multiple in cost_multiples:
            found = feasibility(
                candles, horizon=horizon, costs=_scaled(costs, multiple),
                exits=exits, volatility=volatility, target_win_rate=target_win_rate, level=level, data=data,
            )  # fmt: skip
            rows.append(
                {
                    "horizon": horizon,
                    "cost_multiple": multiple,
                    "cost_bps": found.cost_bps,
                    "mean_move_bps": found.mean_move_bps,
                    "coin_flip": found.coin_flip_win_rate,
                    "always_long": found.always_long_win_rate,
                    "break_even": found.break_even_win_rate,
                    "trade_ceiling": found.highest_trades_at(1.0),
                    **{f"ceiling_{share:.0%}": found.ceiling_at(share) for share in coverages},
                    "largest_coverage": found.largest_coverage,
                }
            )
    return pd.DataFrame(rows)


def asked_coverage(settings: PipelineSettings) -> float:
    """Share of the bars on which the win rate is asked for, were every bar to take a side: all, or the high tier's share."""
    return 1.0 - settings.ensemble.tier_quantiles[1] if settings.gate.win_rate_of == "high" else 1.0


def trades_to_certify(
    threshold: float, win_rate: float, *, power: float = POWER, level: float = 0.95, two_sided: bool = False
) -> float:
    """Independent trades whose lower Wilson bound exceeds `threshold` with chance `power`, the true rate being `win_rate`.

    The bound is one-sided at `level`, or the lower end of the two-sided interval at `level`, which is what the gate takes.
    With a power of one half that is the number after which the rate, observed, is proven. Infinite for a rate that is not
    above the threshold. Normal approximation of the power; Wilson's bound is the inverted score test, so it is exact at one
    half.

    >>> trades_to_certify(0.5, 0.6)
    153.0
    >>> trades_to_certify(0.5, 0.6, two_sided=True)
    194.0
    """
    if win_rate <= threshold:
        return math.inf
    normal = NormalDist()
    spread = normal.inv_cdf((1 + level) / 2 if two_sided else level) * math.sqrt(threshold * (1 - threshold)) + normal.inv_cdf(
        power
    ) * math.sqrt(win_rate * (1 - win_rate))
    return float(max(_FEWEST_TRADES, math.ceil((spread / (win_rate - threshold)) ** 2)))


def _needed(hurdle: float, target: float, level: float) -> dict[str, float]:
    """Trades that bring the lower end of the interval which the gate takes above the hurdle."""
    powers = {"trades_if_observed": 0.5, "trades_to_prove": POWER}
    return {name: trades_to_certify(hurdle, target, power=power, level=level, two_sided=True) for name, power in powers.items()}


def _distances(
    candles: pd.DataFrame, horizon: int, exits: ExitConfig | None, volatility: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Stop and target distance of a decision at each bar, NaN where there is none: (n,) each."""
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1 bar, got {horizon}")
    if exits is None:
        return np.full(len(candles), np.nan), np.full(len(candles), np.nan)
    return exit_distances(_volatility(candles, volatility), horizon, exits)


def _decided(candles: pd.DataFrame, horizon: int, unlimited: Bools) -> Ints:
    """Bars whose outcome is known, (m,); without a stop where there are stops nobody decides."""
    decided = np.flatnonzero(is_whole(candles, 1 + horizon) & ~unlimited)
    if not len(decided):
        needed = f"a known future of {horizon} bars" + (" and a stop above zero" if unlimited.any() else "")
        raise InsufficientHistoryError(f"none of {len(candles)} bars has {needed} to open a position for")
    return decided


def _volatility(candles: pd.DataFrame, volatility: ArrayLike | None) -> Floats:
    if volatility is None:
        return causal_volatility(candles, LabelConfig().volatility_window)
    given = np.asarray(volatility, dtype=float)
    if given.shape != (len(candles),):
        raise DataContractError(f"volatility: shape {given.shape} does not fit {len(candles)} candles")
    return given


def _effective_n(wins: Bools, horizon: int) -> float:
    """Independent bars among these, no more than share no future: neighbours that all came out alike do not show theirs."""
    apart = max(1.0, len(wins) / horizon)
    return min(apart, effective_sample_size(wins, max_lag=max(horizon, math.isqrt(len(wins))))) if len(wins) > 1 else 1.0


def _execution(costs: float | ExecutionModel, horizon: int) -> ExecutionModel:
    if isinstance(costs, ExecutionModel):
        return replace(costs, horizon=horizon, close_at_end=True)
    if not (math.isfinite(costs) and costs >= 0):
        raise ValueError(f"costs = {costs} are not those of a round trip in basis points: they must be finite and at least 0")
    return ScaledExecution(fee_bps=costs / 2, spread_bps=0.0, slippage_bps=0.0, horizon=horizon)


def _round_trip_bps(costs: float | ExecutionModel) -> float:
    return 2 * costs.cost_per_side_bps if isinstance(costs, ExecutionModel) else float(costs)


def _scaled(costs: float | ExecutionModel, multiple: float) -> float | ExecutionModel:
    if not isinstance(costs, ExecutionModel):
        return multiple * costs
    return costs.scaled(multiple)


def _break_even_win_rate(returns: Floats) -> float:
    wins, losses = returns[returns > 0], returns[returns <= 0]
    if not len(wins):
        return 1.0
    loss = -float(losses.mean()) if len(losses) else 0.0
    return loss / (float(wins.mean()) + loss)


def _break_even_accuracy(better: Floats, worse: Floats) -> float:
    """Share of better sides at which their mean return pays for that of the worse ones."""
    right, wrong = float(better.mean()), float(worse.mean())
    return -wrong / (right - wrong) if right > wrong else math.nan


def _bars_per_day(candles: pd.DataFrame) -> float:
    return pd.Timedelta("1D").value / bar_length_ns(candles.index)


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{value} is not a share of the bars or a rate: it must be above 0 and at most 1")
    return value
