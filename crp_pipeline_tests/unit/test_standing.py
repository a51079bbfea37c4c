"""Reign, shadow and a version that was judged before are told from few cards, each read once, however many versions there are.

A journal tells each version's recipe itself, or, where it is from before recipes were told, leaves it to the cards.
"""

import os
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crp_pipeline.gate import Criterion, Outcome, Stage, judge
from crp_pipeline.registry import Registry, ledger_head_of, recipe_of, standing, version_judged, versions
from crp_pipeline.registry.journal import Entry, Journal
from crp_pipeline.registry.standing import CIRCUMSTANCES
from crp_pipeline.registry.state import seats, state_of
from crp_pipeline.storage import write_text

COIN = "BTC-USDT"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
ASKED = (Criterion("trades", ">=", 200, Stage.SKILL), Criterion("champion_margin", ">=", 0, Stage.CHAMPION))
EVIDENCE = {
    Outcome.PROMOTE: {"trades": 300.0, "champion_margin": 1.0},
    Outcome.SHADOW: {"trades": 300.0, "champion_margin": -1.0},
    Outcome.REJECT: {"trades": 10.0, "champion_margin": 1.0},
}


def verdict(outcome, candidate="0", **subject):
    made = judge(EVIDENCE[outcome], ASKED, subject={"coin": COIN, "candidate": candidate, **subject})
    assert made.outcome is outcome
    return made


# a book of cards without files


class Book:
    """Cards and a journal as `standing` asks for them; it tells how often each card was read."""

    def __init__(self, *, is_old=False):
        self.cards, self.entries, self.throne, self.read, self.is_old = {}, [], [], Counter(), is_old

    def add(self, outcome, recipe, candidate="0"):
        version = f"{len(self.cards):016x}"
        found = verdict(outcome, candidate)
        self.cards[version] = {"verdict": found.to_dict(), "recipe": recipe, "feature_set_id": "set"}
        told = "" if self.is_old else recipe_of(self.cards[version])
        self._tell("register", version, f"{found.outcome}: {found.reason}", told)
        if outcome is Outcome.PROMOTE:
            self._tell("promote", version, found.reason)
            self.throne.append(version)
        return version

    def rollback(self):
        if len(self.throne) > 1:
            self.throne.pop()
            self._tell("rollback", self.throne[-1], "by hand")

    def champion(self, coin):
        assert coin == COIN
        return self.throne[-1] if self.throne else None

    def state(self, coin):
        return state_of(coin, self.entries)

    def pointers(self, coin):
        return seats(self.state(coin), lambda version: recipe_of(self.cards[version]))

    def card_alone(self, coin, version):
        assert coin == COIN
        self.read[version] += 1
        return self.cards[version]

    def _tell(self, action, version, reason, recipe=""):
        self.entries.append(Entry(NOW.isoformat(), action, version, reason, "", recipe=recipe))


ADDED = st.tuples(st.sampled_from(list(EVIDENCE)), st.sampled_from("abc"), st.sampled_from("01"))
LIVES = st.lists(st.one_of(ADDED, st.none()), max_size=24)
"""Nights of one coin, each a version of an outcome, a recipe and a candidate; None is a rollback."""


def lived(life, *, is_old=False):
    book = Book(is_old=is_old)
    for night in life:
        book.rollback() if night is None else book.add(*night)
    return book


def naive_reign(book):
    """The journal read from its beginning, line for line."""
    since, on_the_throne = 0, None
    for line, entry in enumerate(book.entries, start=1):
        if entry.action in {"promote", "rollback"}:
            recipe = recipe_of(book.cards[entry.version])
            if recipe != on_the_throne or entry.action == "rollback":
                since = line
            on_the_throne = recipe
    return since


def naive_shadow(book, recipe):
    """The last of all versions that were found good and are of another recipe, by their cards."""
    good = [name for name, card in book.cards.items() if card["verdict"]["outcome"] == "SHADOW" and recipe_of(card) != recipe]
    return good[-1] if good else None


def naive_judged(book, asked):
    """Every card compared with the verdict; of those that may be promoted, the ones that reign or were taken from the throne."""
    rolled_back = set()
    throne = []
    for entry in book.entries:
        if entry.action == "promote":
            throne.append(entry.version)
        if entry.action == "rollback":
            rolled_back.add(throne.pop())
    may_be = set(book.cards) if asked.outcome is not Outcome.PROMOTE else rolled_back | set(throne[-1:])
    same = [
        name
        for name, card in book.cards.items()
        if name in may_be
        and card["verdict"]["outcome"] == asked.outcome
        and card["verdict"]["stamp"] == asked.stamp
        and card["verdict"]["subject"]["candidate"] == asked.subject["candidate"]
    ]
    return same[-1] if same else None


