"""Faults planted anywhere in the demo market are each found where they are, and a clean market raises none."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from crp_pipeline.candles import DEMO_COINS, IssueKind, Suspicion, demo_market, market_closes, quality, repair_candles
from crp_pipeline_tests.strategies import faulty_candles

N_BARS, N_STORED = 1_500, 1_300
PRICES = ["open", "high", "low", "close"]


@st.composite
def clean_markets(draw):
    """One coin of the demo market and the closes of the other, with its interval."""
    interval = draw(st.sampled_from(["1m", "5m", "1h", "1d"]))
    market = demo_market(list(DEMO_COINS.values()), n_bars=N_BARS, seed=draw(st.integers(0, 10_000)), interval=interval)
    ours, other = draw(st.permutations(list(DEMO_COINS)))
    return market[ours], market_closes({other: market[other]}), interval


def looked_at(bars, others, interval, tonight):
    """The report on tonight's bars beside the others and the stored start of the clean ones."""
    earlier, _ = repair_candles(bars.iloc[:N_STORED], interval, max_gap=3)
    return quality(tonight, interval, earlier=earlier, market=others, now=bars.index[-1] + (bars.index[1] - bars.index[0]))


def bad_print(bars, row):
    changed = bars.copy()
    changed.iloc[row, :4] *= 2.0
    return changed, {row}


def restated(bars, row):
    changed = bars.copy()
    changed.iloc[row, 4] *= 1.5
    return changed, {row}


def stale(bars, row):
    changed, rows = bars.copy(), range(row, row + 12)
    changed.iloc[row : row + 12, :4] = bars["close"].iloc[row - 1]
    return changed, set(rows)


def quiet(bars, row):
    changed, rows = bars.copy(), range(row, row + 5)
    changed.iloc[row : row + 5, 4] = 0.0
    return changed, set(rows)


def gap(bars, row):
    return bars.drop(bars.index[row : row + 4]), set(range(row, row + 4))


def duplicate(bars, row):
    return pd.concat([bars, bars.iloc[[row]]]).sort_index(kind="stable"), {row}


def contradiction(bars, row):
    return pd.concat([bars, bars.iloc[[row]] * 1.001]).sort_index(kind="stable"), {row}


PLANTS = {
    Suspicion.BAD_PRINT: bad_print,
    Suspicion.RESTATED_BAR: restated,
    Suspicion.STALE_PRICE: stale,
    Suspicion.ZERO_VOLUME_RUN: quiet,
    IssueKind.GAP: gap,
    Suspicion.VANISHED_BAR: gap,
    IssueKind.DUPLICATE: duplicate,
    IssueKind.CONFLICTING_DUPLICATE: contradiction,
}


@settings(max_examples=20, deadline=None)
@given(clean_markets())
def test_a_clean_market_raises_no_finding(market):
    bars, others, interval = market
    assert looked_at(bars, others, interval, bars).findings == ()


@pytest.mark.parametrize("kind", PLANTS)
@settings(max_examples=10, deadline=None)
@given(market=clean_markets(), row=st.integers(1, N_STORED - 13))
def test_a_planted_fault_is_found_where_it_is_and_blocks_nothing(kind, market, row):
    bars, others, interval = market
    tonight, rows = PLANTS[kind](bars, row)
    report = looked_at(bars, others, interval, tonight)
    [finding] = report.of(kind)
    assert (finding.count, finding.stretches) == (len(rows), 1)
    assert (finding.first, finding.last) == (bars.index[min(rows)], bars.index[max(rows)])
    assert report.ok


@settings(max_examples=15, deadline=None)
@given(clean_markets(), st.sampled_from([1, -1, 3, -3]))
def test_a_shifted_clock_is_found_and_blocks(market, n_bars):
    bars, others, interval = market
    step = bars.index[1] - bars.index[0]
    lag = n_bars if interval != "1d" else int(np.sign(n_bars))
    report = quality(bars.set_axis(bars.index + lag * step), interval, market=others)
    [finding] = report.findings
    assert finding.kind == Suspicion.SHIFTED_CLOCK
    assert f"{abs(lag) * step} {'late' if lag > 0 else 'early'}" in finding.meaning


@settings(max_examples=15, deadline=None)
@given(clean_markets(), st.sampled_from([0.01, 0.5, 1.5, 40.0]))
def test_another_price_level_is_found_and_blocks(market, factor):
    bars, others, interval = market
    report = looked_at(bars, others, interval, bars.assign(**{name: bars[name] * factor for name in PRICES}))
    assert {finding.kind for finding in report.findings} == {Suspicion.OTHER_COIN}


@settings(max_examples=40, deadline=None)
@given(faulty_candles())
def test_a_second_night_of_the_same_source_restates_nothing(faulty):
    earlier, _ = repair_candles(faulty.bars, "1h", max_gap=faulty.max_gap)
    report = quality(faulty.bars, "1h", earlier=earlier)
    assert report.of(*set(Suspicion) - {Suspicion.ZERO_VOLUME_RUN, Suspicion.STALE_PRICE, Suspicion.BAD_PRINT}) == ()


@settings(max_examples=40, deadline=None)
@given(faulty_candles())
def test_the_report_does_not_depend_on_row_order_and_changes_nothing(faulty):
    before = faulty.shuffled.copy()
    in_order, shuffled = (quality(table, "1h").of(*Suspicion) for table in (faulty.bars, faulty.shuffled))
    assert in_order == shuffled
    assert_frame_equal(faulty.shuffled, before)
