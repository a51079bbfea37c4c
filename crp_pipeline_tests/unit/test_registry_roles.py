"""Champion, challenger and shadow: who gets which role, who is asked first, and what a registry from before them tells."""

import json
import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.registry import NOBODY, Pointers, Registry, checkpoint
from crp_pipeline.registry.journal import Journal
from crp_pipeline.registry.state import state_of
from crp_pipeline.settings import RetentionConfig
from crp_pipeline.storage import write_json, write_text
from crp_pipeline_tests.unit.test_registry_killed import as_before_there_were_roles

COIN = "BTC-USDT"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
PROMOTED = judge({"gain": 1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
REJECTED = judge({"gain": -1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
SHADOW = judge({"margin": -1.0}, (Criterion("margin", ">", 0, Stage.CHAMPION),))


@pytest.fixture
def book(tmp_path):
    return Registry(tmp_path / "registry")


def register(book, content, verdict=PROMOTED, *, recipe=None, now=NOW):
    write_text(book.root.parent / "bundle" / "a.txt", content)
    card = {"coin": COIN, "verdict": verdict.to_dict(), "recipe": content if recipe is None else recipe}
    return book.register(book.root.parent / "bundle", card, now=now)


def crown(book, content, **kwargs):
    version = register(book, content, **kwargs)
    book.promote(COIN, version, PROMOTED, now=NOW)
    return version


# roles


def test_the_challenger_is_the_newest_that_was_found_good_and_never_reigned(book):
    first = register(book, "first")
    assert book.pointers(COIN) == Pointers(None, first, None), "nobody reigns, and nobody decides in a shadow"
    champion = crown(book, "champion")
    assert book.pointers(COIN) == Pointers(champion, first, first)
    second = register(book, "second", SHADOW)
    register(book, "bad", REJECTED)
    assert book.pointers(COIN) == Pointers(champion, second, second)
    book.promote(COIN, first, PROMOTED, now=NOW)
    assert book.pointers(COIN) == Pointers(first, second, second), "a champion of before is no challenger"


def test_a_refresh_of_the_champions_recipe_challenges_him_and_leaves_the_shadows_seat(book):
    champion, other = crown(book, "champion", recipe="x"), register(book, "other", SHADOW, recipe="y")
    refresh = register(book, "refresh", SHADOW, recipe="x")
    assert book.pointers(COIN) == Pointers(champion, refresh, other)


def test_one_line_moves_all_the_pointers_that_a_promotion_moves(book):
    crown(book, "first", recipe="x")
    second, third = register(book, "second", SHADOW, recipe="x"), register(book, "third", recipe="y")
    n_lines = len(book.history(COIN))
    book.promote(COIN, third, PROMOTED, now=NOW)
    (line,) = book.history(COIN)[n_lines:]
    assert (line.action, line.version, line.challenger, line.shadow) == ("promote", third, second, second)
    assert book.pointers(COIN) == Pointers(third, second, second)


def test_a_pinned_version_decides_in_the_shadow_until_it_reigns(book):
    crown(book, "first")
    good, bad = register(book, "good", SHADOW), register(book, "bad", REJECTED)
    book.pin(COIN, bad, reason="I want to see it fail", now=NOW)
    newer = register(book, "newer")
    assert book.pointers(COIN).shadow == bad
    book.pin(COIN, newer, reason="or this", now=NOW)
    book.promote(COIN, newer, PROMOTED, now=NOW)
    assert book.pointers(COIN) == Pointers(newer, good, good)
    with pytest.raises(RegistryError, match="no version is pinned"):
        book.unpin(COIN, reason="why", now=NOW)


def test_neither_the_champion_nor_a_stranger_is_pinned(book):
    first = register(book, "first")
    with pytest.raises(RegistryError, match="cannot decide beside the champion, who is none"):
        book.pin(COIN, first, reason="why", now=NOW)
    book.promote(COIN, first, PROMOTED, now=NOW)
    for version, says in ((first, f"who is {first}"), ("0" * 16, "has no version")):
        with pytest.raises(RegistryError, match=says):
            book.pin(COIN, version, reason="why", now=NOW)


@pytest.mark.parametrize("role", ["challenger", "shadow"])
def test_a_pointer_moved_by_hand_is_found_whichever_it_is(role, book):
    champion, other = crown(book, "champion"), register(book, "other", SHADOW)
    register(book, "bad", REJECTED)
    for value in (champion, None):
        write_json(book.root / COIN / "champion.json", {"version": champion, "challenger": other, "shadow": other, role: value})
        for ask in (book.verify, book.champion, book.pointers):
            with pytest.raises(RegistryError, match=f"the pointer names {value} as {role}, the journal {other}"):
                ask(COIN)


def test_a_night_does_not_paper_over_a_pointer_that_was_moved_by_hand(book):
    first, _ = crown(book, "first"), crown(book, "second")
    register(book, "bad", REJECTED)
    write_json(book.root / COIN / "champion.json", {"version": first, "challenger": None, "shadow": None})
    register(book, "other", SHADOW)
    with pytest.raises(RegistryError, match=f"the pointer names {first} as champion"):
        book.verify(COIN)


# who was champion when


def test_who_was_champion_is_told_to_the_second_in_any_time_zone(book):
    first = register(book, "first")
    book.promote(COIN, first, PROMOTED, now=NOW)
    second = register(book, "second")
    book.promote(COIN, second, PROMOTED, now=NOW + timedelta(hours=2))
    book.rollback(COIN, now=NOW + timedelta(hours=4))
    asked = {timedelta(seconds=-1): None, timedelta(0): first, timedelta(hours=2): second, timedelta(hours=4): first}
    for after, version in asked.items():
        for at in (NOW + after, (NOW + after).replace(tzinfo=None), (NOW + after).astimezone(timezone(timedelta(hours=9)))):
            reign = book.reign_at(COIN, at)
            assert (reign and reign.version) == version
    assert book.reign_at("ETH-USDT", NOW) is None


def test_a_line_is_never_earlier_than_the_one_before_whatever_the_clock_says(book):
    first, second = register(book, "first"), register(book, "second")
    book.promote(COIN, first, PROMOTED, now=NOW)
    book.promote(COIN, second, PROMOTED, now=NOW + timedelta(hours=2))
    book.rollback(COIN, now=NOW + timedelta(hours=1))
    assert [reign.at for reign in book.state(COIN).throne] == [
        (NOW + timedelta(hours=hours)).isoformat() for hours in (0, 2, 2)
    ]
    assert book.reign_at(COIN, NOW + timedelta(hours=1)).version == first
    assert book.reign_at(COIN, NOW + timedelta(hours=2)).action == "rollback"


def test_everyone_above_the_champion_that_is_brought_back_counts_as_rolled_back(book):
    first, second, third = (crown(book, content) for content in ("first", "second", "third"))
    assert book.rollback(COIN, to=first, reason="since March", now=NOW) == first
    assert [book.is_rolled_back(COIN, version) for version in (first, second, third)] == [False, True, True]
    assert book.rollback(COIN, to=third, now=NOW) == third
    assert [book.is_rolled_back(COIN, version) for version in (first, second, third)] == [True, True, False]


# compare and swap


def test_a_caller_who_expects_another_champion_moves_nothing(book):
    first, second = crown(book, "first"), register(book, "second")
    before = book.history(COIN)
    for act in (
        lambda: book.promote(COIN, second, PROMOTED, expected="f" * 16, now=NOW),
        lambda: book.promote(COIN, second, PROMOTED, expected=NOBODY, now=NOW),
        lambda: book.rollback(COIN, expected="f" * 16, now=NOW),
    ):
        with pytest.raises(RegistryError, match=f"the champion was expected to be (f{{16}}|none) and is {first}"):
            act()
    assert book.history(COIN) == before
    book.promote(COIN, second, PROMOTED, expected=first, now=NOW)
    assert book.rollback(COIN, expected=second, now=NOW) == first


def judged_against(champion):
    return judge({"gain": 1.0}, (Criterion("gain", ">", 0, Stage.SKILL),), subject={"coin": COIN, "champion": champion})


def promote_in_a_process(root, version, verdict, gate):
    """Exit code 0 for the one that wins, 3 for one that finds another champion than the one it was judged against."""
    from crp_pipeline.gate.verdict import Verdict

    gate.wait(60)
    try:
        Registry(root).promote(COIN, version, Verdict.from_dict(verdict), now=NOW)
    except RegistryError as error:
        raise SystemExit(3 if "when the gate judged and is" in str(error) else 4) from error


def test_of_promotions_in_several_processes_judged_against_the_same_champion_exactly_one_wins(book):
    first = crown(book, "first")
    verdict = judged_against(first)
    rivals = [register(book, content, verdict) for content in ("second", "third", "fourth", "fifth")]
    start = multiprocessing.get_context("fork")
    gate = start.Barrier(len(rivals))
    writers = [
        start.Process(target=promote_in_a_process, args=(book.root, version, verdict.to_dict(), gate)) for version in rivals
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    codes = [writer.exitcode for writer in writers]
    assert sorted(codes) == [0, 3, 3, 3]
    assert book.champion(COIN) == rivals[codes.index(0)]
    assert [entry.action for entry in book.history(COIN)].count("promote") == 2
    book.verify(COIN)


# pruning


def test_champions_of_any_time_are_never_pruned(book):
    champions = [crown(book, content) for content in ("first", "second", "third")]
    book.rollback(COIN, to=champions[0], now=NOW)
    rejected = [register(book, content, REJECTED) for content in ("a", "b", "c")]
    gone = book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=0), now=NOW + timedelta(days=9_999))
    assert gone == rejected[:2]
    for version in champions:
        assert book.card(COIN, version)
    assert book.rollback(COIN, to=champions[2], now=NOW) == champions[2]
    book.verify(COIN)


def test_the_newest_of_every_recipe_stays_in_the_running_and_takes_the_seat_when_the_champion_changes(book):
    first, second = crown(book, "first", recipe="x"), crown(book, "second", recipe="y")
    older, newest_of_x = (register(book, content, SHADOW, recipe="x") for content in ("older", "newer"))
    newest_of_y = register(book, "newest", SHADOW, recipe="y")
    assert book.pointers(COIN) == Pointers(second, newest_of_y, newest_of_x)
    newest_of_z = register(book, "last", SHADOW, recipe="z")
    assert book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=0), now=NOW + timedelta(days=1)) == [older]
    book.pin(COIN, newest_of_x, reason="why", now=NOW)
    assert book.pointers(COIN) == Pointers(second, newest_of_z, newest_of_x)
    assert book.rollback(COIN, now=NOW) == first
    assert book.card(COIN, newest_of_y)


def test_what_an_operator_pinned_is_not_pruned_though_it_was_rejected(book):
    crown(book, "first")
    pinned, other = register(book, "pinned", REJECTED), register(book, "other", REJECTED)
    register(book, "last", REJECTED)
    book.pin(COIN, pinned, reason="I want to see it fail", now=NOW)
    assert book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=0), now=NOW + timedelta(days=1)) == [other]


