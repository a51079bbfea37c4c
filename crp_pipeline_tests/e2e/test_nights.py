"""Whole nights that are killed, that run side by side, that fail and are re-executed, and that meet bad data."""

import json
import shutil
from pathlib import Path

import pytest

from crp_pipeline.ledger import Ledger
from crp_pipeline.registry import Registry
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.kill_points import Point, contents
from crp_pipeline_tests.e2e.nights import EDGE, FIRST, HISTORY, Night, Nights

pytestmark = pytest.mark.slow

POINTS = (
    Point("in the middle of storing the candles", "flush", rf"candles/\.{EDGE}\.parquet\.new", is_torn=True),
    Point("while a fold's model goes into the record", "exchange|rename", rf"models/{EDGE}/\.record/lightgbm/[0-9a-f]+"),
    Point("between a final model and its forecasts", "flush", rf"models/{EDGE}/\.lightgbm\.parquet\.new"),
    Point("between a line of the ledger and its head", "rename", rf"ledger/{EDGE}/trials\.head", nth=2),
    Point("between the stack and its decisions", "flush", rf"ensemble/\.{EDGE}\.parquet\.new"),
    Point("while the backtest takes its place", "exchange", rf"backtest/{EDGE}"),
    Point("in the middle of a line of the shadow log", "flush", rf"shadow/{EDGE}/decisions\.jsonl", is_torn=True),
    Point("before a version is put in its place", "rename", rf"registry/{EDGE}/versions/[0-9a-f]+"),
    Point("between the journal and the pointers", "rename", rf"registry/{EDGE}/champion\.json", nth=2),
    Point("while the report is written", "flush", rf"reports/\.{EDGE}\.html\.new", is_torn=True),
    Point("while Dagster writes an event", "insert into event_logs", rf"{HISTORY}/.*", nth=150),
    Point("while Dagster writes that a run began", "update runs set", rf"{HISTORY}/.*", nth=6),
)
OF_THE_RUN = (HISTORY, ".turns")
"""What tells of runs and not of results."""


@pytest.fixture(scope="module")
def nights():
    server = Nights()
    yield server
    server.close()


@pytest.fixture(scope="module")
def first(nights, tmp_path_factory):
    """The data folder after a first night, which promoted."""
    root = tmp_path_factory.mktemp("first") / "data"
    assert nights.run(Night(str(root), FIRST)) == [0], log_of(root)
    assert Registry(root / "registry").champion(EDGE) is not None, (root / "gate" / f"{EDGE}.json").read_text()
    return root


@pytest.fixture(scope="module")
def second(nights, first, tmp_path_factory):
    """... and after a second one that nobody disturbed."""
    root = Path(shutil.copytree(first, tmp_path_factory.mktemp("second") / "data"))
    assert nights.run(Night(str(root))) == [0], log_of(root)
    assert [entry.action for entry in Registry(root / "registry").history(EDGE)].count("promote") == 2
    return root


@pytest.fixture
def root(first, tmp_path):
    return Path(shutil.copytree(first, tmp_path / "data"))


def log_of(root):
    return Path(f"{root}.log").read_text()[-3_000:]


def results(root):
    """Hash of everything that a night left, but for what tells of the runs."""
    return contents(root, but=OF_THE_RUN)


def difference(one, other):
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def check_whole(root):
    """Everything that stood is whole and readable."""
    for path in root.rglob("*.parquet"):
        if not any(part.startswith(".") for part in path.relative_to(root).parts):
            read_parquet(path)
    for path in root.rglob("*.json"):
        if not any(part.endswith(".new") for part in path.parts):
            json.loads(path.read_text())
    book = Registry(root / "registry")
    book.verify(EDGE, book.champion(EDGE))
    Ledger(root / "ledger").verify(EDGE)


AFTER_THE_PROMOTION = {f"gate/{EDGE}.json", f"shadow/{EDGE}.parquet"}
"""What a night says otherwise that finds its own candidate on the throne."""


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_night_that_is_killed_loses_nothing_and_a_plain_rerun_ends_as_an_undisturbed_one(point, nights, root, second):
    assert nights.run(Night(str(root), fatal=point)) == [-9], log_of(root)
    check_whole(root)
    assert nights.run(Night(str(root))) == [0], log_of(root)
    differing = difference(results(root), results(second))
    is_after = "pointers" in point.name or "report" in point.name or "Dagster writes that" in point.name
    told_of_the_verdict = {name for name in differing if name.startswith("reports")} | AFTER_THE_PROMOTION
    assert set(differing) <= (told_of_the_verdict if is_after else set()), differing
