"""Features next to TA-Lib itself: its frozen values of data/README.md, and the installed library called directly."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from crp_pipeline.features import CATALOG, Bars
from crp_pipeline.features import momentum as m
from crp_pipeline.features import trend as t
from crp_pipeline.features import volatility as v
from crp_pipeline.features import volume as u
from crp_pipeline.features.rolling import shift
from crp_pipeline_tests.random_walk import random_walk

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "talib_indicators.json").read_text())["indicators"]
SAMPLE = pd.read_csv(DATA / "ohlcv_sample.csv", parse_dates=["ts"], index_col="ts")


def bars_of(candles):
    columns = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in ("open", "high", "low", "close", "volume"))
    return Bars(*columns, open_time=pd.DatetimeIndex(candles.index), interval=candles.index[1] - candles.index[0])


BARS = bars_of(SAMPLE)
H, L, C, V = BARS.high, BARS.low, BARS.close, BARS.volume
LIVE = {
    "SMA_20": talib.SMA(C, 20),
    "EMA_20": talib.EMA(C, 20),
    "WMA_14": talib.WMA(C, 14),
    "DEMA_20": talib.DEMA(C, 20),
    "RSI_14": talib.RSI(C, 14),
    "MACD": talib.MACD(C)[0],
    "MACD_hist": talib.MACD(C)[2],
    "BB_upper": talib.BBANDS(C, 20)[0],
    "BB_mid": talib.BBANDS(C, 20)[1],
    "BB_lower": talib.BBANDS(C, 20)[2],
    "NATR_14": talib.NATR(H, L, C, 14),
    "TRANGE": talib.TRANGE(H, L, C),
    "ADX_14": talib.ADX(H, L, C, 14),
    "PLUS_DI_14": talib.PLUS_DI(H, L, C, 14),
    "MINUS_DI_14": talib.MINUS_DI(H, L, C, 14),
    "STOCH_k": talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[0],
    "STOCH_d": talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[1],
    "CCI_20": talib.CCI(H, L, C, 20),
    "WILLR_14": talib.WILLR(H, L, C, 14),
    "MFI_14": talib.MFI(H, L, C, V, 14),
    "OBV": talib.OBV(C, V),
    "AD": talib.AD(H, L, C, V),
    "ADOSC": talib.ADOSC(H, L, C, V),
    "ROC_10": talib.ROC(C, 10),
    "MOM_10": talib.MOM(C, 10),
    "STDDEV_20": talib.STDDEV(C, 20),
    "LINREG_SLOPE_14": talib.LINEARREG_SLOPE(C, 14),
    "AROON_up": talib.AROON(H, L, 14)[1],
    "AROON_down": talib.AROON(H, L, 14)[0],
    "TRIX_15": talib.TRIX(C, 15),
    "ULTOSC": talib.ULTOSC(H, L, C),
    "STOCHRSI_k": talib.STOCHRSI(C, 14, 5, 3)[0],
}


def total(values, window):
    return pd.Series(values).rolling(window).sum().to_numpy()


# feature, and the same from indicators `i`, which are (n,) and NaN where unknown
RECONSTRUCTED = [
    (t.distance_to_sma(20), lambda i: C / i["SMA_20"] - 1),
    (t.distance_to_ema(20), lambda i: C / i["EMA_20"] - 1),
    (t.distance_to_wma(14), lambda i: C / i["WMA_14"] - 1),
    (t.distance_to_dema(20), lambda i: C / i["DEMA_20"] - 1),
    (t.macd_line(12, 26, 9), lambda i: i["MACD"] / C),
    (t.macd_histogram(12, 26, 9), lambda i: i["MACD_hist"] / C),
    (t.adx(14), lambda i: i["ADX_14"] / 100),
    (t.directional_difference(14), lambda i: (i["PLUS_DI_14"] - i["MINUS_DI_14"]) / 100),
    (t.plus_di(14), lambda i: i["PLUS_DI_14"] / 100),
    (t.minus_di(14), lambda i: i["MINUS_DI_14"] / 100),
    (t.aroon_up(14), lambda i: i["AROON_up"] / 100),
    (t.aroon_down(14), lambda i: i["AROON_down"] / 100),
    (t.aroon_oscillator(14), lambda i: (i["AROON_up"] - i["AROON_down"]) / 100),
    (t.regression_slope(14), lambda i: i["LINREG_SLOPE_14"] / C),
    (t.trix(15), lambda i: i["TRIX_15"]),
    (m.rsi(14), lambda i: i["RSI_14"] / 100 - 0.5),
    (m.rate_of_change(10), lambda i: i["ROC_10"] / 100),
    (m.rate_of_change(10), lambda i: i["MOM_10"] / shift(C, 10)),
    (m.log_return(10), lambda i: np.log1p(i["ROC_10"] / 100)),
    (m.stochastic_k(14, 3), lambda i: i["STOCH_k"] / 100),
    (m.stochastic_d(14, 3), lambda i: i["STOCH_d"] / 100),
    (m.williams_r(14), lambda i: i["WILLR_14"] / 100),
    (m.commodity_channel_index(20), lambda i: i["CCI_20"] / 100),
    (m.ultimate_oscillator(7, 14, 28), lambda i: i["ULTOSC"] / 100),
    (m.stochastic_rsi(14, 5), lambda i: i["STOCHRSI_k"] / 100),
    (v.bollinger_width(20), lambda i: (i["BB_upper"] - i["BB_lower"]) / i["BB_mid"]),
    (v.bollinger_position(20), lambda i: (C - i["SMA_20"]) / i["STDDEV_20"]),
    (v.average_true_range(14), lambda i: i["NATR_14"] / 100),
    (v.true_range_ratio(14), lambda i: i["TRANGE"] / (total(LIVE["TRANGE"], 14) / 14)),
    (u.money_flow_index(14), lambda i: i["MFI_14"] / 100 - 0.5),
    (u.signed_volume(50), lambda i: (i["OBV"] - shift(i["OBV"], 50)) / total(V, 50)),
    (u.chaikin_money_flow(50), lambda i: (i["AD"] - shift(i["AD"], 50)) / total(V, 50)),
    (u.chaikin_oscillator(3, 10, 24), lambda i: i["ADOSC"] / (total(V, 24) / 24)),
]


def frozen(name):
    values = np.full(len(SAMPLE), np.nan)
    for row, value in GOLDEN[name]["at"].items():
        values[int(row)] = value
    return values


FROZEN = {name: frozen(name) for name in LIVE}
each = pytest.mark.parametrize(("feature", "formula"), RECONSTRUCTED, ids=lambda case: getattr(case, "name", ""))


@each
def test_feature_equals_the_frozen_values(feature, formula):
    expected = formula(FROZEN)
    rows = np.flatnonzero(np.isfinite(expected))
    assert len(rows) >= 4
    np.testing.assert_allclose(feature.compute(BARS)[rows], expected[rows], rtol=1e-9, atol=1e-12)


@each
def test_feature_equals_talib_on_every_row(feature, formula):
    values, expected = feature.compute(BARS), formula(LIVE)
    is_known = np.isfinite(expected)
    assert np.isfinite(values[feature.lookback - 1 :]).all()
    # talib.STOCH waits for %D before it gives %K, and a change of a running total has one bar more behind it
    assert is_known[feature.lookback + 1 :].all()
    np.testing.assert_allclose(values[is_known], expected[is_known], rtol=1e-9, atol=1e-11)


def mean(values, window):
    return total(values, window) / window


def bollinger_width(b, window):
    upper, middle, lower = talib.BBANDS(b.close, window)
    return (upper - lower) / middle


def keltner_width(b, window):
    return 3 * mean(talib.TRANGE(b.high, b.low, b.close), window)


def growth_over_sum(percent):
    """(now - before) / (now + before) from the growth in percent."""
    return percent / (200 + percent)


def cloud(b):
    span_a = (talib.MIDPRICE(b.high, b.low, 9) + talib.MIDPRICE(b.high, b.low, 26)) / 2
    return shift(span_a, 26), shift(talib.MIDPRICE(b.high, b.low, 52), 26)


# feature of the catalogue, and the same from the installed library
BACKED = {
    "distance_to_sma_10": lambda b: b.close / talib.SMA(b.close, 10) - 1,
    "distance_to_sma_20": lambda b: b.close / talib.SMA(b.close, 20) - 1,
    "distance_to_sma_50": lambda b: b.close / talib.SMA(b.close, 50) - 1,
    "distance_to_sma_100": lambda b: b.close / talib.SMA(b.close, 100) - 1,
    "distance_to_sma_200": lambda b: b.close / talib.SMA(b.close, 200) - 1,
    "distance_to_ema_12": lambda b: b.close / talib.EMA(b.close, 12) - 1,
    "distance_to_ema_26": lambda b: b.close / talib.EMA(b.close, 26) - 1,
    "distance_to_wma_14": lambda b: b.close / talib.WMA(b.close, 14) - 1,
    "distance_to_dema_20": lambda b: b.close / talib.DEMA(b.close, 20) - 1,
    "distance_to_tema_15": lambda b: b.close / talib.TEMA(b.close, 15) - 1,
    "distance_to_t3_12": lambda b: b.close / talib.T3(b.close, 12, 0.7) - 1,
    "distance_to_trima_30": lambda b: b.close / talib.TRIMA(b.close, 30) - 1,
    "distance_to_hma_20": lambda b: b.close / talib.HMA(b.close, 20) - 1,
    "sma_cross_10_50": lambda b: talib.SMA(b.close, 10) / talib.SMA(b.close, 50) - 1,
    "sma_cross_20_100": lambda b: talib.SMA(b.close, 20) / talib.SMA(b.close, 100) - 1,
    "sma_slope_20_5": lambda b: talib.ROCP(talib.SMA(b.close, 20), 5),
    "ema_slope_20_5": lambda b: talib.ROCP(talib.EMA(b.close, 20), 5),
    "macd_line_12_26_9": lambda b: talib.MACD(b.close, 12, 26, 9)[0] / b.close,
    "macd_histogram_12_26_9": lambda b: talib.MACD(b.close, 12, 26, 9)[2] / b.close,
    "adx_10": lambda b: talib.ADX(b.high, b.low, b.close, 10) / 100,
    "plus_di_14": lambda b: talib.PLUS_DI(b.high, b.low, b.close, 14) / 100,
    "minus_di_14": lambda b: talib.MINUS_DI(b.high, b.low, b.close, 14) / 100,
    "directional_difference_14": lambda b: (
        (talib.PLUS_DI(b.high, b.low, b.close, 14) - talib.MINUS_DI(b.high, b.low, b.close, 14)) / 100
    ),
    "vortex_difference_14": lambda b: np.subtract(*talib.VORTEX(b.high, b.low, b.close, 14)),
    "aroon_oscillator_14": lambda b: talib.AROONOSC(b.high, b.low, 14) / 100,
    "aroon_up_25": lambda b: talib.AROON(b.high, b.low, 25)[1] / 100,
    "aroon_down_25": lambda b: talib.AROON(b.high, b.low, 25)[0] / 100,
    "regression_slope_14": lambda b: talib.LINEARREG_SLOPE(b.close, 14) / b.close,
    "regression_slope_48": lambda b: talib.LINEARREG_SLOPE(b.close, 48) / b.close,
    "distance_to_regression_48": lambda b: b.close / talib.LINEARREG(b.close, 48) - 1,
    "trend_correlation_48": lambda b: talib.CORREL(b.close, np.arange(len(b), dtype=float), 48),
    "trix_15": lambda b: talib.TRIX(b.close, 15),
    "ichimoku_cross_9_26": lambda b: (talib.MIDPRICE(b.high, b.low, 9) - talib.MIDPRICE(b.high, b.low, 26)) / b.close,
    "ichimoku_line_distance_9": lambda b: (b.close - talib.MIDPRICE(b.high, b.low, 9)) / b.close,
    "ichimoku_line_distance_26": lambda b: (b.close - talib.MIDPRICE(b.high, b.low, 26)) / b.close,
    "ichimoku_cloud_thickness_9_26_52": lambda b: np.subtract(*cloud(b)) / b.close,
    "vertical_horizontal_filter_48": lambda b: talib.VHF(b.close, 48),
    "rate_of_change_10": lambda b: talib.ROCP(b.close, 10),
    "rsi_7": lambda b: talib.RSI(b.close, 7) / 100 - 0.5,
    "rsi_14": lambda b: talib.RSI(b.close, 14) / 100 - 0.5,
    "rsi_change_10_5": lambda b: talib.MOM(talib.RSI(b.close, 10), 5) / 100,
    "stochastic_rsi_10_14": lambda b: talib.STOCHRSI(b.close, 10, 14, 1)[0] / 100,
    "stochastic_k_14_3": lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[0] / 100,
    "stochastic_d_14_3": lambda b: talib.STOCH(b.high, b.low, b.close, 14, 3, 0, 3, 0)[1] / 100,
    "williams_r_14": lambda b: talib.WILLR(b.high, b.low, b.close, 14) / 100,
    "williams_r_48": lambda b: talib.WILLR(b.high, b.low, b.close, 48) / 100,
    "commodity_channel_index_20": lambda b: talib.CCI(b.high, b.low, b.close, 20) / 100,
    "ultimate_oscillator_7_14_28": lambda b: talib.ULTOSC(b.high, b.low, b.close, 7, 14, 28) / 100,
    "awesome_oscillator_5_34": lambda b: talib.AO(b.high, b.low, 5, 34) / b.close,
    "balance_of_power_14": lambda b: talib.SMA(talib.BOP(b.open, b.high, b.low, b.close), 14),
    "true_strength_index_24_12": lambda b: talib.TSI(b.close, 24, 12) / 100,
    "average_true_range_14": lambda b: talib.ATR(b.high, b.low, b.close, 14) / b.close,
    "true_range_ratio_14": lambda b: talib.TRANGE(b.high, b.low, b.close) / mean(talib.TRANGE(b.high, b.low, b.close), 14),
    "true_range_trend_6_48": lambda b: (
        mean(talib.TRANGE(b.high, b.low, b.close), 6) / mean(talib.TRANGE(b.high, b.low, b.close), 48)
    ),
    "bollinger_width_20": lambda b: bollinger_width(b, 20),
    "bollinger_position_20": lambda b: (b.close - talib.SMA(b.close, 20)) / talib.STDDEV(b.close, 20),
    "squeeze_20": lambda b: bollinger_width(b, 20) * talib.SMA(b.close, 20) / keltner_width(b, 20),
    "chaikin_volatility_10_10": lambda b: growth_over_sum(talib.CVI(b.high, b.low, 10, 10)),
    "mass_index_9_25": lambda b: talib.MASSI(b.high, b.low, 9, 25) / 25 - 1,
    "money_flow_index_14": lambda b: talib.MFI(b.high, b.low, b.close, b.volume, 14) / 100 - 0.5,
    "chaikin_oscillator_3_10": lambda b: talib.ADOSC(b.high, b.low, b.close, b.volume, 3, 10) / mean(b.volume, 24),
    "body_share": lambda b: talib.BOP(b.open, b.high, b.low, b.close),
    "engulfing": lambda b: talib.CDLENGULFING(b.open, b.high, b.low, b.close) / 100.0,
}
BY_NAME = {feature.name: feature for feature in CATALOG}
CANDLES = {"sample": BARS, "walk": bars_of(random_walk(700, seed=31))}


def test_thirty_features_of_the_catalogue_are_backed_by_talib():
    assert len(set(BACKED) & set(BY_NAME)) == len(BACKED) >= 30


@pytest.mark.parametrize("candles", CANDLES)
@pytest.mark.parametrize("name", BACKED)
def test_feature_of_the_catalogue_equals_talib_on_every_row(name, candles):
    bars, feature = CANDLES[candles], BY_NAME[name]
    values, expected = feature.compute(bars)[feature.lookback - 1 :], BACKED[name](bars)[feature.lookback - 1 :]
    # talib.STOCH gives %K on the row of the first %D, talib.ULTOSC and talib.MFI want a bar more than they read
    assert np.isfinite(values).all()
    assert np.isfinite(expected[2:]).all()
    is_known = np.isfinite(expected)
    np.testing.assert_allclose(values[is_known], expected[is_known], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", LIVE)
def test_the_installed_talib_gives_the_frozen_values(name):
    rows = np.flatnonzero(np.isfinite(FROZEN[name]))
    assert rows.tolist() == [50, 100, 150, 200, 250, 299]
    np.testing.assert_allclose(LIVE[name][rows], FROZEN[name][rows], rtol=1e-9)
    assert np.isnan(LIVE[name]).sum() == GOLDEN[name]["n_nan"]
    np.testing.assert_allclose(np.nansum(LIVE[name]), GOLDEN[name]["sum_valid"], rtol=1e-9)
