"""Versions that stay what they were, a pointer that only a PROMOTE moves, a journal that cannot be bent unnoticed."""

import hashlib
import json
import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import BundleError, RegistryError
from crp_pipeline.gate import Criterion, Outcome, Stage, judge
from crp_pipeline.models import create_model, save_bundle
from crp_pipeline.provenance import LIBRARIES, code_revision, library_versions
from crp_pipeline.registry import NO_ENTRY, NOBODY, Pointers, Registry, fingerprint, fingerprint_of, gather
from crp_pipeline.storage import MANIFEST, seal, write_json, write_text

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
COIN = "BTC-USDT"
PROMOTED = judge({"trades": 300.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),), subject={"coin": COIN})
REJECTED = judge({"gain": -1.0}, (Criterion("gain", ">", 0, Stage.SKILL),), subject={"coin": COIN})
TOO_LITTLE = judge({"trades": 3.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),), subject={"coin": COIN})


@pytest.fixture
def book(tmp_path):
    return Registry(tmp_path / "registry")


def register(book, content, verdict=PROMOTED, *, coin=COIN, now=NOW, **card):
    """Put a bundle of one file into the registry."""
    bundle = book.root.parent / "candidate"
    shutil.rmtree(bundle, ignore_errors=True)
    write_text(bundle / "models" / "prior.json", content)
    return book.register(bundle, {"coin": coin, "verdict": verdict.to_dict(), **card}, now=now)


def crown(book, content, **kwargs):
    """Register and promote."""
    version = register(book, content, **kwargs)
    book.promote(COIN, version, PROMOTED, now=NOW)
    return version


def actions(book):
    return [(entry.action, entry.version) for entry in book.history(COIN)]


def journal(book):
    return book.root / COIN / "journal.jsonl"


# versions


def test_a_version_keeps_the_bundle_and_its_card(book):
    version = register(book, "trees", data_hash="0a", settings={"horizon": 24})
    card = book.card(COIN, version)
    assert (card["coin"], card["data_hash"], card["settings"]) == (COIN, "0a", {"horizon": 24})
    assert card["verdict"] == PROMOTED.to_dict()
    assert (book.folder(COIN, version) / "models" / "prior.json").read_text() == "trees"
    assert book.coins() == [COIN]


def test_registering_the_same_content_again_changes_nothing(book):
    once = register(book, "trees")
    before = sorted(path.relative_to(book.root) for path in book.root.rglob("*"))
    assert register(book, "trees", now=NOW + timedelta(days=1)) == once
    assert actions(book) == [("register", once)]
    assert sorted(path.relative_to(book.root) for path in book.root.rglob("*")) == before


def test_another_byte_another_card_or_another_verdict_is_another_version(book):
    versions = [
        register(book, "trees"),
        register(book, "trees "),
        register(book, "trees", data_hash="0b"),
        register(book, "trees", REJECTED),
    ]
    assert len(set(versions)) == 4


def judged_against(champion):
    return judge({"trades": 300.0}, (Criterion("trades", ">=", 200),), subject={"coin": COIN, "champion": champion})


def test_of_two_that_were_judged_against_the_same_champion_only_one_follows(book):
    verdicts = judged_against(NOBODY), judged_against(NOBODY)
    first, second = (register(book, content, found) for content, found in zip(("trees", "nets"), verdicts, strict=True))
    book.promote(COIN, first, verdicts[0], now=NOW)
    message = f"{COIN}: the champion was none when the gate judged and is {first}; materialize `gate` again"
    with pytest.raises(RegistryError, match=message):
        book.promote(COIN, second, verdicts[1], now=NOW)
    book.promote(COIN, first, verdicts[0], now=NOW)
    assert (book.champion(COIN), actions(book)[-1]) == (first, ("promote", first))
    third = register(book, "trees and nets", judged_against(first))
    book.promote(COIN, third, judged_against(first), now=NOW)
    assert book.champion(COIN) == third


@pytest.fixture
def sealed(tmp_path):
    """A bundle that came with a manifest of its own."""
    write_text(tmp_path / "sealed" / "a.txt", "a")
    seal(tmp_path / "sealed", {"coin": "ETH-USDT", "model_type": "prior"})
    return tmp_path / "sealed"


def test_the_card_of_a_sealed_bundle_is_kept_within_the_card_of_the_version(book, sealed):
    version = book.register(sealed, {"coin": COIN, "verdict": PROMOTED.to_dict()}, now=NOW)
    assert book.card(COIN, version)["coin"] == COIN
    assert book.card(COIN, version)["bundle"] == {"coin": "ETH-USDT", "model_type": "prior"}


def test_a_sealed_bundle_that_was_altered_is_not_registered(book, sealed):
    write_text(sealed / "a.txt", "b")
    with pytest.raises(BundleError, match=r"a\.txt has been altered"):
        book.register(sealed, {"coin": COIN, "verdict": PROMOTED.to_dict()}, now=NOW)
    assert (book.history(COIN), book.coins()) == ([], [])


def test_a_bundle_that_is_not_there_is_named(book, tmp_path):
    with pytest.raises(RegistryError, match="none is no folder"):
        book.register(tmp_path / "none", {"coin": COIN, "verdict": PROMOTED.to_dict()})


