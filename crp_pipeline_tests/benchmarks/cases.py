"""The two corridors that are measured: a real coin as it is configured, and the small market of the end-to-end tests."""

from pathlib import Path

from crp_pipeline.settings import PipelineSettings, load_settings
from crp_pipeline_tests.benchmarks.market import real_hourly
from crp_pipeline_tests.e2e.corridor import small_settings


def settings_of(data_dir: Path, *, quick: bool) -> PipelineSettings:
    """The small market for `quick`; else real hourly candles, or the demo market where there are none."""
    if quick:
        return small_settings(data_dir)
    folder = real_hourly()
    if folder is None:
        return load_settings(source="demo", coins=(), data_dir=data_dir)
    return load_settings(source="files", files_dir=folder, coins=(), data_dir=data_dir)
