"""Fixtures that every room shares."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of real candles; skips where there is none."""
    folder = Path(os.environ.get("CRP_MARKET_DATA", Path(__file__).parents[2] / "shared" / "market"))
    if not folder.is_dir():
        pytest.skip("no real candles: set CRP_MARKET_DATA or put them in ../shared/market")
    return folder