@pytest.mark.parametrize("role", ["champion", "champion before", "challenger", "shadow"])
def test_a_line_that_prunes_a_version_with_a_role_cannot_have_happened(role, book):
    versions = {"champion before": crown(book, "first", recipe="x"), "champion": crown(book, "second", recipe="x")}
    versions["shadow"] = register(book, "third", SHADOW, recipe="y")
    versions["challenger"] = register(book, "fourth", SHADOW, recipe="x")
    journal = Journal(book.root / COIN)
    journal.append(replace(book.history(COIN)[-1], action="prune", version=versions[role], recipe="", previous=journal.head))
    for ask in (book.verify, book.champion, lambda coin: book.prune(coin, RetentionConfig(), now=NOW)):
        with pytest.raises(RegistryError, match=f"line 7 of the journal prunes {versions[role]}, which has reigned, or is"):
            ask(COIN)


def test_a_young_version_is_kept_however_many_are_newer(book):
    old = register(book, "old", REJECTED, now=NOW - timedelta(days=90, seconds=1))
    register(book, "young", REJECTED, now=NOW - timedelta(days=89))
    register(book, "newest", REJECTED)
    assert book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=90), now=NOW) == [old]


def test_a_pruned_version_keeps_its_card_and_nothing_else_and_whatever_else_is_found_there_is_a_fault(book):
    old = register(book, "old", REJECTED)
    register(book, "new", REJECTED)
    book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=0), now=NOW + timedelta(days=1))
    register(book, "newer", REJECTED)
    assert [path.name for path in book.folder(COIN, old).iterdir()] == ["manifest.json"]
    assert book.card_alone(COIN, old)["recipe"] == "old"
    book.verify(COIN)
    (book.folder(COIN, old) / "a.txt").write_text("old")
    with pytest.raises(RegistryError, match=f"version {old} was pruned and has files beside its card"):
        book.verify(COIN)
    (book.folder(COIN, old) / "a.txt").unlink()
    (book.folder(COIN, old) / "manifest.json").write_text("{}")
    with pytest.raises(RegistryError, match="whose manifest is the one it was named after"):
        book.verify(COIN)