def test_the_moment_is_the_present_unless_it_is_told(book, tmp_path):
    write_text(tmp_path / "bundle" / "a.txt", "a")
    before = datetime.now(UTC).replace(microsecond=0)
    for content in ("a", "b"):
        write_text(tmp_path / "bundle" / "a.txt", content)
        book.promote(COIN, book.register(tmp_path / "bundle", {"coin": COIN, "verdict": PROMOTED.to_dict()}), PROMOTED)
    book.rollback(COIN)
    moments = [datetime.fromisoformat(entry.at) for entry in book.history(COIN)]
    assert before <= min(moments) <= max(moments) <= datetime.now(UTC)
    assert {moment.tzinfo for moment in moments} == {UTC}


def test_a_moment_is_written_in_utc(book):
    register(book, "trees", now=datetime(2024, 5, 1, 2, 15, tzinfo=timezone(timedelta(hours=2))))
    assert book.history(COIN)[0].at == "2024-05-01T00:15:00+00:00"


@pytest.mark.parametrize("missing", ["coin", "verdict"])
def test_a_card_without_coin_or_verdict_is_refused(missing, book, tmp_path):
    card = {"coin": COIN, "verdict": PROMOTED.to_dict()}
    del card[missing]
    with pytest.raises(RegistryError, match=f"must carry its {missing}; this one has "):
        book.register(tmp_path, card, now=NOW)
    assert not book.root.exists()


ALTERED = {**REJECTED.to_dict(), "outcome": "PROMOTE"}
INCOMPLETE = {name: value for name, value in PROMOTED.to_dict().items() if name != "evidence"}


@pytest.mark.parametrize(
    ("card", "says"),
    [
        ({"coin": COIN, "verdict": PROMOTED}, "no verdict"),
        ({"coin": COIN, "verdict": None}, "no verdict"),
        ({"coin": COIN, "verdict": ["PROMOTE"]}, "no verdict"),
        ({"coin": COIN, "verdict": ALTERED}, "no verdict.* does not follow"),
        ({"coin": COIN, "verdict": INCOMPLETE}, "no verdict.*evidence"),
        ({"coin": COIN, "verdict": PROMOTED.to_dict(), "when": NOW}, "cannot be kept as JSON"),
        ({"coin": "ETH-USDT", "verdict": PROMOTED.to_dict()}, "the verdict is about BTC-USDT, the card about ETH-USDT"),
    ],
)
def test_a_card_that_does_not_hold_together_is_refused(card, says, book):
    write_text(book.root.parent / "bundle" / "a.txt", "a")
    with pytest.raises(RegistryError, match=says):
        book.register(book.root.parent / "bundle", card, now=NOW)
    assert not book.root.exists()


def test_a_verdict_that_names_no_coin_may_be_about_any(book):
    anonymous = judge({"trades": 300.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),))
    book.promote(COIN, version := register(book, "trees", anonymous), anonymous)
    assert book.champion(COIN) == version


def test_names_of_the_manifest_in_a_card_do_not_spoil_the_version(book):
    version = register(book, "trees", format=2, files={})
    assert sorted(book.card(COIN, version)["files"]) == ["models/prior.json"]


@pytest.mark.parametrize("coin", ["../outside", "", "btc-usdt", "BTC/USDT", "BTC-USDT\n", "BTC-", "/tmp/BTC", ".BTC", None, 7])
def test_what_is_not_the_name_of_a_coin_is_refused_everywhere(coin, book):
    register(book, "trees")
    before = sorted(book.root.parent.rglob("*"))
    for ask in (
        lambda: register(book, "trees", judge({"a": 1.0}, (Criterion("a", ">", 0),)), coin=coin),
        lambda: book.promote(coin, "0" * 16, PROMOTED),
        lambda: book.rollback(coin),
        lambda: book.champion(coin),
        lambda: book.history(coin),
        lambda: book.verify(coin),
        lambda: book.card(coin, "0" * 16),
        lambda: book.is_rolled_back(coin, "0" * 16),
    ):
        with pytest.raises(RegistryError, match="is not the name of a coin"):
            ask()
    assert sorted(book.root.parent.rglob("*")) == before


@pytest.mark.parametrize("coin", ["BTC", "BTC-USDT", "1INCH_USDT-PERP"])
def test_the_name_of_a_coin_is_letters_and_digits_with_single_dashes(coin, book):
    anonymous = judge({"a": 1.0}, (Criterion("a", ">", 0),))
    register(book, "trees", anonymous, coin=coin)
    assert book.coins() == [coin]


def test_a_version_that_does_not_exist_is_named(book):
    register(book, "trees")
    for version in ("0123", "..", ".new", "../versions"):
        with pytest.raises(RegistryError, match=f"BTC-USDT has no version {version}"):
            book.card(COIN, version)
    with pytest.raises(RegistryError, match="BTC-USDT has no version 0123"):
        book.verify(COIN, "0123")


