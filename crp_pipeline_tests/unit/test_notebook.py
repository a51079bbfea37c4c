"""What a notebook user gets in one line."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.errors import DataContractError
from crp_pipeline.notebook import load_features, normalize, quality
from crp_pipeline.storage import write_parquet
from crp_pipeline_tests.random_walk import random_walk


def frame(n=100, start="2024-01-01", seed=0, scale=1.0):
    index = pd.date_range(start, periods=n, freq="h", tz="UTC", name="open_time", unit="ns")
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(5, 3, n) * scale, "b": rng.normal(0, 0.1, n) * scale, "flat": 7.0}, index=index)


def test_the_features_of_a_coin_are_those_that_were_stored(tmp_path, monkeypatch):
    stored = frame()
    write_parquet(tmp_path / "features" / "BTC-USDT.parquet", stored)
    assert_frame_equal(load_features("BTC-USDT", data_dir=tmp_path), stored, check_freq=False)
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path))
    assert_frame_equal(load_features("BTC-USDT"), stored, check_freq=False)


def test_a_coin_without_features_is_named(tmp_path):
    with pytest.raises(DataContractError, match=r"features/ETH-USDT.parquet cannot be read"):
        load_features("ETH-USDT", data_dir=tmp_path)


def test_the_scale_is_that_of_the_train_frame_alone():
    train, later, wild = frame(), frame(start="2024-02-01", seed=1), frame(start="2024-02-01", seed=1, scale=100)
    scaled, other = normalize(train, later)
    np.testing.assert_allclose(scaled[["a", "b"]].mean(), 0, atol=1e-12)
    np.testing.assert_allclose(scaled[["a", "b"]].std(ddof=0), 1)
    assert_frame_equal(normalize(train, wild)[0], scaled)
    np.testing.assert_allclose(other["a"], (later["a"] - train["a"].mean()) / train["a"].std(ddof=0))
    assert (scaled["flat"] == 0).all()
    assert (other["flat"] == 0).all()


def test_what_is_missing_stays_missing():
    train = frame()
    train.iloc[3, 0] = np.nan
    assert normalize(train)[0].isna().sum().tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            frame(start="2024-01-02"),
            "frame 1 begins at 2024-01-02 .* before the frame to learn the scale from ends at 2024-01-05",
        ),
        (frame(start="2024-02-01").rename(columns={"a": "c"}), "frame 1 has other columns"),
    ],
)
def test_a_frame_that_is_not_later_or_not_alike_is_refused(other, message):
    with pytest.raises(DataContractError, match=message):
        normalize(frame(), other)


@pytest.mark.parametrize(("freq", "interval"), [("1h", "1h"), ("5min", "5m"), ("1D", "1d")])
def test_quality_knows_the_interval_and_finds_what_is_missing(freq, interval):
    whole = random_walk(400, freq=freq)
    assert quality(whole).findings == ()
    holed = whole.drop(whole.index[100:110])
    assert quality(holed).to_frame().equals(quality(holed, interval=interval).to_frame())
    [gap] = [finding for finding in quality(holed.iloc[::-1]).findings if finding.kind == "gap"]
    assert gap.count == 10


@pytest.mark.parametrize(
    ("candles", "step"), [(random_walk(40, freq="7min"), "a step of 0 days 00:07:00"), (random_walk(1), "no step")]
)
def test_an_interval_of_no_house_must_be_said(candles, step):
    with pytest.raises(DataContractError, match=f"candles have {step}, which is none of 1m, 5m"):
        quality(candles)
