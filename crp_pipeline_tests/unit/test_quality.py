"""Faults written by hand into a calm market, and the faults that the real files are known to have."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.candles import (
    DEMO_COINS,
    IssueKind,
    Severity,
    Suspicion,
    demo_market,
    load_candles,
    market_closes,
    quality,
    refuse_blocked,
    repair_candles,
)
from crp_pipeline.errors import DataContractError
from crp_pipeline.reporting.figures import png, quality_figure

HOUR = pd.Timedelta(hours=1)
N_BARS = 3_000


@pytest.fixture(scope="module")
def market():
    return demo_market(list(DEMO_COINS.values()), n_bars=N_BARS, seed=5)


@pytest.fixture
def bars(market):
    return market["EDGE-DEMO"].copy()


@pytest.fixture(scope="module")
def others(market):
    return market_closes({"NOISE-DEMO": market["NOISE-DEMO"]})


def kinds(report):
    return {finding.kind for finding in report.findings}


def only(report):
    (finding,) = report.findings
    return finding


def scaled(bars, rows, factor, columns=("open", "high", "low", "close")):
    """Bars whose prices in these rows are multiplied, with high and low still the extremes."""
    changed = bars.copy()
    changed.loc[changed.index[rows], list(columns)] *= factor
    changed["high"] = changed[["open", "high", "low", "close"]].max(axis=1)
    changed["low"] = changed[["open", "high", "low", "close"]].min(axis=1)
    return changed


def test_clean_candles_have_no_finding(bars, others):
    earlier, _ = repair_candles(bars.iloc[:-24], "1h", max_gap=3)
    report = quality(bars, "1h", earlier=earlier, market=others, now=bars.index[-1] + HOUR, source="EDGE-DEMO")
    assert report.findings == ()
    assert report.ok
    assert report.summary() == "EDGE-DEMO: 3000 bars of 1h: clean"


def test_issues_of_the_contract_are_taken_over_and_warn(bars):
    report = quality(pd.concat([bars.drop(bars.index[50:53]), bars.iloc[[7]]]), "1h")
    assert [(it.kind, it.severity, it.count) for it in report.findings] == [
        (IssueKind.OUT_OF_ORDER, Severity.WARN, 1),
        (IssueKind.DUPLICATE, Severity.WARN, 1),
        (IssueKind.GAP, Severity.WARN, 3),
    ]
    assert report.of(IssueKind.GAP)[0].spans == ((bars.index[50], bars.index[52]),)
    assert report.ok


# ---- by themselves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [("open", "high", "low", "close"), ("close",), ("open",)])
@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_print_that_is_gone_at_the_next_bar_is_bad(bars, columns, factor):
    finding = only(quality(scaled(bars, [1_000], factor, columns), "1h"))
    assert (finding.kind, finding.count, finding.first) == (Suspicion.BAD_PRINT, 1, bars.index[1_000])


def test_a_far_wick_is_a_bad_print(bars):
    bars.iloc[1_000, bars.columns.get_loc("high")] *= 3
    assert only(quality(bars, "1h")).kind == Suspicion.BAD_PRINT


def test_a_bad_print_among_the_newest_bars_is_found(bars):
    assert only(quality(scaled(bars, [N_BARS - 2], 1.3), "1h")).first == bars.index[-2]


@pytest.mark.parametrize("factor", [0.5, 0.05, 3.0])
def test_a_move_that_stays_is_no_bad_print(bars, factor):
    crashed = scaled(bars, slice(1_000, None), factor)
    crashed.iloc[1_000, crashed.columns.get_loc("open")] = bars["open"].iloc[1_000]
    assert quality(scaled(crashed, [], 1.0), "1h").findings == ()


def test_a_crash_that_trades_its_way_back_is_no_bad_print(bars):
    """Bars join up: each opens where the one before closed."""
    deviation = np.log(bars["close"]).diff().std()
    path = np.log(bars["close"].to_numpy())
    path[1_000] -= 20 * deviation
    bars["close"] = np.exp(path)
    bars.iloc[1_001, bars.columns.get_loc("open")] = bars["close"].iloc[1_000]
    assert quality(scaled(bars, [], 1.0), "1h").findings == ()


def test_one_quiet_bar_is_no_finding_and_three_are(bars):
    bars.iloc[[500, 900, 901], 4] = 0.0
    assert quality(bars, "1h").findings == ()
    bars.iloc[[902], 4] = 0.0
    finding = only(quality(bars, "1h"))
    assert (finding.kind, finding.count, finding.stretches) == (Suspicion.ZERO_VOLUME_RUN, 3, 1)
    assert (finding.first, finding.last) == (bars.index[900], bars.index[902])


@pytest.mark.parametrize("quiet", [499, 503])
def test_one_quiet_bar_beside_a_hole_is_part_of_the_outage(bars, quiet):
    bars.iloc[quiet, 4] = 0.0
    report = quality(bars.drop(bars.index[500:503]), "1h")
    assert report.count(Suspicion.ZERO_VOLUME_RUN) == 1


def test_a_coin_that_seldom_trades_has_no_finding(bars):
    rng = np.random.default_rng(3)
    bars.loc[rng.random(len(bars)) < 0.3, "volume"] = 0.0
    assert quality(bars, "1h").findings == ()


def test_bars_with_volume_and_one_price_are_stale(bars):
    bars.iloc[700:712, :4] = bars["close"].iloc[699]
    finding = only(quality(bars, "1h"))
    assert (finding.kind, finding.first, finding.last) == (Suspicion.STALE_PRICE, bars.index[700], bars.index[711])


def test_bars_of_one_price_each_are_stale_though_it_moves(bars):
    bars.iloc[700:712, :3] = bars[["close"]].iloc[700:712].to_numpy()
    assert only(quality(bars, "1h")).count == 12


def test_a_coin_of_coarse_ticks_has_no_finding():
    """A tick of one deviation: the price stands still in every third minute, and many moves are there and back."""
    bars = demo_market(0.0, n_bars=5_000, seed=1, interval="1m")
    tick = np.exp(np.log(bars["close"]).diff().std())
    ticks = tick ** np.round(np.log(bars[["open", "high", "low", "close"]]) / np.log(tick))
    assert (ticks["close"].diff() == 0).mean() > 0.3
    assert quality(bars.assign(**{name: ticks[name] for name in ticks}), "1m").findings == ()


def test_a_feed_that_stands_still_for_ever_is_stale(bars):
    bars.iloc[:, :4] = 100.0
    assert only(quality(bars, "1h")).kind == Suspicion.STALE_PRICE


def test_volume_in_two_units_is_found(bars):
    bars[["open", "high", "low", "close"]] *= 300
    bars.loc[bars.index[:1_000], "volume"] *= bars["close"].iloc[:1_000]
    finding = only(quality(bars, "1h"))
    assert finding.kind == IssueKind.VOLUME_UNIT_SWITCH
    assert abs(finding.count - 1_000) <= 2


@pytest.mark.parametrize(("late", "is_stale"), [("47h", False), ("49h", True), ("900D", True)])
def test_a_history_that_ends_long_before_now_is_found(bars, late, is_stale):
    now = bars.index[-1] + HOUR + pd.Timedelta(late)
    assert (kinds(quality(bars, "1h", now=now)) == {Suspicion.STALE_END}) == is_stale


def test_weekly_downloads_of_daily_bars_may_be_three_bars_late():
    bars = demo_market(0.0, n_bars=100, seed=1, interval="1d")
    assert quality(bars, "1d", now=bars.index[-1] + pd.Timedelta(days=4)).findings == ()
    assert kinds(quality(bars, "1d", now=bars.index[-1] + pd.Timedelta(days=4.1))) == {Suspicion.STALE_END}


# ---- beside the night before ----------------------------------------------------------------------------------------


def test_restated_and_vanished_bars_are_counted(bars):
    earlier, _ = repair_candles(bars.iloc[:-24], "1h", max_gap=3)
    tonight = bars.drop(bars.index[[40, 41]])
    tonight.iloc[100, tonight.columns.get_loc("volume")] *= 1.01
    tonight.iloc[200, tonight.columns.get_loc("close")] *= 1.000001
    report = quality(tonight, "1h", earlier=earlier)
    assert kinds(report) == {IssueKind.GAP, Suspicion.RESTATED_BAR, Suspicion.VANISHED_BAR}
    assert report.count(Suspicion.RESTATED_BAR) == 2
    assert report.of(Suspicion.VANISHED_BAR)[0].first == bars.index[40]


def test_bars_that_a_repair_filled_in_are_not_compared(bars):
    earlier, _ = repair_candles(bars.drop(bars.index[50:53]), "1h", max_gap=3)
    assert quality(bars, "1h", earlier=earlier).findings == ()


def test_the_file_of_another_coin_blocks(market, bars):
    earlier, _ = repair_candles(market["NOISE-DEMO"], "1h", max_gap=3)
    report = quality(bars, "1h", earlier=earlier, source="NOISE-DEMO (noise.csv)")
    finding = only(report)
    assert (finding.kind, finding.severity, finding.count) == (Suspicion.OTHER_COIN, Severity.BLOCK, N_BARS)
    assert not report.ok
    with pytest.raises(DataContractError, match=r"^NOISE-DEMO \(noise.csv\): row 1, at 2022-01-01 00:00:00\+00:00: close = "):
        refuse_blocked(bars, report)


def test_rows_in_the_refusal_are_those_of_the_file(market, bars):
    earlier, _ = repair_candles(market["NOISE-DEMO"], "1h", max_gap=3)
    newest_first = bars[::-1]
    with pytest.raises(DataContractError, match=f"row {N_BARS}, at 2022-01-01"):
        refuse_blocked(newest_first, quality(newest_first, "1h", earlier=earlier))


@pytest.mark.parametrize("first", [1_500, 1_700])
def test_bars_of_another_coin_after_the_stored_ones_block(market, bars, first):
    """Appended at once, or after a hole of 200 bars."""
    earlier, _ = repair_candles(market["NOISE-DEMO"].iloc[:1_500], "1h", max_gap=3)
    tonight = pd.concat([market["NOISE-DEMO"].iloc[:1_500], bars.iloc[first:]])
    for table in (tonight, tonight.iloc[1_500:]):
        report = quality(table, "1h", earlier=earlier)
        assert report.of(Suspicion.OTHER_COIN)[0].first == bars.index[first]


def test_a_crash_in_the_first_new_bar_is_not_another_coin(bars):
    earlier, _ = repair_candles(bars.iloc[:1_500], "1h", max_gap=3)
    crashed = scaled(bars, slice(1_500, None), 0.02)
    crashed.iloc[1_500, crashed.columns.get_loc("open")] = bars["open"].iloc[1_500]
    assert quality(scaled(crashed, [], 1.0), "1h", earlier=earlier).findings == ()


def test_the_same_coin_at_another_exchange_is_restated_and_not_another_coin(bars):
    earlier, _ = repair_candles(bars, "1h", max_gap=3)
    assert kinds(quality(scaled(bars, slice(None), 1.03), "1h", earlier=earlier)) == {Suspicion.RESTATED_BAR}


# ---- beside the market ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, -1, 5, -8, 14])
def test_a_shifted_clock_blocks_beside_the_market_and_beside_the_night_before(bars, others, hours):
    shifted = bars.set_axis(bars.index + hours * HOUR)
    earlier, _ = repair_candles(bars, "1h", max_gap=3)
    for report in (quality(shifted, "1h", market=others), quality(shifted, "1h", earlier=earlier)):
        finding = only(report)
        assert (finding.kind, finding.severity) == (Suspicion.SHIFTED_CLOCK, Severity.BLOCK)
        assert f"{abs(hours) * HOUR} {'late' if hours > 0 else 'early'}" in finding.meaning


def test_a_clock_that_is_shifted_in_summer_only_is_found_there(others, bars):
    shifted = bars.set_axis(bars.index.where(np.arange(N_BARS) < 1_500, bars.index + HOUR))
    finding = quality(shifted, "1h", market=others).of(Suspicion.SHIFTED_CLOCK)[0]
    assert abs((finding.first - bars.index[1_500]) / HOUR) < 512
    assert finding.last == shifted.index[-1]


def test_five_minute_bars_stamped_at_their_close_are_found():
    coins = demo_market(list(DEMO_COINS.values()), n_bars=N_BARS, seed=5, interval="5m")
    ours, others = coins["EDGE-DEMO"], market_closes({"NOISE-DEMO": coins["NOISE-DEMO"]})
    assert quality(ours, "5m", market=others).findings == ()
    late = ours.set_axis(ours.index + pd.Timedelta("5min"))
    assert "0 days 00:05:00 late" in only(quality(late, "5m", market=others)).meaning


def test_a_market_that_says_nothing_makes_no_finding(bars):
    unrelated = demo_market(0.0, n_bars=N_BARS, seed=99)
    long_ago = unrelated.set_axis(unrelated.index - pd.Timedelta(days=3_000))
    for closes in (unrelated[["close"]], long_ago[["close"]], unrelated[["close"]].iloc[:0], pd.DataFrame(index=bars.index)):
        assert quality(bars, "1h", market=closes).findings == ()


# ---- the report -----------------------------------------------------------------------------------------------------


def test_an_empty_table_is_a_finding(bars):
    assert only(quality(bars.iloc[:0], "1h", earlier=bars, market=bars[["close"]], now=bars.index[-1])).kind == IssueKind.EMPTY


def test_a_table_without_prices_is_refused(bars):
    with pytest.raises(DataContractError, match=r"^BTC has no column volume"):
        quality(bars.drop(columns="volume"), "1h", source="BTC")


def test_a_report_prints_and_tabulates_its_findings(bars):
    report = quality(scaled(bars, [1_000], 1.3), "1h", source="EDGE-DEMO")
    assert report.summary().splitlines() == [
        "EDGE-DEMO: 3000 bars of 1h: 1 finding",
        "bad_print (warn): 1 at 2022-02-11 16:00:00+00:00: a price far off both its neighbours: nobody could trade there",
    ]
    [row] = report.to_frame().to_dict("records")
    assert (row["kind"], row["severity"], row["count"], row["stretches"]) == ("bad_print", "warn", 1, 1)
    with pytest.raises(FrozenInstanceError):
        report.findings = ()


def test_nothing_is_refused_when_nothing_blocks(bars):
    report = quality(scaled(bars, [1_000], 1.3), "1h")
    refuse_blocked(bars, report)
    refuse_blocked(bars, replace(report, findings=()))


def test_the_picture_shows_clean_and_faulty_candles(bars, market):
    broken = scaled(bars, [1_000], 1.3).drop(bars.index[20:40])
    earlier, _ = repair_candles(market["NOISE-DEMO"], "1h", max_gap=3)
    for table, expected in ((bars, "nothing found"), (broken, "2 kinds of finding"), (bars, "refused")):
        report = quality(table, "1h", earlier=earlier if expected == "refused" else None)
        figure = quality_figure(table, report, coin="EDGE-DEMO")
        assert expected in figure.axes[0].get_title()
        assert png(figure)[:4] == b"\x89PNG"


# ---- real files -----------------------------------------------------------------------------------------------------

LARGE = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "XRP-USDT")
PERPETUALS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP")
FILES = {
    ("1h", LARGE): (20, 10, 2, 2),
    ("5m", LARGE[:2]): (16, 1, 14, 1),
    ("5m", PERPETUALS[:2]): None,
    ("1m", PERPETUALS): None,
}


def real(folder, interval, coins):
    return {coin: load_candles(folder / interval / f"{coin}.parquet") for coin in coins}


@pytest.mark.market_data
@pytest.mark.parametrize(("group", "expected"), FILES.items(), ids=str)
def test_known_faults_of_real_files_are_found_exactly(market_data, group, expected):
    interval, coins = group
    candles = real(market_data, interval, coins)
    for coin, bars in candles.items():
        others = market_closes({name: it for name, it in candles.items() if name != coin})
        earlier, _ = repair_candles(bars.iloc[:-100], interval, max_gap=3)
        now = bars.index[-1] + pd.Timedelta(hours=2)
        report = quality(bars, interval, earlier=earlier, market=others, now=now)
        if expected is None:
            assert report.findings == (), coin
            continue
        gap, quiet = report.findings
        assert (gap.kind, quiet.kind) == (IssueKind.GAP, Suspicion.ZERO_VOLUME_RUN), coin
        assert (gap.count, gap.stretches, quiet.count, quiet.stretches) == expected, coin


@pytest.mark.market_data
def test_the_quiet_bars_of_the_hourly_files_are_those_beside_their_outages(market_data):
    bars = load_candles(market_data / "1h" / "BTC-USDT.parquet")
    [finding] = quality(bars, "1h").of(Suspicion.ZERO_VOLUME_RUN)
    assert [first.isoformat()[:13] for first, _ in finding.spans] == ["2021-02-11T03", "2023-03-24T12"]


@pytest.mark.market_data
def test_the_swapped_volume_of_the_bitstamp_file_is_found(market_data):
    """Also its outage of 2020-04-25, four hours without a trade; the crash of 2020-03-12 is no bad print."""
    report = quality(load_candles(market_data / "defects" / "bitstamp_BTC_USD_hourly.csv"), "1h")
    assert {finding.kind: (finding.count, finding.last.isoformat()[:13]) for finding in report.findings} == {
        IssueKind.VOLUME_UNIT_SWITCH: (20_143, "2020-10-12T08"),
        Suspicion.ZERO_VOLUME_RUN: (4, "2020-04-25T23"),
    }


@pytest.mark.market_data
@pytest.mark.parametrize("hours", [1, -5, 8])
def test_a_shifted_real_file_blocks(market_data, hours):
    candles = real(market_data, "1h", LARGE)
    for coin, bars in candles.items():
        others = market_closes({name: it for name, it in candles.items() if name != coin})
        [finding] = quality(bars.set_axis(bars.index + hours * HOUR), "1h", market=others).of(Suspicion.SHIFTED_CLOCK)
        assert f"{abs(hours) * HOUR} {'late' if hours > 0 else 'early'}" in finding.meaning


@pytest.mark.market_data
def test_every_real_coin_under_every_other_name_blocks(market_data):
    candles = real(market_data, "1h", LARGE)
    for stored in LARGE:
        earlier, _ = repair_candles(candles[stored], "1h", max_gap=3)
        blocked = {coin for coin, bars in candles.items() if not quality(bars, "1h", earlier=earlier).ok}
        assert blocked == set(LARGE) - {stored}


def test_what_the_exchange_restated_is_a_warning():
    bars = demo_market(0.0, n_bars=500, seed=3)
    restated = bars.index[[3, 4, 100]]
    [found] = quality(bars, "1h", restated=restated).of(Suspicion.RESTATED_BAR)
    assert (found.count, found.stretches, found.first, found.last) == (3, 1, restated[0], restated[-1])
    assert found.severity is Severity.WARN