@pytest.mark.parametrize("others", [True, False])
def test_asking_about_an_unknown_coin_leaves_nothing_behind(others, book):
    if others:
        register(book, "trees")
    before = sorted(book.root.parent.rglob("*"))
    assert (book.champion("ETH-USDT"), book.history("ETH-USDT"), book.is_rolled_back("ETH-USDT", "0")) == (None, [], False)
    for ask in (
        lambda: book.verify("ETH-USDT"),
        lambda: book.rollback("ETH-USDT"),
        lambda: book.promote("ETH-USDT", "0", PROMOTED),
    ):
        with pytest.raises(RegistryError, match="ETH-USDT has no versions"):
            ask()
    assert sorted(book.root.parent.rglob("*")) == before


def test_reading_writes_nothing(book):
    version = crown(book, "trees")
    (book.root / COIN / ".lock").unlink()
    before = sorted(book.root.rglob("*"))
    book.verify(COIN)
    assert (book.champion(COIN), len(book.history(COIN)), book.card(COIN, version)["coin"]) == (version, 2, COIN)
    assert sorted(book.root.rglob("*")) == before


# the pointer


def test_a_coin_begins_without_a_champion(book):
    assert (book.champion(COIN), book.history(COIN)) == (None, [])
    register(book, "trees")
    assert book.champion(COIN) is None


def test_a_promotion_moves_the_pointer_and_is_written_down(book):
    first, second = crown(book, "first"), crown(book, "second")
    assert book.champion(COIN) == second
    assert actions(book) == [("register", first), ("promote", first), ("register", second), ("promote", second)]
    assert [entry.reason for entry in book.history(COIN)][1] == "all 1 criteria hold"
    assert {entry.at for entry in book.history(COIN)} == {"2024-05-01T00:15:00+00:00"}


def test_promoting_the_champion_again_changes_nothing(book):
    version = crown(book, "first")
    book.promote(COIN, version, PROMOTED, now=NOW)
    assert actions(book) == [("register", version), ("promote", version)]


@pytest.mark.parametrize("verdict", [REJECTED, TOO_LITTLE])
def test_a_version_that_is_not_promoted_is_recorded_and_the_champion_stands(verdict, book):
    champion = crown(book, "first")
    rejected = register(book, "second", verdict)
    with pytest.raises(RegistryError, match=f"cannot be promoted on a verdict of {verdict.outcome}"):
        book.promote(COIN, rejected, verdict, now=NOW)
    assert book.champion(COIN) == champion
    assert actions(book)[2:] == [("register", rejected), ("reject", rejected)]
    assert book.history(COIN)[-1].reason == verdict.reason


def test_a_verdict_about_another_version_promotes_nothing(book):
    rejected = register(book, "first", REJECTED)
    with pytest.raises(RegistryError, match="the verdict at hand is not the one"):
        book.promote(COIN, rejected, PROMOTED, now=NOW)
    other = judge({"trades": 301.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),), subject={"coin": COIN})
    assert other.outcome is Outcome.PROMOTE
    with pytest.raises(RegistryError, match="the verdict at hand is not the one"):
        book.promote(COIN, register(book, "second"), other, now=NOW)
    assert book.champion(COIN) is None


def test_coins_have_champions_of_their_own(book):
    version = crown(book, "first")
    register(book, "first", judge({"a": 1.0}, (Criterion("a", ">", 0),)), coin="ETH-USDT")
    assert (book.champion(COIN), book.champion("ETH-USDT")) == (version, None)
    with pytest.raises(RegistryError, match="ETH-USDT has no version"):
        book.promote("ETH-USDT", version, PROMOTED, now=NOW)


def test_a_rollback_brings_back_the_champion_before_and_then_the_one_before_that(book):
    first, second, _ = (crown(book, name) for name in ("first", "second", "third"))
    assert book.rollback(COIN, now=NOW, reason="spread doubled") == second == book.champion(COIN)
    assert book.history(COIN)[-1].reason == "spread doubled"
    assert book.rollback(COIN, now=NOW) == first == book.champion(COIN)
    with pytest.raises(RegistryError, match="no earlier champion"):
        book.rollback(COIN, now=NOW)
    assert book.champion(COIN) == first
    assert actions(book)[-2:] == [("rollback", second), ("rollback", first)]


def test_a_rollback_goes_past_what_was_rolled_back_before(book):
    first, _ = crown(book, "first"), crown(book, "second")
    book.rollback(COIN, now=NOW)
    crown(book, "third")
    assert book.rollback(COIN, now=NOW) == first, "not the second, which had been taken back"


def test_a_rollback_is_not_undone_by_the_next_run(book):
    first, second = crown(book, "first"), crown(book, "second")
    book.rollback(COIN, now=NOW)
    assert (book.is_rolled_back(COIN, first), book.is_rolled_back(COIN, second)) == (False, True)
    assert register(book, "second") == second
    with pytest.raises(RegistryError, match=f"version {second} was rolled back"):
        book.promote(COIN, second, PROMOTED, now=NOW)
    assert book.champion(COIN) == first
    assert actions(book)[-1] == ("rollback", first)


def test_a_version_that_was_rolled_back_is_promoted_when_asked_to_again(book):
    _, second = crown(book, "first"), crown(book, "second")
    book.rollback(COIN, now=NOW)
    book.promote(COIN, second, PROMOTED, again=True, now=NOW)
    assert book.champion(COIN) == second
    assert not book.is_rolled_back(COIN, second)
    book.promote(COIN, second, PROMOTED, now=NOW)
    assert actions(book)[-2:] == [("rollback", actions(book)[0][1]), ("promote", second)]


