"""Candles through Dagster from an exchange: what is stored, what is reported, and what an outage of the exchange costs."""

from datetime import UTC, datetime

import dagster as dg
import pandas as pd

from crp_pipeline.definitions import floor_plan
from crp_pipeline.settings import LimitsConfig
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.exchange_server import COIN, exchange_of, market_bars

N_BARS = 1_500


def recent_bars() -> pd.DataFrame:
    """Bars up to the hour before this one: the asset goes by the real clock."""
    last = pd.Timestamp(datetime.now(UTC)).floor("h") - pd.Timedelta(hours=2)
    return market_bars(N_BARS, start=str((last - pd.Timedelta(hours=N_BARS - 1)).tz_localize(None)))


def night(settings, instance):
    job = floor_plan(settings).resolve_job_def("nightly_candles")
    return job.execute_in_process(partition_key=COIN, instance=instance, raise_on_error=False)


def check(result, name):
    [found] = [
        event.asset_check_evaluation_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION" and event.asset_check_evaluation_data.check_name == name
    ]
    return found


def test_candles_come_from_the_exchange_and_a_restated_bar_is_reported_and_not_taken(tmp_path):
    bars = recent_bars()
    with exchange_of(bars) as exchange, dg.DagsterInstance.ephemeral() as instance:
        settings = small_settings(tmp_path, source="exchange", coins=(COIN,), exchange=exchange.config())
        first = night(settings, instance)
        assert first.success
        assert check(first, "history_not_rewritten").passed
        stored = read_parquet(tmp_path / "candles" / f"{COIN}.parquet")
        restated = stored.index[-3]
        exchange.bars = bars.copy()
        exchange.bars.loc[restated, "volume"] *= 2
        second = night(settings, instance)
        assert second.success
        assert not check(second, "history_not_rewritten").passed
        assert str(restated) in check(second, "history_not_rewritten").description
    again = read_parquet(tmp_path / "candles" / f"{COIN}.parquet")
    assert again.loc[restated, "volume"] == stored.loc[restated, "volume"] == bars.loc[restated, "volume"]


def test_an_exchange_that_is_down_fails_its_coin_and_leaves_what_is_stored(tmp_path):
    with exchange_of(recent_bars()) as exchange, dg.DagsterInstance.ephemeral() as instance:
        at_once = {"exchange": exchange.config(retries=0), "limits": LimitsConfig(exchange_retries=0)}
        settings = small_settings(tmp_path, source="exchange", coins=(COIN,), **at_once)
        assert night(settings, instance).success
        before = (tmp_path / "candles" / f"{COIN}.parquet").read_bytes()
        exchange.faults.append("503")
        down = night(settings, instance)
    [failure] = [event.step_failure_data.error.cause for event in down.all_events if event.is_step_failure]
    assert COIN in failure.message
    assert (tmp_path / "candles" / f"{COIN}.parquet").read_bytes() == before
