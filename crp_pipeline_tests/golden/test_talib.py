"""Features reconstructed from TA-Lib's own values: the frozen ones of data/README.md, and those of the installed library."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from crp_pipeline.features import Bars
from crp_pipeline.features import momentum as m
from crp_pipeline.features import trend as t
from crp_pipeline.features import volatility as v
from crp_pipeline.features import volume as u
from crp_pipeline.features.rolling import shift

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "talib_indicators.json").read_text())["indicators"]
SAMPLE = pd.read_csv(DATA / "ohlcv_sample.csv", parse_dates=["ts"], index_col="ts")
OHLCV = (SAMPLE[column].to_numpy(np.float64) for column in ("open", "high", "low", "close", "volume"))
BARS = Bars(*OHLCV, open_time=pd.DatetimeIndex(SAMPLE.index), interval=pd.Timedelta("15min"))
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


@pytest.mark.parametrize("name", LIVE)
def test_the_installed_talib_gives_the_frozen_values(name):
    rows = np.flatnonzero(np.isfinite(FROZEN[name]))
    assert rows.tolist() == [50, 100, 150, 200, 250, 299]
    np.testing.assert_allclose(LIVE[name][rows], FROZEN[name][rows], rtol=1e-9)
    assert np.isnan(LIVE[name]).sum() == GOLDEN[name]["n_nan"]
    np.testing.assert_allclose(np.nansum(LIVE[name]), GOLDEN[name]["sum_valid"], rtol=1e-9)
