"""Features of every family equal SQL window functions: the same definition in another language, on another engine."""

import math
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crp_pipeline.features import CATALOG, Family, compute_features
from crp_pipeline_tests.random_walk import other_coins, random_walk

SAMPLE = Path(__file__).parent / "data" / "ohlcv_sample.csv"
WINDOWS = (2, 4, 6, 9, 10, 12, 14, 20, 24, 26, 48, 50, 96, 168, 200)
BY_NAME = {feature.name: feature for feature in CATALOG}

STEP = """
CREATE TABLE step AS
WITH market AS (
    SELECT t, avg(r) AS m, avg(r > 0) AS rising, avg(r * r) AS square
    FROM (SELECT t, ln(close) - ln(lag(close) OVER (PARTITION BY coin ORDER BY t)) AS r FROM other)
    GROUP BY t
)
SELECT
    bar.*, m, rising, square,
    ln(close) AS x,
    ln(volume) AS v,
    ln(high) - ln(low) AS log_range,
    ln(close) - ln(lag(close) OVER by_time) AS r,
    lag(open) OVER by_time AS open_1, lag(high) OVER by_time AS high_1,
    lag(low) OVER by_time AS low_1, lag(close) OVER by_time AS close_1
FROM bar LEFT JOIN market USING (t)
WINDOW by_time AS (ORDER BY t)
ORDER BY t
"""


def std(value, window):
    return f"sqrt(avg({value} * {value}) OVER {window} - avg({value}) OVER {window} * avg({value}) OVER {window})"


def covariance(one, other, window):
    return f"(avg({one} * {other}) OVER {window} - avg({one}) OVER {window} * avg({other}) OVER {window})"


# in a window `w24` lie the last 24 bars, this one among them, in `before24` the 24 before this one
SQL = {
    "distance_to_sma_10": "close / avg(close) OVER w10 - 1",
    "distance_to_sma_50": "close / avg(close) OVER w50 - 1",
    "distance_to_sma_200": "close / avg(close) OVER w200 - 1",
    "sma_cross_10_50": "avg(close) OVER w10 / avg(close) OVER w50 - 1",
    "efficiency_ratio_20": "sum(r) OVER w20 / sum(abs(r)) OVER w20",
    "ichimoku_cross_9_26": "(max(high) OVER w9 + min(low) OVER w9 - max(high) OVER w26 - min(low) OVER w26) / 2 / close",
    "log_return_1": "r",
    "log_return_24": "x - lag(x, 24) OVER by_time",
    "rate_of_change_10": "close / lag(close, 10) OVER by_time - 1",
    "acceleration_12": "x - 2 * lag(x, 12) OVER by_time + lag(x, 24) OVER by_time",
    "return_over_volatility_12": f"sum(r) OVER w12 / {std('r', 'w12')} / sqrt(12)",
    "up_share_12": "avg(r > 0) OVER w12",
    "williams_r_14": "(close - max(high) OVER w14) / (max(high) OVER w14 - min(low) OVER w14)",
    "realised_volatility_48": std("r", "w48"),
    "realised_volatility_168": std("r", "w168"),
    "volatility_ratio_12_96": f"{std('r', 'w12')} / {std('r', 'w96')}",
    "parkinson_volatility_24": "sqrt(avg(log_range * log_range) OVER w24 / (4 * ln(2)))",
    "true_range_ratio_14": ("(max(high, close_1) - min(low, close_1)) / avg(max(high, close_1) - min(low, close_1)) OVER w14"),
    "downside_share_48": "sum(r * r * (r < 0)) OVER w48 / sum(r * r) OVER w48",
    "range_zscore_48": f"(log_range - avg(log_range) OVER w48) / {std('log_range', 'w48')}",
    "log_volume_deviation_168": "v - avg(v) OVER w168",
    "log_volume_zscore_48": f"(v - avg(v) OVER w48) / {std('v', 'w48')}",
    "log_volume_trend_6_48": "avg(v) OVER w6 - avg(v) OVER w48",
    "traded_share_24": "volume / sum(volume) OVER w24",
    "volume_ratio_6_24": "avg(volume) OVER w6 / avg(volume) OVER w24",
    "volume_concentration_24": "sum(volume * volume) OVER w24 / (sum(volume) OVER w24 * sum(volume) OVER w24)",
    "signed_volume_12": "sum(sign(r) * volume) OVER w12 / sum(volume) OVER w12",
    "vwap_distance_24": "close * sum(volume) OVER w24 / sum((high + low + close) / 3 * volume) OVER w24 - 1",
    "chaikin_money_flow_20": "sum((2 * close - high - low) / (high - low) * volume) OVER w20 / sum(volume) OVER w20",
    "volume_weighted_return_24": f"sum(r * volume) OVER w24 / sum(volume) OVER w24 / {std('r', 'w24')}",
    "illiquidity_ratio_12_96": "avg(abs(r) / (close * volume)) OVER w12 / avg(abs(r) / (close * volume)) OVER w96",
    "body_share": "(close - open) / (high - low)",
    "channel_position_24": "(close - min(low) OVER w24) / (max(high) OVER w24 - min(low) OVER w24)",
    "breakout_up_24": "close / max(high) OVER before24 - 1",
    "drawdown_96": "close / max(close) OVER w96 - 1",
    "recovery_96": "close / min(close) OVER w96 - 1",
    "inside_bar_share_24": "avg(high <= high_1 AND low >= low_1) OVER w24",
    "swing_balance_24": "avg((high > high_1 AND low > low_1) - (high < high_1 AND low < low_1)) OVER w24",
    "wick_balance_12": ("sum(min(open, close) - low - (high - max(open, close))) OVER w12 / sum(high - low) OVER w12"),
    "gap_share_24": "sum(abs(open - close_1)) OVER w24 / sum(max(high, close_1) - min(low, close_1)) OVER w24",
    "price_zscore_96": f"(x - avg(x) OVER w96) / {std('x', 'w96')}",
    "return_zscore_48": f"(r - avg(r) OVER w48) / {std('r', 'w48')}",
    "largest_move_share_24": "max(abs(r)) OVER w24 / sum(abs(r)) OVER w24",
    "hour_sine": "sin(2 * pi() * (closes % 86400) / 86400.0)",
    "is_weekend": "strftime('%w', closes, 'unixepoch') IN ('0', '6')",
    "time_to_funding": "1 - (closes % 28800) / 28800.0",
    "month_position": (
        "(closes - strftime('%s', closes, 'unixepoch', 'start of month')) * 1.0"
        " / (strftime('%s', closes, 'unixepoch', 'start of month', '+1 month')"
        " - strftime('%s', closes, 'unixepoch', 'start of month'))"
    ),
    "market_return_24": "sum(m) OVER w24",
    "relative_strength_24": "sum(r - m) OVER w24",
    "market_correlation_96": f"{covariance('r', 'm', 'w96')} / {std('r', 'w96')} / {std('m', 'w96')}",
    "market_beta_24": f"{covariance('r', 'm', 'w24')} / {covariance('m', 'm', 'w24')}",
    "downside_beta_96": "sum(r * m * (m < 0)) OVER w96 / sum(m * m * (m < 0)) OVER w96",
    "market_breadth_12": "avg(rising) OVER w12",
    "market_cohesion_48": "sum(m * m) OVER w48 / sum(square) OVER w48",
}


