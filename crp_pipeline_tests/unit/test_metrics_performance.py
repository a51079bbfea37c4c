"""Ratios, drawdown times, turnover and latency worked out by hand or by plain loops."""

import math

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.metrics import (
    calmar_ratio,
    daily_returns,
    drawdowns,
    latency_summary,
    max_drawdown,
    nearest_rank_percentile,
    sortino_ratio,
    turnover,
)


def curve(*values, freq="12h", start="2024-01-01"):
    return pd.Series(values, index=pd.date_range(start, periods=len(values), freq=freq, tz="UTC"), dtype=float)


def calmar(equity, **initial):
    return calmar_ratio(daily_returns(equity, **initial), deepest_drawdown=drawdowns(equity, **initial).deepest)


def plain_drawdown_days(equity):
    """Days of each time below a peak, one bar at a time."""
    peak, since, days = -math.inf, None, []
    for time, value in equity.items():
        below = value < peak
        if since is not None and since[1] and not below:
            days.append((time - since[0]) / pd.Timedelta(days=1))
        since = (since[0], True) if below else (time, False)
        peak = max(peak, value)
    if since[1]:
        days.append((equity.index[-1] - since[0]) / pd.Timedelta(days=1))
    return days


def test_a_missing_equity_leaves_no_turnover():
    assert turnover([50.0], curve(100, 100)) > 0
    assert math.isnan(turnover([50.0], curve(100, math.nan)))
    assert math.isnan(turnover([50.0], curve()))


def test_a_missing_equity_at_a_days_end_leaves_two_days_without_a_return():
    hole = curve(100, 110, math.nan, math.nan, 121, 121, 133.1, 133.1)
    expected = [0.1, math.nan, math.nan, 0.1]
    np.testing.assert_allclose(daily_returns(hole, initial=100), expected)
    np.testing.assert_allclose(daily_returns(hole), expected[1:])
    assert daily_returns(curve(100, 110, math.nan, 121), initial=100).tolist() == pytest.approx([0.1, 0.1])
    assert np.isnan(daily_returns(curve(100, math.nan, freq="1D"), initial=0.0).iloc[1])
    assert np.isnan(daily_returns(curve(0, math.nan, freq="1D"), initial=100).iloc[1]), "after ruin too"


def test_a_day_without_bars_is_filled_beside_a_missing_one():
    held = curve(100, math.nan, 121, 121, freq="1D").drop(pd.Timestamp("2024-01-03", tz="UTC"))
    np.testing.assert_allclose(daily_returns(held, initial=100), [0, math.nan, math.nan, math.nan])
    quiet = curve(100, 110, 999, 121, freq="1D").drop(pd.Timestamp("2024-01-03", tz="UTC"))
    np.testing.assert_allclose(daily_returns(quiet), [0.1, 0, 0.1])


def test_an_account_without_a_bar_has_no_drawdown():
    nobody = curve()
    assert all(math.isnan(it) for it in drawdowns(nobody, initial=100))
    assert all(math.isnan(it) for it in drawdowns(nobody))
    assert daily_returns(nobody, initial=100).empty


def test_sortino_ratio_divides_by_the_shortfall_over_all_returns():
    # mean 0.01; squared shortfalls 0, 0.0004, 0 and 0.0016 average to 0.0005
    assert sortino_ratio([0.06, -0.02, 0.04, -0.04], periods_per_year=1) == pytest.approx(0.01 / math.sqrt(0.0005))
    assert sortino_ratio([0.06, -0.02, 0.04, -0.04]) == pytest.approx(math.sqrt(365) * 0.01 / math.sqrt(0.0005))


def test_sortino_ratio_measures_from_its_target():
    values = np.array([0.03, 0.01, 0.05])
    assert sortino_ratio(values, target=0.02) == pytest.approx(sortino_ratio(values - 0.02))


@pytest.mark.parametrize("returns", [[], [-0.1], [0.1, 0.2, 0.0], [math.nan, -0.1]])
def test_sortino_ratio_without_a_shortfall_is_missing(returns):
    assert math.isnan(sortino_ratio(returns))


def test_calmar_ratio_is_growth_per_year_over_the_deepest_fall():
    equity = curve(*np.linspace(110, 121, 365), freq="1D")
    equity.iloc[100] = 90
    depth = 1 - 90 / equity.iloc[99]
    assert calmar(equity, initial=100) == pytest.approx(0.21 / depth)


def test_calmar_ratio_sees_falls_within_a_day():
    equity = curve(100, 50, 100, 100, 60, 110, freq="8h")
    assert calmar(equity, initial=100) == pytest.approx((1.1 ** (365 / 2) - 1) / 0.5)