def test_a_version_that_reigns_anew_through_a_rollback_is_not_rolled_back(book):
    first, second = crown(book, "first"), crown(book, "second")
    book.promote(COIN, first, PROMOTED, now=NOW)
    book.rollback(COIN, now=NOW)
    assert book.is_rolled_back(COIN, first)
    assert book.rollback(COIN, now=NOW) == first
    assert (book.is_rolled_back(COIN, first), book.is_rolled_back(COIN, second)) == (False, True)


def test_there_is_nothing_to_roll_back_to_without_two_champions(book):
    register(book, "first")
    with pytest.raises(RegistryError, match="no earlier champion"):
        book.rollback(COIN, now=NOW)
    crown(book, "first")
    with pytest.raises(RegistryError, match="no earlier champion"):
        book.rollback(COIN, now=NOW)


def point(book, version):
    """Move the pointer by hand."""
    (book.root / COIN / "champion.json").write_text(json.dumps({"version": version}))


@pytest.mark.parametrize("content", ["{", "[]", "null", "{}", '{"version": 7}', '{"version": null}', "\xff"])
def test_a_pointer_that_cannot_be_read_is_an_error_and_no_missing_champion(content, book):
    crown(book, "first")
    (book.root / COIN / "champion.json").write_text(content, encoding="latin-1")
    with pytest.raises(RegistryError, match="does not name a version"):
        book.champion(COIN)


def test_a_pointer_moved_by_hand_is_found(book):
    first, second = crown(book, "first"), crown(book, "second")
    rejected = register(book, "third", REJECTED)
    for version in (first, rejected, "0" * 16):
        point(book, version)
        for ask in (book.verify, book.champion):
            with pytest.raises(RegistryError, match=f"the pointer names {version} as champion, the journal {second}"):
                ask(COIN)


def test_a_pointer_that_was_removed_is_found(book):
    first = crown(book, "first")
    (book.root / COIN / "champion.json").unlink()
    for ask in (book.verify, book.champion):
        with pytest.raises(RegistryError, match=f"the pointer names None as champion, the journal {first}"):
            ask(COIN)