def _of_numbers(function):
    return lambda *values: None if None in values else function(*values)


def database(candles, market, interval):
    """Bars and closes of the other coins in SQLite, times in seconds since 1970."""
    connection = sqlite3.connect(":memory:")
    # libraries built without SQLite's own mathematics are common
    for name, function in {"ln": math.log, "sqrt": math.sqrt, "sin": math.sin, "sign": np.sign}.items():
        connection.create_function(name, 1, _of_numbers(lambda value, function=function: float(function(value))))
    connection.create_function("pi", 0, lambda: math.pi)
    opens = candles.index.as_unit("s").asi8.tolist()
    closes = [time + int(interval.total_seconds()) for time in opens]
    connection.execute("CREATE TABLE bar (t INTEGER, closes INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL)")
    rows = zip(opens, closes, *(candles[name].tolist() for name in ("open", "high", "low", "close", "volume")), strict=True)
    connection.executemany("INSERT INTO bar VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("CREATE TABLE other (t INTEGER, coin TEXT, close REAL)")
    for coin in market:
        rows = zip(opens, [coin] * len(opens), market[coin].tolist(), strict=True)
        connection.executemany("INSERT INTO other VALUES (?, ?, ?)", rows)
    connection.execute(STEP)
    return connection


def ask(connection, expression):
    windows = [f"w{n} AS (ORDER BY t ROWS BETWEEN {n - 1} PRECEDING AND CURRENT ROW)" for n in WINDOWS]
    windows += ["before24 AS (ORDER BY t ROWS BETWEEN 24 PRECEDING AND 1 PRECEDING)", "by_time AS (ORDER BY t)"]
    query = f"SELECT {expression} FROM step WINDOW {', '.join(windows)} ORDER BY t"
    return np.array([value for (value,) in connection.execute(query)], dtype=np.float64)


@pytest.fixture(scope="module", params=["random walk", "frozen sample"])
def case(request):
    if request.param == "random walk":
        candles = random_walk(700, seed=21)
    else:
        candles = pd.read_csv(SAMPLE, parse_dates=["ts"], index_col="ts")
    market, interval = other_coins(candles), candles.index[1] - candles.index[0]
    table = compute_features(candles, [BY_NAME[name] for name in SQL], market=market)
    return database(candles, market, interval), table


@pytest.mark.parametrize("name", SQL)
def test_a_feature_equals_its_sql(name, case):
    connection, table = case
    ready = slice(BY_NAME[name].bars_needed - 1, None)
    expected = ask(connection, SQL[name])[ready]
    assert len(expected) >= 100
    assert table[name].to_numpy()[ready] == pytest.approx(expected, rel=1e-7, abs=1e-10)


def test_enough_features_of_every_family_are_compared():
    families = [BY_NAME[name].family for name in SQL]
    assert len(SQL) >= 15
    assert set(families) == set(Family)
    assert min(families.count(family) for family in Family) >= 3
