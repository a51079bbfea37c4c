"""Whole nights that are killed, that run side by side, that fail and are re-executed, and that meet bad data."""

import json
import re
import shutil
from pathlib import Path

import pytest

from crp_pipeline.ledger import Ledger
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.kill_points import Point, contents
from crp_pipeline_tests.e2e.nights import EDGE, FIRST, HISTORY, NOISE, Night, Nights

pytestmark = pytest.mark.slow

POINTS = (
    Point("in the middle of storing the candles", "flush", rf"candles/\.{EDGE}\.parquet\.new", is_torn=True),
    Point("between a final model and its forecasts", "flush", rf"models/{EDGE}/\.lightgbm\.parquet\.new"),
    Point("between a line of the ledger and its head", "rename", rf"ledger/{EDGE}/trials\.head", nth=2),
    Point("between the stack and its decisions", "flush", rf"ensemble/\.{EDGE}\.parquet\.new"),
    Point("between the journal and the pointers", "rename", rf"registry/{EDGE}/champion\.json", nth=2),
    Point("while the report is written", "flush", rf"reports/\.{EDGE}\.html\.new", is_torn=True),
    Point("while Dagster writes an event", "insert into event_logs", rf"{HISTORY}/.*", nth=150),
    Point("while Dagster writes that a run began", "update runs set", rf"{HISTORY}/.*", nth=6),
)
AFTER_THE_PROMOTION = re.compile(rf"gate/{EDGE}\.json|shadow/{EDGE}\.parquet|reports/.*|summary/.*")
"""What a night says otherwise that finds its own candidate on the throne."""
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


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_night_that_is_killed_loses_nothing_and_a_plain_rerun_ends_as_an_undisturbed_one(point, nights, root, second):
    assert nights.run(Night(str(root), fatal=point)) == [-9], log_of(root)
    check_whole(root)
    assert nights.run(Night(str(root))) == [0], log_of(root)
    check_same(root, second)
    assert litter(root) == []


def check_same(root, second):
    """The same version of the same bytes reigns; only a verdict that finds its own candidate on the throne says so."""
    differing = difference(results(root), results(second))
    is_judged_again = f"gate/{EDGE}.json" in differing
    assert [name for name in differing if not (is_judged_again and AFTER_THE_PROMOTION.match(name))] == []
    assert journal(root) == journal(second)
    assert verdict_of(root)["outcome"] == verdict_of(second)["outcome"]


def journal(root):
    return Registry(root / "registry").history(EDGE)


def verdict_of(root, coin=EDGE):
    return json.loads((root / "gate" / f"{coin}.json").read_text())


def litter(root):
    return [path for path in root.rglob(".*") if path.name.endswith((".new", ".old"))]


def test_two_nights_at_once_end_as_one(nights, root, second):
    assert nights.run(Night(str(root)), Night(str(root))) == [0, 0], log_of(root)
    check_same(root, second)
    assert litter(root) == []


def test_two_first_nights_of_different_coins_at_once_leave_a_sound_candidate_of_each(nights, tmp_path):
    """The second coin's closes may come after the first one's market: each verdict is about what its models were made of."""
    root = tmp_path / "data"
    both = {"clock": FIRST, "coins": (EDGE, NOISE)}
    assert nights.run(*(Night(str(root), asked=(coin,), **both) for coin in (EDGE, NOISE))) == [0, 0], log_of(root)
    for coin in (EDGE, NOISE):
        findings = {finding["name"]: finding["passed"] for finding in verdict_of(root, coin)["findings"]}
        assert findings["mismatched_ingredients"]
        Registry(root / "registry").verify(coin)
        Ledger(root / "ledger").verify(coin)


def test_a_night_that_failed_is_finished_by_re_executing_it_from_there(nights, root, second):
    assert nights.run(Night(str(root), fails_once=True)) == [0], log_of(root)
    check_same(root, second)


def test_a_coin_whose_data_goes_bad_after_its_promotion_fails_alone_and_keeps_its_champion(nights, root):
    places, before = Places(root), results(root)
    champion = Registry(root / "registry").champion(EDGE)
    assert nights.run(Night(str(root), coins=(EDGE, NOISE), spoilt=EDGE)) == [1], log_of(root)
    assert Registry(root / "registry").champion(EDGE) == champion
    changed = {name for name in difference(before, results(root)) if EDGE in name}
    assert changed == set(), "what was stored of the coin stays as it was"
    table = read_parquet(places.frame("summary")).set_index("coin")
    assert table.loc[EDGE, "verdict"] == "NO VERDICT"
    assert table.loc[EDGE, "failed first"] == "the run failed at candles"
    assert champion[:7] in table.loc[EDGE, "champion"]
    assert table.loc[NOISE, "verdict"] != "NO VERDICT"