def test_calmar_ratio_of_a_ruin_is_minus_one_over_the_whole():
    assert calmar(curve(100, 50, 0, 0), initial=100) == pytest.approx(-1)


@pytest.mark.parametrize("equity", [curve(), curve(100), curve(100, 101, 102, 103)])
def test_calmar_ratio_of_a_curve_that_never_falls_is_missing(equity):
    assert math.isnan(calmar(equity))


def test_growth_beyond_any_number_is_infinite():
    assert calmar(curve(1, 0.5, 1e4), initial=1) == math.inf


def test_a_drawdown_lasts_from_the_peak_to_the_recovery_or_the_end():
    equity = curve(100, 90, 110, 105, 100, 120, 120, 119)
    # peaks at bars 0, 2 and 6; recoveries at bars 2 and 5, none at the end
    assert plain_drawdown_days(equity) == [1.0, 1.5, 0.5]
    assert drawdowns(equity).longest_days == 1.5
    assert drawdowns(equity).average_days == 1.0


def test_a_hole_in_the_candles_counts_as_time_below_the_peak():
    equity = curve(100, 90, 95)
    equity.index = pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-02-01"], tz="UTC")
    assert drawdowns(equity).longest_days == 31


def test_a_drawdown_may_begin_at_the_first_open():
    assert drawdowns(curve(90, 95), initial=100).longest_days == 1.0
    assert drawdowns(curve(90, 95)).longest_days == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_drawdown_times_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    equity = curve(*(100 + rng.integers(-2, 3, 80).cumsum()), freq="7h")
    days = plain_drawdown_days(equity)
    assert drawdowns(equity).longest_days == pytest.approx(max(days))
    assert drawdowns(equity).average_days == pytest.approx(np.mean(days))


def test_a_curve_that_never_falls_is_never_below_its_peak():
    assert drawdowns(curve(1, 1, 2)).longest_days == drawdowns(curve(1, 1, 2)).average_days == 0.0


@pytest.mark.parametrize("equity", [curve(), curve(1), curve(1, math.nan, 2)])
def test_times_below_a_peak_that_cannot_be_told_are_missing(equity):
    assert math.isnan(drawdowns(equity).longest_days)
    assert math.isnan(drawdowns(equity).average_days)


def test_turnover_counts_both_sides_of_a_round_trip_per_year():
    # bought 100 and sold 110 of a mean equity of 105 within two days
    assert turnover([100, 110], curve(100, 110, 100, 110)) == pytest.approx(2 * 365 / 2)
    assert turnover([], curve(100, 110)) == 0


@pytest.mark.parametrize("equity", [curve(), curve(100), curve(0, 0)])
def test_turnover_of_nothing_is_missing(equity):
    assert math.isnan(turnover([100], equity))


def plain_nearest_rank(values, percent):
    """The smallest value with at least that share of values at or below it."""
    return next(value for value in sorted(values) if 100 * sum(other <= value for other in values) >= percent * len(values))


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 99, 100])
@pytest.mark.parametrize("percent", [1, 7, 50, 90, 99, 100])
def test_a_nearest_rank_percentile_is_the_smallest_value_that_reaches_it(n, percent):
    values = np.random.default_rng(n).integers(0, 50, n)
    assert nearest_rank_percentile(values, percent) == plain_nearest_rank(values.tolist(), percent)


def test_a_rank_is_not_rounded_up_by_the_last_digit_of_a_float():
    assert 0.07 * 100 > 7
    assert nearest_rank_percentile(range(1, 101), 7) == 7
    assert nearest_rank_percentile(range(1, 1_001), 99.9) == 999


def test_latency_is_told_by_its_mean_and_its_ninetieth_percentile():
    assert latency_summary([1, 2, 3, 4, 5, 6, 7, 8, 9, 100]) == {"mean_ms": 14.5, "p90_ms": 9.0}
    assert all(math.isnan(value) for values in ([], [1, math.nan]) for value in latency_summary(values).values())


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_percentile_that_is_none_is_refused(percent):
    with pytest.raises(ValueError, match=f"at most 100, got {percent}"):
        nearest_rank_percentile([1.0], percent)


def test_the_curve_of_the_ratios_is_the_one_of_the_daily_returns():
    equity = curve(*(100 * np.cumprod(1 + np.random.default_rng(1).normal(0, 0.02, 60))), freq="6h")
    days = daily_returns(equity, initial=100)
    growth = (equity.iloc[-1] / 100) ** (365 / len(days)) - 1
    assert calmar(equity, initial=100) == pytest.approx(growth / max_drawdown(np.r_[100, equity]))