def cut_off(monkeypatch, step, act):
    """The power goes when `act` comes to `step`."""
    with monkeypatch.context() as power:
        power.setattr(step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            act()


STEPS = {
    "the head": "crp_pipeline.registry.journal.write_text",
    "the pointer": "crp_pipeline.registry.pointers.write_json",
    "the folder": "crp_pipeline.registry.versions.move_folder",
}


@pytest.mark.parametrize("step", ["the head", "the pointer"])
def test_a_promotion_that_was_cut_off_is_finished_by_the_next_try(step, book, monkeypatch):
    first, second = crown(book, "first"), register(book, "second")
    cut_off(monkeypatch, STEPS[step], lambda: book.promote(COIN, second, PROMOTED, now=NOW))
    book.promote(COIN, second, PROMOTED, now=NOW)
    book.verify(COIN)
    assert [action for action, _ in actions(book)] == ["register", "promote", "register", "promote"]
    assert book.rollback(COIN, now=NOW) == first


@pytest.mark.parametrize("step", ["the head", "the pointer"])
def test_a_rollback_that_was_cut_off_is_finished_by_the_next_write(step, book, monkeypatch):
    first, second = crown(book, "first"), crown(book, "second")
    cut_off(monkeypatch, STEPS[step], lambda: book.rollback(COIN, now=NOW))
    assert book.is_rolled_back(COIN, second) == (step == "the pointer")
    register(book, "third", REJECTED)
    assert book.champion(COIN) == first
    book.verify(COIN)


@pytest.mark.parametrize("expects", [True, False])
@pytest.mark.parametrize("step", ["the head", "the pointer"])
def test_a_rollback_that_was_cut_off_is_not_done_twice_by_the_next_try(step, expects, book, monkeypatch):
    first, second, third = (crown(book, content) for content in ("first", "second", "third"))
    asked = {"expected": third if expects else None, "now": NOW}
    cut_off(monkeypatch, STEPS[step], lambda: book.rollback(COIN, **asked))
    assert book.rollback(COIN, **asked) == second
    assert [action for action, _ in actions(book)].count("rollback") == 1
    assert book.champion(COIN) == second
    book.verify(COIN)
    assert book.rollback(COIN, now=NOW) == first


def test_whoever_names_the_champion_that_a_cut_off_rollback_brought_back_asks_for_another(book, monkeypatch):
    first, second, third = (crown(book, content) for content in ("first", "second", "third"))
    cut_off(monkeypatch, STEPS["the pointer"], lambda: book.rollback(COIN, expected=third, now=NOW))
    assert book.champion(COIN) == second
    assert book.rollback(COIN, expected=second, now=NOW) == first


@pytest.mark.parametrize("step", ["the head", "the pointer"])
def test_a_promotion_over_an_expected_champion_that_was_cut_off_is_found_done(step, book, monkeypatch):
    first, second = crown(book, "first"), register(book, "second")
    cut_off(monkeypatch, STEPS[step], lambda: book.promote(COIN, second, PROMOTED, expected=first, now=NOW))
    book.promote(COIN, second, PROMOTED, expected=first, now=NOW)
    assert [action for action, _ in actions(book)].count("promote") == 2
    assert book.champion(COIN) == second
    with pytest.raises(RegistryError, match="the champion was expected to be"):
        book.promote(COIN, second, PROMOTED, expected=first, now=NOW)


@pytest.mark.parametrize("step", ["the head", "the pointer"])
def test_an_unpinning_that_was_cut_off_is_found_done(step, book, monkeypatch):
    crown(book, "first")
    watched, newer = register(book, "second", recipe="y"), register(book, "third", recipe="z")
    book.pin(COIN, watched, reason="watch it", now=NOW)
    cut_off(monkeypatch, STEPS[step], lambda: book.unpin(COIN, reason="seen enough", now=NOW))
    book.unpin(COIN, reason="seen enough", now=NOW)
    assert actions(book)[-2:] == [("pin", watched), ("unpin", watched)]
    assert book.pointers(COIN).shadow == newer
    with pytest.raises(RegistryError, match="no version is pinned"):
        book.unpin(COIN, reason="seen enough", now=NOW)


def test_a_promotion_whose_head_has_moved_has_happened_though_its_pointer_has_not(book, monkeypatch):
    """Nobody has to write before a night that was killed there can be run again."""
    _, second = crown(book, "first"), register(book, "second")
    cut_off(monkeypatch, STEPS["the pointer"], lambda: book.promote(COIN, second, PROMOTED, now=NOW))
    assert (book.champion(COIN), book.pointers(COIN)) == (second, Pointers(second))
    book.verify(COIN)
    assert json.loads((book.root / COIN / "champion.json").read_text())["version"] != second, "a read repairs nothing"


@pytest.mark.parametrize("verdict", [PROMOTED, REJECTED])
@pytest.mark.parametrize("step", ["the head", "the folder"])
@pytest.mark.parametrize("next_content", ["first", "second"])
def test_a_registration_that_was_cut_off_is_finished_by_the_next(step, verdict, next_content, book, monkeypatch):
    cut_off(monkeypatch, STEPS[step], lambda: register(book, "first", verdict))
    register(book, next_content, verdict)
    first = register(book, "first", verdict)
    assert actions(book).count(("register", first)) == 1
    assert actions(book).count(("reject", first)) == (verdict is REJECTED)
    book.verify(COIN)


# the journal


@pytest.fixture
def told(book):
    """A journal of five lines: two champions and a rejection."""
    crown(book, "first")
    register(book, "second", REJECTED)
    version = register(book, "third")
    assert len(book.history(COIN)) == 5
    return version


def lines(book):
    return journal(book).read_text().splitlines(keepends=True)


def test_each_line_carries_the_hash_of_the_one_before(told, book):
    stored = lines(book)
    assert book.history(COIN)[0].previous == NO_ENTRY
    for before, entry in zip(stored, book.history(COIN)[1:], strict=False):
        assert entry.previous == hashlib.sha256(before.rstrip("\n").encode()).hexdigest()


@pytest.mark.parametrize("number", range(5))
def test_a_line_that_was_altered_is_found(number, told, book):
    kept = lines(book)
    entry = json.loads(kept[number])
    kept[number] = json.dumps({**entry, "reason": "a better one"}, sort_keys=True) + "\n"
    journal(book).write_text("".join(kept))
    with pytest.raises(RegistryError, match=r"line .* of the journal|the journal ends after line 5"):
        book.history(COIN)


@pytest.mark.parametrize("number", range(5))
def test_a_line_that_was_removed_is_found(number, told, book):
    kept = lines(book)
    del kept[number]
    journal(book).write_text("".join(kept))
    with pytest.raises(RegistryError, match=r"line .* of the journal|the journal ends after line 4"):
        book.history(COIN)


@pytest.mark.parametrize("number", range(6))
def test_a_line_that_was_inserted_is_found(number, told, book):
    kept = lines(book)
    kept.insert(number, kept[0])
    journal(book).write_text("".join(kept))
    first_wrong = max(number + 1, 2)  # the first line may well stand first
    with pytest.raises(RegistryError, match=f"line {first_wrong} of the journal does not follow"):
        book.history(COIN)


def test_two_lines_that_changed_places_are_found(told, book):
    kept = lines(book)
    journal(book).write_text("".join([kept[0], kept[2], kept[1], *kept[3:]]))
    with pytest.raises(RegistryError, match="line 2 of the journal does not follow"):
        book.history(COIN)


def test_a_journal_that_was_emptied_or_lost_is_found(told, book):
    journal(book).write_text("")
    with pytest.raises(RegistryError, match="the journal ends after line 0"):
        book.history(COIN)
    journal(book).unlink()
    with pytest.raises(RegistryError, match="the journal ends after line 0"):
        book.history(COIN)


@pytest.mark.parametrize("bad", [b"[1]\n", b'{"action": "promote"}\n', b'{"action": "prom\n', b"\n", b"\xff\n"])
def test_a_line_that_cannot_be_read_is_named(bad, told, book):
    with journal(book).open("ab") as file:
        file.write(bad)
    with pytest.raises(RegistryError, match="line 6 of the journal cannot be read"):
        book.history(COIN)


def following(book, action, version):
    """The line that a write of that action would append."""
    previous = hashlib.sha256(lines(book)[-1].rstrip("\n").encode()).hexdigest()
    return json.dumps({"at": "now", "action": action, "version": version, "reason": "by hand", "previous": previous})


def append(book, text, *, with_head=False):
    """Forge a line, and the hash of the last line if told so."""
    with journal(book).open("a") as file:
        file.write(text)
    if with_head:
        (book.root / COIN / "journal.head").write_text(hashlib.sha256(text.rstrip("\n").encode()).hexdigest())


@pytest.mark.parametrize("torn", [b"{", b'{"action": "prom', b"\xff\x00", "the whole line"])
def test_a_last_line_that_was_torn_is_passed_over_and_dropped_by_the_next_write(torn, told, book):
    torn = following(book, "promote", told).encode() if torn == "the whole line" else torn
    whole, entries = journal(book).read_bytes(), book.history(COIN)
    journal(book).write_bytes(whole + torn)
    assert book.history(COIN) == entries
    book.verify(COIN)
    assert journal(book).read_bytes() == whole + torn, "a read repairs nothing"
    book.promote(COIN, told, PROMOTED, now=NOW)
    assert journal(book).read_bytes().startswith(whole)
    assert actions(book)[5:] == [("promote", told)]
    book.verify(COIN)


def test_a_first_line_that_was_torn_is_dropped(book):
    write_text(journal(book), '{"act')
    assert book.history(COIN) == []
    version = register(book, "first")
    assert actions(book) == [("register", version)]


def test_a_last_line_without_its_end_that_was_once_whole_is_damage(told, book):
    journal(book).write_bytes(journal(book).read_bytes().rstrip(b"\n"))
    with pytest.raises(RegistryError, match="the journal ends after line 4"):
        book.history(COIN)


def test_a_torn_line_after_one_that_was_never_finished_is_damage(told, book):
    append(book, following(book, "promote", told) + "\n")
    append(book, '{"act')
    with pytest.raises(RegistryError, match="the journal ends after line 6"):
        book.history(COIN)


@pytest.mark.parametrize("with_head", [True, False])
def test_a_forged_promotion_of_a_rejected_version_is_found(with_head, told, book):
    rejected = next(version for action, version in actions(book) if action == "reject")
    append(book, following(book, "promote", rejected) + "\n", with_head=with_head)
    with pytest.raises(RegistryError, match="carries a verdict of REJECT"):
        book.verify(COIN)
    point(book, rejected)
    for ask in (book.verify, book.champion):
        with pytest.raises(RegistryError, match="carries a verdict of REJECT" if with_head else "the pointer names"):
            ask(COIN)


@pytest.mark.parametrize("with_head", [True, False])
def test_a_forged_promotion_of_a_rejected_version_is_not_taken_for_one_that_was_cut_off(with_head, told, book):
    rejected = next(version for action, version in actions(book) if action == "reject")
    append(book, following(book, "promote", rejected) + "\n", with_head=with_head)
    before = [(book.root / COIN / name).read_text() for name in ("journal.head", "champion.json")]
    for write in (
        lambda: register(book, "fourth"),
        lambda: book.promote(COIN, told, PROMOTED, now=NOW),
        lambda: book.rollback(COIN, now=NOW),
    ):
        with pytest.raises(RegistryError, match=f"version {rejected} carries a verdict of REJECT"):
            write()
    assert [(book.root / COIN / name).read_text() for name in ("journal.head", "champion.json")] == before


def test_a_forged_promotion_whose_pointer_has_moved_before_the_head_is_found(told, book):
    """A promotion moves the pointer last, so that no power cut leaves this behind."""
    append(book, following(book, "promote", told) + "\n")
    book.verify(COIN)
    point(book, told)
    for ask in (
        lambda: book.verify(COIN),
        lambda: book.champion(COIN),
        lambda: register(book, "fourth"),
        lambda: book.promote(COIN, told, PROMOTED),
        lambda: book.rollback(COIN),
    ):
        with pytest.raises(RegistryError, match=f"the pointer names {told} as champion, the journal "):
            ask()


@pytest.mark.parametrize(
    ("action", "version", "says"),
    [
        ("rollback", "told", "line 6 of the journal rolls back to"),
        ("promote", "0" * 16, "line 6 of the journal names 0000000000000000, which was never registered"),
        ("crown", "told", "line 6 of the journal cannot be read"),
    ],
)
def test_a_line_that_cannot_have_happened_is_found(action, version, says, told, book):
    append(book, following(book, action, told if version == "told" else version) + "\n", with_head=True)
    for ask in (book.verify, book.champion, book.rollback):
        with pytest.raises(RegistryError, match=says):
            ask(COIN)


def test_versions_whose_journal_was_removed_are_found(told, book):
    for name in ("journal.jsonl", "journal.head", "champion.json"):
        (book.root / COIN / name).unlink()
    assert book.coins() == [COIN]
    for ask in (
        lambda: book.verify(COIN),
        lambda: book.champion(COIN),
        lambda: book.promote(COIN, told, PROMOTED),
        lambda: register(book, "fourth"),
    ):
        with pytest.raises(RegistryError, match="is kept and the journal does not mention it"):
            ask()


def test_a_coin_whose_versions_were_all_removed_is_found(told, book):
    shutil.rmtree(book.root / COIN / "versions")
    assert book.coins() == [COIN]
    with pytest.raises(RegistryError, match="BTC-USDT has no version "):
        book.verify(COIN)


def test_a_version_that_was_put_there_by_hand_is_found(told, book):
    shutil.copytree(book.folder(COIN, told), book.folder(COIN, "f" * 16))
    with pytest.raises(RegistryError, match="version ffffffffffffffff is kept and the journal does not mention it"):
        book.verify(COIN)


def test_nothing_is_written_onto_a_broken_journal(told, book):
    journal(book).write_text("".join(lines(book)[:-1]))
    before = journal(book).read_bytes()
    for write in (
        lambda: register(book, "fourth"),
        lambda: book.promote(COIN, told, PROMOTED, now=NOW),
        lambda: book.rollback(COIN, now=NOW),
        lambda: book.verify(COIN),
    ):
        with pytest.raises(RegistryError, match="the journal ends after line 4"):
            write()
    assert journal(book).read_bytes() == before


def test_a_line_whose_head_was_not_yet_written_is_no_fault(told, book, monkeypatch):
    champion = book.champion(COIN)
    cut_off(monkeypatch, STEPS["the head"], lambda: book.promote(COIN, told, PROMOTED, now=NOW))
    assert len(book.history(COIN)) == 6
    assert book.champion(COIN) == champion
    book.verify(COIN)
    book.promote(COIN, told, PROMOTED, now=NOW)
    assert book.champion(COIN) == told
    register(book, "fourth")
    assert len(book.history(COIN)) == 7
    book.verify(COIN)


# altered versions


def alter_a_byte(folder):
    path = folder / "models" / "prior.json"
    path.write_bytes(b"T" + path.read_bytes()[1:])


def alter_the_verdict(folder):
    """Make a rejected version look promoted, manifest and all."""
    card = {name: value for name, value in json.loads((folder / MANIFEST).read_text()).items() if name != "files"}
    seal(folder, {**card, "verdict": PROMOTED.to_dict()})


def alter_and_seal_anew(folder):
    alter_a_byte(folder)
    card = {name: value for name, value in json.loads((folder / MANIFEST).read_text()).items() if name != "files"}
    seal(folder, card)


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (alter_a_byte, BundleError, r"prior\.json has been altered"),
        (alter_and_seal_anew, RegistryError, "is not the one it was named after"),
        (lambda folder: (folder / "models" / "prior.json").unlink(), BundleError, r"prior\.json is missing"),
        (lambda folder: (folder / "new.txt").write_text(""), BundleError, r"new\.txt is missing, or was not there"),
    ],
)
def test_an_altered_version_is_found_by_verify_promote_and_rollback(spoil, error, says, book):
    first, second, third = crown(book, "first"), crown(book, "second"), register(book, "third")
    spoil(book.folder(COIN, third))
    with pytest.raises(error, match=says):
        book.verify(COIN)
    book.verify(COIN, second)
    with pytest.raises(error, match=says):
        book.promote(COIN, third, PROMOTED, now=NOW)
    spoil(book.folder(COIN, first))
    with pytest.raises(error, match=says):
        book.rollback(COIN, now=NOW)
    assert book.champion(COIN) == second


