"""Labels by hand and against a plain loop."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.contracts import LabelSchema, check_frame
from crp_pipeline.errors import DataContractError
from crp_pipeline.labels import LabelConfig, average_uniqueness, make_labels

HOUR = pd.Timedelta("1h")


def candles_with(opens, *, repaired=(), segments=None):
    n = len(opens)
    price = np.asarray(opens, dtype=float)
    return pd.DataFrame(
        {
            "open": price,
            "high": price * 1.01,
            "low": price * 0.99,
            "close": price,
            "volume": 1.0,
            "is_repaired": np.isin(np.arange(n), repaired),
            "segment": np.zeros(n, dtype=np.int64) if segments is None else np.asarray(segments, dtype=np.int64),
        },
        index=pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC", name="open_time").as_unit("ns"),
    )


def random_walk(n, seed=0):
    return candles_with(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, n))))


def config(horizon=3, **kwargs):
    return LabelConfig(horizon=horizon, volatility_window=10, **kwargs)


def plain_labels(candles, config):
    """The same labels, one bar at a time."""
    rows = []
    for t in range(len(candles)):
        stretch = candles.iloc[t : t + config.horizon + 2]
        closes = candles["close"].iloc[max(t - config.volatility_window, 0) : t + 1]
        whole = len(stretch) == config.horizon + 2 and not stretch["is_repaired"].any() and len(set(stretch["segment"])) == 1
        if not whole or len(closes) <= config.volatility_window:
            rows.append((np.nan, np.nan, pd.NaT))
            continue
        volatility = np.log(closes).diff().dropna().std()
        move = stretch["open"].iloc[-1] / stretch["open"].iloc[1] - 1
        band = max(config.round_trip_cost_bps / 1e4, config.neutral_volatility_multiple * volatility * config.horizon**0.5)
        rows.append((float((move > band) - float(move < -band)), move, stretch.index[-1]))
    return pd.DataFrame(rows, index=candles.index, columns=["signal", "forward_return", "label_end"])


def test_labels_equal_a_plain_loop():
    bars = random_walk(200)
    made, plain = make_labels(bars, config()), plain_labels(bars, config())
    np.testing.assert_allclose(made["forward_return"], plain["forward_return"], rtol=1e-12)
    np.testing.assert_array_equal(made["signal"], plain["signal"])
    assert (made["label_end"].dropna() == plain["label_end"].dropna()).all()
    assert set(made["signal"].dropna()) == {-1.0, 0.0, 1.0}


def test_labels_meet_their_schema():
    check_frame(make_labels(random_walk(100), config()), LabelSchema, what="labels")


def test_entry_is_the_next_open_and_exit_the_open_horizon_bars_later():
    opens = [100.0] * 30
    opens[21], opens[24] = 110.0, 121.0
    label = make_labels(candles_with(opens), config(horizon=3)).iloc[20]
    assert label["forward_return"] == pytest.approx(0.1)
    assert label["label_end"] == pd.Timestamp("2024-01-02T00:00Z")
    assert label["signal"] == 1


def test_the_last_rows_have_no_label():
    labels = make_labels(random_walk(60), config(horizon=3))
    assert labels["signal"].tail(4).isna().all()
    assert labels["signal"].iloc[-5] in (-1, 0, 1)


@pytest.mark.parametrize("repaired", [30, 31, 34])
def test_no_label_touches_a_repaired_bar(repaired):
    labels = make_labels(random_walk(60).assign(is_repaired=np.arange(60) == repaired), config(horizon=3))
    unlabelled = np.flatnonzero(labels["signal"].iloc[10:-4].isna()) + 10
    np.testing.assert_array_equal(unlabelled, np.arange(repaired - 4, repaired + 1))


def test_no_label_crosses_a_hole():
    labels = make_labels(random_walk(60).assign(segment=(np.arange(60) >= 30).astype(np.int64)), config(horizon=3))
    assert labels["signal"].iloc[26:30].isna().all()
    assert labels["signal"].iloc[30:40].isna().all(), "volatility starts anew after a hole"
    assert labels["signal"].iloc[25] in (-1, 0, 1)


def test_a_move_within_the_costs_is_neutral():
    opens = [100.0] * 40
    opens[31] = 100.10
    bars = candles_with(opens)
    assert make_labels(bars, config(horizon=1, round_trip_cost_bps=11)).iloc[29]["signal"] == 0
    assert make_labels(bars, config(horizon=1, round_trip_cost_bps=9)).iloc[29]["signal"] == 1


def test_trend_strength_is_clipped():
    opens = [100.0, 100.1] * 20
    opens[35:] = [200.0] * 5
    assert make_labels(candles_with(opens), config(horizon=1, trend_clip=2.5))["trend_strength"].iloc[33] == 2.5


def test_labels_do_not_change_when_the_future_arrives():
    bars = random_walk(150)
    then, now = make_labels(bars.iloc[:100], config()), make_labels(bars, config()).iloc[:100]
    known = then["signal"].notna()
    pd.testing.assert_frame_equal(
        then.loc[known].drop(columns="weight"), now.loc[known].drop(columns="weight"), check_exact=True
    )


def test_candles_that_were_never_repaired_are_one_stretch_of_real_bars():
    bars = random_walk(100)
    plain = make_labels(bars.drop(columns=["is_repaired", "segment"]), config())
    pd.testing.assert_frame_equal(plain, make_labels(bars, config()))


@pytest.mark.parametrize("horizon", [1, 4])
def test_a_label_lives_from_entry_to_exit(horizon):
    """At every moment between two opens `horizon` labels are alive, but for the first and last few."""
    weight = make_labels(random_walk(300), config(horizon=horizon))["weight"].dropna()
    np.testing.assert_allclose(weight.iloc[horizon:-horizon], 1 / horizon)


def feeds_of(bars, values):
    return pd.DataFrame({"open_interest": values}, index=bars.index, dtype=float)


def test_the_open_interest_of_the_label_by_hand():
    bars = random_walk(60)
    values = np.arange(100.0, 160.0)
    made = make_labels(bars, config(horizon=3), feeds=feeds_of(bars, values))
    # a label of bar 20 ends at the open of bar 24, which is the close of bar 23
    assert made["label_end"].iloc[20] == bars.index[23] + HOUR == bars.index[24]
    assert made["open_interest_change"].iloc[20] == pytest.approx(123 / 120 - 1)
    assert made["open_interest_change"].notna().equals(made["signal"].notna())
    check_frame(made, LabelSchema, what="labels")


@pytest.mark.parametrize("wrong", [np.nan, 0.0, -5.0, np.inf])
def test_an_open_interest_that_is_none_gives_no_change_from_it_or_to_it(wrong):
    bars = random_walk(60)
    values = np.where(np.arange(60) == 30, wrong, 100.0)
    made = make_labels(bars, config(horizon=3), feeds=feeds_of(bars, values))
    labelled = np.flatnonzero(made["signal"].notna())
    unknown = np.flatnonzero(made["open_interest_change"].isna())
    assert set(unknown) & set(labelled) == {27, 30}
    assert made["signal"].equals(make_labels(bars, config(horizon=3))["signal"])


def test_without_a_feed_of_open_interest_there_is_no_such_target():
    bars = random_walk(60)
    funding = pd.DataFrame({"funding_rate": 0.1}, index=bars.index)
    for feeds in (None, bars[[]], funding):
        pd.testing.assert_frame_equal(make_labels(bars, config(), feeds=feeds), make_labels(bars, config()))


def test_feeds_of_other_bars_are_refused():
    bars = random_walk(60)
    with pytest.raises(DataContractError, match="feeds: no row for the bar of 2024-01-01 05:00"):
        make_labels(bars, config(), feeds=feeds_of(bars, 100.0).drop(bars.index[5]))


def test_no_change_of_open_interest_touches_a_hole_or_a_filled_bar():
    bars = random_walk(60).assign(segment=(np.arange(60) >= 30).astype(np.int64))
    made = make_labels(bars, config(horizon=3), feeds=feeds_of(bars, np.arange(100.0, 160.0)))
    assert made["open_interest_change"].notna().equals(made["signal"].notna())


def slow_uniqueness(start, end):
    edges = sorted({*start, *end})
    out = []
    for s, e in zip(start, end, strict=True):
        cells = [(a, b) for a, b in pairwise(edges) if a >= s and b <= e]
        shares = [(b - a) / sum(x <= a and y >= b for x, y in zip(start, end, strict=True)) for a, b in cells]
        out.append(sum(shares) / (e - s))
    return out


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ([0, 10, 20], [5, 15, 25], [1, 1, 1]),
        ([0, 0], [4, 4], [0.5, 0.5]),
        ([0, 2], [4, 6], [0.75, 0.75]),
        ([], [], []),
    ],
)
def test_average_uniqueness_by_hand(start, end, expected):
    np.testing.assert_allclose(average_uniqueness(start, end), expected)


def test_average_uniqueness_equals_the_slow_form():
    rng = np.random.default_rng(3)
    start = rng.integers(0, 50, 30)
    end = start + rng.integers(1, 10, 30)
    np.testing.assert_allclose(average_uniqueness(start, end), slow_uniqueness(start, end))


def test_average_uniqueness_takes_times():
    times = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC")
    np.testing.assert_allclose(average_uniqueness(times, times + 2 * HOUR), slow_uniqueness(range(4), range(2, 6)))


def test_a_label_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="label 1 ends"):
        average_uniqueness([0, 5], [1, 5])
