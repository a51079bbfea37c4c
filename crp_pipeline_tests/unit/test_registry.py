"""Versions that stay what they were, a pointer that only a PROMOTE moves, a journal that cannot be bent unnoticed."""

import json
import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from crp_pipeline.contracts import Samples
from crp_pipeline.errors import BundleError, RegistryError
from crp_pipeline.gate import Criterion, Outcome, Stage, judge
from crp_pipeline.models import create_model, save_bundle
from crp_pipeline.provenance import LIBRARIES, code_revision, library_versions
from crp_pipeline.registry import NO_ENTRY, Registry, fingerprint, gather
from crp_pipeline.storage import MANIFEST, seal, write_text

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
COIN = "BTC-USDT"
PROMOTED = judge({"trades": 300.0}, (Criterion("trades", Stage.EVIDENCE, ">=", 200),), subject={"coin": COIN})
REJECTED = judge({"gain": -1.0}, (Criterion("gain", Stage.SKILL, ">", 0),), subject={"coin": COIN})
TOO_LITTLE = judge({"trades": 3.0}, (Criterion("trades", Stage.EVIDENCE, ">=", 200),), subject={"coin": COIN})


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


def test_a_manifest_that_the_bundle_came_with_is_replaced(book, tmp_path):
    write_text(tmp_path / "bundle" / "a.txt", "a")
    seal(tmp_path / "bundle", {"coin": "ETH-USDT"})
    version = book.register(tmp_path / "bundle", {"coin": COIN, "verdict": PROMOTED.to_dict()}, now=NOW)
    assert book.card(COIN, version)["coin"] == COIN


@pytest.mark.parametrize("missing", ["coin", "verdict"])
def test_a_card_without_coin_or_verdict_is_refused(missing, book, tmp_path):
    card = {"coin": COIN, "verdict": PROMOTED.to_dict()}
    del card[missing]
    with pytest.raises(RegistryError, match=f"must carry its {missing}; this one has "):
        book.register(tmp_path, card, now=NOW)
    assert not book.root.exists()


def test_a_version_that_does_not_exist_is_named(book):
    register(book, "trees")
    with pytest.raises(RegistryError, match="BTC-USDT has no version 0123"):
        book.card(COIN, "0123")
    with pytest.raises(RegistryError, match="ETH-USDT has no versions"):
        book.verify("ETH-USDT")
    assert not (book.root / "ETH-USDT").exists(), "asking leaves nothing behind"


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
    other = judge({"trades": 301.0}, (Criterion("trades", Stage.EVIDENCE, ">=", 200),), subject={"coin": COIN})
    assert other.outcome is Outcome.PROMOTE
    with pytest.raises(RegistryError, match="the verdict at hand is not the one"):
        book.promote(COIN, register(book, "second"), other, now=NOW)
    assert book.champion(COIN) is None


def test_coins_have_champions_of_their_own(book):
    version = crown(book, "first")
    register(book, "first", coin="ETH-USDT")
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


def test_there_is_nothing_to_roll_back_to_without_two_champions(book):
    with pytest.raises(RegistryError, match="no earlier champion"):
        book.rollback(COIN, now=NOW)
    crown(book, "first")
    with pytest.raises(RegistryError, match="no earlier champion"):
        book.rollback(COIN, now=NOW)


def test_a_pointer_that_cannot_be_read_is_an_error_and_no_missing_champion(book):
    crown(book, "first")
    (book.root / COIN / "champion.json").write_text("{")
    with pytest.raises(RegistryError, match="does not name a version"):
        book.champion(COIN)


def test_a_pointer_moved_by_hand_is_found(book):
    crown(book, "first")
    rejected = register(book, "second", REJECTED)
    (book.root / COIN / "champion.json").write_text(json.dumps({"version": rejected}))
    with pytest.raises(RegistryError, match=f"the pointer names {rejected} as champion, the journal "):
        book.verify(COIN)


def test_a_promotion_that_was_cut_off_is_finished_by_the_next_try(book, monkeypatch):
    """The power goes after the journal was written and before the pointer moved."""
    first, second = crown(book, "first"), register(book, "second")
    with monkeypatch.context() as power:
        power.setattr(book, "_point", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            book.promote(COIN, second, PROMOTED, now=NOW)
    assert book.champion(COIN) == first
    book.promote(COIN, second, PROMOTED, now=NOW)
    book.verify(COIN)
    assert book.rollback(COIN, now=NOW) == first


def test_a_registration_that_was_cut_off_is_finished_by_the_next_try(book, monkeypatch):
    with monkeypatch.context() as power:
        power.setattr(book, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            register(book, "first")
    version = register(book, "first")
    assert actions(book) == [("register", version)]
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
    import hashlib

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


@pytest.mark.parametrize("torn", ['{"action": "prom', "[1]\n", '{"action": "promote"}\n'])
def test_a_line_that_cannot_be_read_is_named(torn, told, book):
    with journal(book).open("a") as file:
        file.write(torn)
    with pytest.raises(RegistryError, match="line 6 of the journal cannot be read"):
        book.history(COIN)


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
    """The power goes between the line and the hash of the last line."""
    with monkeypatch.context() as power:
        power.setattr("crp_pipeline.registry.write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            book.promote(COIN, told, PROMOTED, now=NOW)
    assert len(book.history(COIN)) == 6
    book.promote(COIN, told, PROMOTED, now=NOW)
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
        "models/a/manifest.json",
        "models/a/prior.json",
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