def test_a_version_that_was_thrown_away_is_found(book):
    crown(book, "first")
    version = register(book, "second")
    shutil.rmtree(book.folder(COIN, version))
    with pytest.raises(RegistryError, match=f"has no version {version}"):
        book.verify(COIN)
    assert register(book, "second") == version
    book.verify(COIN)


def test_a_champion_that_was_altered_is_found_by_asking_for_it(book):
    alter_a_byte(book.folder(COIN, crown(book, "first")))
    with pytest.raises(BundleError, match=r"prior\.json has been altered"):
        book.champion(COIN)


def test_registering_what_is_there_but_altered_says_so(book):
    alter_a_byte(book.folder(COIN, register(book, "first")))
    with pytest.raises(BundleError, match=r"prior\.json has been altered"):
        register(book, "first")
    crown(book, "second")  # one version's damage does not stop the next


def test_a_rejected_version_that_was_given_a_promote_verdict_is_not_promoted(book):
    rejected = register(book, "first", REJECTED)
    alter_the_verdict(book.folder(COIN, rejected))
    with pytest.raises(RegistryError, match="is not the one it was named after"):
        book.promote(COIN, rejected, PROMOTED, now=NOW)
    assert book.champion(COIN) is None


# several processes


def write_in_turn(root, worker, n):
    """Register and promote `n` versions, and sometimes roll back; the target of a process of its own."""
    from pathlib import Path

    book = Registry(Path(root))
    for number in range(n):
        bundle = Path(root).parent / f"candidate_{worker}"
        write_text(bundle / "model.txt", f"{worker} {number}")
        version = book.register(bundle, {"coin": COIN, "verdict": PROMOTED.to_dict()}, now=NOW)
        book.promote(COIN, version, PROMOTED, now=NOW)
        book.history(COIN)


