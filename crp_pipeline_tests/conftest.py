"""Fixtures that every room shares."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile(os.environ.get("CRP_HYPOTHESIS", "same"))
"""A build says something about a change only where it asks the same as the build before; `explore` draws anew each time."""


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of real candles; skips where there is none."""
    folder = Path(os.environ.get("CRP_MARKET_DATA", Path(__file__).parents[2] / "shared" / "market"))
    if not folder.is_dir():
        pytest.skip("no real candles: set CRP_MARKET_DATA or put them in ../shared/market")
    return folder


@pytest.fixture(scope="session")
def live_parts(tmp_path_factory):
    """A champion of real features, as `shadows.register` takes it: trained once for all tests of live decisions."""
    from crp_pipeline_tests.live import learned

    return learned(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def a_day(tmp_path_factory, live_parts):
    """A day of live decisions, bar by bar."""
    from crp_pipeline_tests.live import NEXT, LiveCoin

    live = LiveCoin(tmp_path_factory.mktemp("day"), live_parts)
    return [live.at(n_bars).decide() for n_bars in range(NEXT, NEXT + 24)]


@pytest.fixture
def crp(monkeypatch, capsys):
    """Run `crp` with some words: (exit code, stdout, stderr)."""
    from crp_pipeline.cli import main

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crp", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run
