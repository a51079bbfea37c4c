"""A registry that release 0.1.0 wrote is read, verified and carried on, whatever words later code would choose."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crp_pipeline.gate.verdict import Finding
from crp_pipeline.registry import Pointers, Registry
from crp_pipeline.registry.card import verdict_of
from crp_pipeline.replay.settings import settings_on_card

COIN = "BTC-USDT"
FIRST, SECOND, REJECTED, SHADOW = "1cbe2685b88fcfef", "38a02d3979ad999b", "39275f66ea79b337", "216932c56f3067da"
NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def book(tmp_path):
    return Registry(shutil.copytree(Path(__file__).parent / "data" / "registry", tmp_path / "registry"))


@pytest.fixture(params=["the same words", "other words"])
def _words(request, monkeypatch):
    if request.param == "other words":
        monkeypatch.setattr(Finding, "sentence", property(lambda it: f"{it.criterion.name} was measured"))
        monkeypatch.setattr(Finding, "waiver", property(lambda it: "loosened" if it.criterion.is_waived(it.value) else ""))


@pytest.mark.usefixtures("_words")
@pytest.mark.parametrize("from_the_beginning", [False, True])
def test_it_is_read_verified_and_carried_on(from_the_beginning, book):
    if from_the_beginning:
        (book.root / COIN / "journal.checkpoint").unlink()
    book.verify(COIN)
    assert book.champion(COIN) == SECOND
    assert book.pointers(COIN) == Pointers(SECOND, SHADOW, SHADOW)
    assert book.rollback(COIN, now=NOW) == FIRST
    book.promote(COIN, SECOND, verdict_of(book.card(COIN, SECOND)), again=True, now=NOW)
    assert book.champion(COIN) == SECOND
    book.verify(COIN)


@pytest.mark.usefixtures("_words")
def test_its_verdicts_keep_their_words(book):
    told = {version: verdict_of(book.card(COIN, version)) for version in (FIRST, SECOND, REJECTED, SHADOW)}
    assert {version: str(verdict.outcome) for version, verdict in told.items()} == {
        FIRST: "PROMOTE",
        SECOND: "PROMOTE",
        REJECTED: "REJECT",
        SHADOW: "SHADOW",
    }
    assert told[REJECTED].reason == "gain is -1, needs > 0"
    assert told[SECOND].stamp == "promoted without evidence: trades is 150, the house asks for >= 200"
    assert told[FIRST].badges == ("gain",)


def test_its_settings_are_settings_of_this_code(book):
    assert settings_on_card(book.card(COIN, FIRST), COIN, None)[1] == ()