def test_processes_that_write_at_once_keep_the_journal_whole(book):
    start = multiprocessing.get_context("spawn")
    writers = [start.Process(target=write_in_turn, args=(str(book.root), worker, 6)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    entries = book.history(COIN)
    assert sorted(entry.action for entry in entries) == ["promote"] * 18 + ["register"] * 18
    assert len({entry.version for entry in entries}) == 18
    assert book.champion(COIN) == [entry.version for entry in entries if entry.action == "promote"][-1]
    book.verify(COIN)


# candidates and provenance


@pytest.fixture
def candidate(tmp_path):
    """(models, stack) as folders of a night."""
    samples = Samples(np.zeros((4, 1)), np.arange(4))
    models = {}
    for name in ("a", "b"):
        model = create_model("prior").fit(samples, np.array([-1.0, 0.0, 1.0, 1.0]))
        models[name] = save_bundle(model, tmp_path / "night" / name, card={"coin": COIN}, golden=samples)
    write_text(tmp_path / "night" / "stack.json", "{}")
    return models, tmp_path / "night" / "stack.json"


def test_a_candidate_is_gathered_whole(candidate, tmp_path):
    folder = gather(*candidate, tmp_path / "candidate")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json")) == [
        "models/a/inputs.json",
        "models/a/manifest.json",
        "models/a/prior.json",
        "models/b/inputs.json",
        "models/b/manifest.json",
        "models/b/prior.json",
        "stack.json",
    ]


def test_an_altered_model_is_not_gathered(candidate, tmp_path):
    models, stack = candidate
    (models["b"] / "prior.json").write_text("{}")
    with pytest.raises(BundleError, match=r"prior\.json has been altered"):
        gather(models, stack, tmp_path / "candidate")


def test_the_fingerprint_changes_with_any_model_and_with_the_stack(candidate):
    models, stack = candidate
    before = fingerprint(models, stack)
    assert fingerprint(dict(reversed(models.items())), stack) == before
    assert fingerprint({"a": models["a"]}, stack) != before
    assert fingerprint({"a": models["b"], "c": models["a"]}, stack) != before
    write_text(stack, "{} ")
    changed = fingerprint(models, stack)
    assert changed != before
    seal(models["a"], {"coin": COIN, "seed": 2})
    assert fingerprint(models, stack) not in {before, changed}


def test_the_fingerprint_vouches_for_every_byte(candidate):
    models, stack = candidate
    (models["b"] / "prior.json").write_text("{}")
    with pytest.raises(BundleError, match=r"prior\.json has been altered"):
        fingerprint(models, stack)


def test_a_gathered_candidate_has_the_fingerprint_of_its_models_and_stack(candidate, tmp_path):
    assert fingerprint_of(gather(*candidate, tmp_path / "candidate")) == fingerprint(*candidate)


def judged(candidate):
    """A verdict and a card about that very candidate."""
    verdict = judge(
        {"trades": 300.0},
        (Criterion("trades", ">=", 200, Stage.EVIDENCE),),
        subject={"coin": COIN, "candidate": fingerprint(*candidate)},
    )
    return verdict, {"coin": COIN, "verdict": verdict.to_dict()}


def test_the_candidate_that_was_judged_is_registered(book, candidate, tmp_path):
    verdict, card = judged(candidate)
    version = book.register(gather(*candidate, tmp_path / "candidate"), card, now=NOW)
    book.promote(COIN, version, verdict, now=NOW)
    assert fingerprint_of(book.folder(COIN, version)) == verdict.subject["candidate"]


def change_the_stack(folder):
    write_json(folder / "stack.json", {"members": 2})


def remove_a_model(folder):
    shutil.rmtree(folder / "models" / "b")


def train_a_model_anew(folder):
    seal(folder / "models" / "a", {"coin": COIN, "seed": 2})


@pytest.mark.parametrize("change", [change_the_stack, remove_a_model, train_a_model_anew])
def test_another_candidate_than_the_one_that_was_judged_is_refused(change, book, candidate, tmp_path):
    _, card = judged(candidate)
    change(folder := gather(*candidate, tmp_path / "candidate"))
    with pytest.raises(RegistryError, match=r"the verdict is about candidate [0-9a-f]{16}, the bundle is [0-9a-f]{16}"):
        book.register(folder, card, now=NOW)
    assert (book.history(COIN), book.coins()) == ([], [])


def test_a_candidate_with_an_altered_model_is_refused(book, candidate, tmp_path):
    _, card = judged(candidate)
    folder = gather(*candidate, tmp_path / "candidate")
    (folder / "models" / "b" / "prior.json").write_text("{}")
    with pytest.raises(BundleError, match=r"prior\.json has been altered"):
        book.register(folder, card, now=NOW)


def test_the_libraries_that_make_numbers_are_named_with_their_versions():
    found = library_versions()
    assert found["numpy"] == np.__version__
    assert set(found) <= set(LIBRARIES)
    assert {"pandas", "scikit-learn", "lightgbm", "catboost"} <= set(found)
    assert "xgboost" in found or "xgboost-cpu" in found


def test_the_code_is_a_commit_or_a_version():
    revision = code_revision()
    commit = revision.removesuffix("+changed")
    is_commit = len(commit) == 12 and set(commit) <= set("0123456789abcdef")
    assert is_commit or revision.startswith("crp-pipeline ")


def test_the_code_outside_a_checkout_is_the_version_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("crp_pipeline.provenance.__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code_revision().startswith("crp-pipeline ")