@given(LIVES, st.booleans())
def test_reign_and_shadow_are_those_of_the_whole_journal_and_no_card_is_read_twice(life, is_old):
    book = lived(life, is_old=is_old)
    found = standing(book, COIN)
    assert (found is None) == (not book.throne)
    if found is not None:
        recipe = recipe_of(book.cards[book.throne[-1]])
        shadow = naive_shadow(book, recipe)
        shadow_recipe = None if shadow is None else recipe_of(book.cards[shadow])
        assert (found.champion, found.recipe) == (book.throne[-1], recipe)
        assert (found.reign, found.shadow, found.shadow_recipe) == (naive_reign(book), shadow, shadow_recipe)
    assert max(book.read.values(), default=0) <= is_old


@given(LIVES, st.sampled_from(list(EVIDENCE)), st.sampled_from("012"))
def test_a_version_judged_before_is_the_newest_of_that_candidate_and_no_card_is_read_twice(life, outcome, candidate):
    book = lived(life)
    asked = verdict(outcome, candidate, **dict.fromkeys(CIRCUMSTANCES, "another"))
    assert version_judged(book, COIN, asked) == naive_judged(book, asked)
    assert max(book.read.values(), default=0) <= 1


def test_no_card_of_before_the_reign_and_none_that_was_rejected_is_read_for_who_stands():
    book = lived(
        [(Outcome.PROMOTE, "a", "0"), (Outcome.SHADOW, "c", "0"), (Outcome.PROMOTE, "a", "0"), (Outcome.REJECT, "d", "0")],
        is_old=True,
    )
    before = lived([], is_old=True)
    before.cards, before.entries, before.throne = dict(book.cards), list(book.entries), list(book.throne)
    last = [before.add(Outcome.PROMOTE, recipe) for recipe in "abb"]
    shadow = before.add(Outcome.SHADOW, "c")
    before.add(Outcome.REJECT, "e")
    assert standing(before, COIN).shadow == shadow
    assert set(before.read) == {*last, shadow}


# a registry of files


def fabricated(root, n):
    """A coin with a champion, a shadow and `n` versions that were rejected."""
    book = Registry(root / "registry")
    for number in range(n + 2):
        outcome = (Outcome.PROMOTE, Outcome.SHADOW, Outcome.REJECT)[min(number, 2)]
        found = verdict(outcome, str(number), ledger="1:head")
        write_text(root / "bundle" / "a.txt", str(number))
        card = {"coin": COIN, "verdict": found.to_dict(), "recipe": str(number), "feature_set_id": "set"}
        version = book.register(root / "bundle", card, now=NOW)
        if outcome is Outcome.PROMOTE:
            book.promote(COIN, version, found, now=NOW)
    return book


def effort(book, ask):
    """(directories listed, readings of the journal, cards read, most readings of one card) of a question."""
    listed, journals, cards = [], [], Counter()

    def told(function, note):
        return lambda *args: note(args) or function(*args)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("scandir", "listdir"):
            patch.setattr(os, name, told(getattr(os, name), listed.append))
        patch.setattr(Journal, "read", told(Journal.read, journals.append))
        patch.setattr(versions, "read_manifest", told(versions.read_manifest, cards.update))
        ask(book)
    return len(listed), len(journals), len(cards), max(cards.values(), default=0)


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory):
    """Registries of which one has twice as many rejected versions."""
    return fabricated(tmp_path_factory.mktemp("small"), 8), fabricated(tmp_path_factory.mktemp("large"), 16)


def unheard_of(outcome):
    return lambda book: version_judged(book, COIN, verdict(outcome, "unheard of"))


@pytest.mark.parametrize(
    "ask",
    [
        lambda book: standing(book, COIN),
        lambda book: ledger_head_of(book, COIN),
        unheard_of(Outcome.PROMOTE),
        unheard_of(Outcome.SHADOW),
    ],
    ids=["standing", "ledger_head_of", "a promotion judged before", "a shadow judged before"],
)
def test_twice_as_many_rejected_versions_are_no_more_work(ask, small_and_large):
    small, large = (effort(book, ask) for book in small_and_large)
    assert small == large
    assert small[3] <= 1


def test_a_rejected_candidate_is_looked_for_in_each_rejected_card_once_and_in_no_more_listings(small_and_large):
    small, large = (effort(book, unheard_of(Outcome.REJECT)) for book in small_and_large)
    assert small[:2] == large[:2]
    assert (small[2:], large[2:]) == ((8, 1), (16, 1))


def test_a_card_is_found_without_listing_a_folder(small_and_large):
    latest = small_and_large[0].history(COIN)[-1].version
    assert effort(small_and_large[0], lambda book: book.card_alone(COIN, latest)) == (0, 0, 1, 1)
