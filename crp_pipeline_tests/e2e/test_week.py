"""A week of nights: new bars each, an outage, a killed machine, a coin of bad data, a promotion and a rollback."""

import shutil
from datetime import timedelta

import pytest

from crp_pipeline.ledger import Ledger
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.tables import to_text
from crp_pipeline_tests.e2e import week
from crp_pipeline_tests.e2e.web_server import PROJECT
from crp_pipeline_tests.e2e.week import BARS_A_DAY, BTC, COINS, ETH, FIRST_NIGHT_BARS, NIGHTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("week")
    shutil.copy(PROJECT / "dagster.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def book(root):
    return Registry(root / "data" / "registry")


@pytest.fixture(scope="module")
def mornings(root, book):
    """What each night left, by its number; the rollback happens an hour after the fifth."""
    found = {}
    with week.market() as exchange:
        for night in range(1, NIGHTS + 1):
            if night == week.KILL:
                assert week.killed_night_of(root, night, exchange) == week.KILLED
            found[night] = week.night_of(root, night, exchange)
            if night == week.ROLLBACK:
                book.rollback(BTC, reason=week.REASON, now=week.clock_of(night) + timedelta(hours=1))
    return found


def test_every_night_ends_and_only_the_coin_in_trouble_is_missing(mornings):
    assert {night: found.failed for night, found in mornings.items() if found.failed} == {
        week.OUTAGE: (ETH,),
        week.BAD_DATA: (ETH,),
    }


def test_each_night_has_its_new_bars_and_what_was_missed_comes_with_the_next(mornings):
    for night, found in mornings.items():
        tonight = FIRST_NIGHT_BARS + (night - 1) * BARS_A_DAY
        expected = {coin: tonight - BARS_A_DAY * (coin in found.failed) for coin in COINS}
        assert found.bars == expected, night


def test_the_fleet_table_comes_every_morning_and_names_every_coin(mornings):
    for night, found in mornings.items():
        print(f"\nnight {night}, {found.at:%Y-%m-%d %H:%M} UTC\n{to_text(found.fleet)}")
        assert list(found.fleet["coin"]) == list(COINS)


def test_the_coin_with_an_edge_is_promoted_in_the_first_night_and_no_other_ever_is(mornings, book):
    assert mornings[1].champions[BTC] is not None
    assert {found.champions[ETH] for found in mornings.values()} == {None}


def test_the_rolled_back_version_does_not_return(mornings, book):
    rolled_back = mornings[week.ROLLBACK].champions[BTC]
    assert {mornings[night].champions[BTC] for night in range(week.ROLLBACK + 1, NIGHTS + 1)}.isdisjoint({rolled_back})


def test_the_journal_tells_who_reigned_each_morning(mornings, book):
    for entry in book.history(BTC):
        print(entry.at, entry.action, entry.version, entry.reason)
    for found in mornings.values():
        reign = book.reign_at(BTC, found.at)
        assert (reign and reign.version) == found.champions[BTC]


def test_nothing_is_corrupt_at_the_end(mornings, book, root):
    for coin in book.coins():
        book.verify(coin)
        assert Ledger(root / "data" / "ledger").trials(coin).n_trials > 0