def test_a_version_that_was_emptied_by_hand_is_not_taken_for_a_pruned_one(book):
    version = register(book, "first", REJECTED)
    (book.folder(COIN, version) / "a.txt").unlink()
    with pytest.raises(RegistryError, match=f"version {version} .*its card is left"):
        book.verify(COIN)


def test_pruning_a_coin_without_versions_leaves_nothing_behind(book):
    assert book.prune(COIN, RetentionConfig(), now=NOW) == []
    assert not book.root.exists()


# checkpoints


@pytest.fixture
def checked(book, monkeypatch):
    """A registry whose checkpoint lies two lines behind its end."""
    monkeypatch.setattr(checkpoint, "EVERY", 4)
    for content in ("first", "second", "third"):
        crown(book, content)
    assert len(book.history(COIN)) == 6
    return book


def read_through(act):
    """Lines of the journal that were read."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        read = Journal.read
        patch.setattr(Journal, "read", lambda *args: seen.append(read(*args)) or seen[-1])
        act()
    return sum(len(record.entries) for record in seen)


def test_a_reader_goes_on_from_the_checkpoint(checked):
    assert read_through(lambda: checked.pointers(COIN)) == 2
    (checked.root / COIN / checkpoint.CHECKPOINT).unlink()
    assert read_through(lambda: checked.pointers(COIN)) == 6


def test_no_operation_reads_more_than_the_lines_since_the_checkpoint_however_many_there_are(book, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    versions = [crown(book, str(number)) for number in range(20)]
    operations = {
        "register": lambda: register(book, "new", SHADOW),
        "rollback": lambda: book.rollback(COIN, now=NOW),
        "promote": lambda: book.promote(COIN, versions[-1], PROMOTED, again=True, now=NOW),
        "champion": lambda: book.champion(COIN),
        "pointers": lambda: book.pointers(COIN),
        "is_rolled_back": lambda: book.is_rolled_back(COIN, versions[0]),
        "reign_at": lambda: book.reign_at(COIN, NOW),
    }
    read = {name: read_through(act) for name, act in operations.items()}
    assert max(read.values()) <= 2 * 5, read
    assert len(book.history(COIN)) == 43


def test_a_line_before_the_checkpoint_that_was_altered_is_found_by_verify(checked):
    journal = checked.root / COIN / "journal.jsonl"
    altered = journal.read_text().replace("all 1 criteria hold", "all 9 criteria hold", 1)
    journal.write_text(altered)
    assert checked.pointers(COIN).champion is not None
    with pytest.raises(RegistryError, match="line 2 of the journal does not follow"):
        checked.verify(COIN)


@pytest.mark.parametrize("damage", ["emptied", "cut short", "altered", "unreadable"])
def test_a_damaged_checkpoint_is_passed_over(damage, checked):
    path = checked.root / COIN / checkpoint.CHECKPOINT
    text = path.read_text()
    damaged = {"emptied": "", "cut short": text[:-9], "altered": text.replace("promote", "rollback"), "unreadable": "\xff"}
    path.write_text(damaged[damage], encoding="latin-1")
    assert read_through(lambda: checked.pointers(COIN)) == 6
    checked.verify(COIN)


def test_a_checkpoint_that_the_disk_does_not_take_fails_nothing(book, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 1)
    (book.root / COIN / f".{checkpoint.CHECKPOINT}.new").mkdir(parents=True)
    first, _ = crown(book, "first"), crown(book, "second")
    assert book.rollback(COIN, now=NOW) == first
    assert not (book.root / COIN / checkpoint.CHECKPOINT).exists()
    book.verify(COIN)


def test_a_checkpoint_of_another_journal_is_passed_over(checked, tmp_path):
    other = Registry(tmp_path / "other")
    for content in ("other", "others", "still others"):
        crown(other, content)
    (checked.root / COIN / checkpoint.CHECKPOINT).write_bytes((other.root / COIN / checkpoint.CHECKPOINT).read_bytes())
    assert read_through(lambda: checked.pointers(COIN)) == 6


def test_a_forged_checkpoint_is_found_by_verify(checked):
    path = checked.root / COIN / checkpoint.CHECKPOINT
    body = path.read_bytes().partition(b"\n")[2].replace(b"PROMOTE", b"SHADOW")
    path.write_bytes(checkpoint._seal(body) + b"\n" + body)
    with pytest.raises(RegistryError, match="the checkpoint of the journal is not what its first 4 lines come to"):
        checked.verify(COIN)


# a registry from before there were roles


@pytest.fixture
def old(book):
    """As the first release wrote it: a champion, his predecessor, a rejected version and one for the shadow."""
    first, second = crown(book, "first"), crown(book, "second")
    rejected, shadow = register(book, "bad", REJECTED), register(book, "shadow", SHADOW)
    as_before_there_were_roles(book)
    assert "challenger" not in (book.root / COIN / "journal.jsonl").read_text()
    return book, first, second, rejected, shadow


def test_a_registry_from_before_there_were_roles_is_read_verified_and_carried_on(old):
    book, first, second, rejected, shadow = old
    book.verify(COIN)
    assert book.champion(COIN) == second
    assert book.pointers(COIN) == Pointers(second, shadow, shadow)
    assert book.rollback(COIN, now=NOW) == first
    assert json.loads((book.root / COIN / "champion.json").read_text()) == {
        "version": first,
        "challenger": shadow,
        "shadow": shadow,
    }
    assert book.pointers(COIN) == Pointers(first, shadow, shadow)
    assert book.state(COIN) == state_of(COIN, book.history(COIN))
    book.prune(COIN, RetentionConfig(keep_versions=1, keep_days=0), now=NOW + timedelta(days=1))
    assert book.state(COIN).pruned == {rejected}
    book.verify(COIN)
