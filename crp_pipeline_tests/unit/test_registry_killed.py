"""A process that is killed between any two steps of a write leaves a registry that reads, verifies and finishes when it is run again.

The process is a fork of this one and ends without a word before its n-th flush, rename, folder or removal, for every n.
"""

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.registry import Registry, checkpoint
from crp_pipeline.registry.journal import Journal
from crp_pipeline.settings import RetentionConfig
from crp_pipeline.storage import write_json, write_text

COIN = "BTC-USDT"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
RETENTION = RetentionConfig(keep_versions=1, keep_days=0)
STEPS = ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir")
KILLED, UNFINISHED = 9, 1

PROMOTED = judge({"gain": 1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
REJECTED = judge({"gain": -1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
SHADOW = judge({"margin": -1.0}, (Criterion("margin", ">", 0, Stage.CHAMPION),))


def register(book, content, verdict=PROMOTED):
    return book.register(book.root.parent / content, {"coin": COIN, "verdict": verdict.to_dict(), "recipe": content}, now=NOW)


def as_before_there_were_roles(book):
    """Write a registry's journal and pointer anew, as the first release did."""
    folder, entries, champion = book.root / COIN, book.history(COIN), book.champion(COIN)
    for name in ("journal.jsonl", "journal.head", checkpoint.CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    journal = Journal(folder)
    for entry in entries:
        journal.append(replace(entry, previous=journal.head, challenger="", shadow="", recipe=""))
    write_json(folder / "champion.json", {"version": champion})


@pytest.fixture
def before(tmp_path, monkeypatch):
    """Three champions, two rejected versions, two in the shadow, one more that may be promoted; every line a checkpoint."""
    monkeypatch.setattr(checkpoint, "EVERY", 1)
    book, names = Registry(tmp_path / "before" / "registry"), {}
    for content in ("first", "second", "third", "bad", "worse", "watched", "newer", "next", "new"):
        write_text(tmp_path / "before" / content / "models" / "a.txt", content)
    for content in ("first", "second", "third"):
        names[content] = register(book, content)
        book.promote(COIN, names[content], PROMOTED, now=NOW)
    for content, verdict in (
        ("bad", REJECTED),
        ("worse", REJECTED),
        ("watched", SHADOW),
        ("newer", SHADOW),
        ("next", PROMOTED),
    ):
        names[content] = register(book, content, verdict)
    return book, names


def prune(book, names):
    book.prune(COIN, RETENTION, now=LATER)


def promote(book, names):
    book.promote(COIN, names["next"], PROMOTED, now=LATER)


def roll_back(book, names):
    """By whoever saw the third reign; where another reigns, it is done."""
    try:
        book.rollback(COIN, expected=names["third"], reason="why", now=LATER)
    except RegistryError as error:
        if "the champion was expected to be" not in str(error):
            raise


def pin(book, names):
    book.pin(COIN, names["watched"], reason="why", now=LATER)


def register_good(book, names):
    register(book, "new", SHADOW)


def register_bad(book, names):
    register(book, "new", REJECTED)


def killed_at(step, book, act, names):
    """True when the operation came to its `step`-th step and died there; False when it ended before."""
    child = os.fork()
    if child == 0:
        counted = iter(range(step))

        def dying(function):
            def step_or_die(*args, **kwargs):
                if next(counted, None) is None:
                    os._exit(KILLED)
                return function(*args, **kwargs)

            return step_or_die

        for name in STEPS:
            setattr(os, name, dying(getattr(os, name)))
        try:
            act(book, names)
        except BaseException:  # noqa: BLE001
            os._exit(UNFINISHED)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, KILLED}
    return code == KILLED


def told(book):
    """Everything that a registry says, and every file of every version."""
    files = sorted(
        path.relative_to(book.root).as_posix() for path in book.root.rglob("versions/*/**/*") if "/." not in str(path)
    )
    actions = [(entry.action, entry.version, entry.reason, entry.challenger, entry.shadow) for entry in book.history(COIN)]
    return actions, book.pointers(COIN), files


@pytest.mark.parametrize(
    ("act", "is_old"),
    [
        *((act, False) for act in (prune, promote, roll_back, pin)),
        *(pytest.param(act, False, marks=pytest.mark.slow) for act in (register_good, register_bad)),
        *(pytest.param(act, True, marks=pytest.mark.slow) for act in (prune, register_bad, roll_back)),
    ],
    ids=lambda value: getattr(value, "__name__", f"old {value}"),
)
def test_wherever_a_write_is_killed_all_reads_hold_and_the_next_try_ends_as_if_nothing_had_been(act, is_old, before, tmp_path):
    book, names = before
    if is_old:
        as_before_there_were_roles(book)
    whole = Registry(shutil.copytree(tmp_path / "before", tmp_path / "whole") / "registry")
    act(whole, names)
    possible = [book.pointers(COIN), whole.pointers(COIN)]
    step, seen = 0, set()
    while True:
        hit = Registry(shutil.copytree(tmp_path / "before", tmp_path / f"hit{step}") / "registry")
        if not killed_at(step, hit, act, names):
            break
        hit.verify(COIN)
        assert hit.pointers(COIN) in possible
        assert hit.champion(COIN) == hit.pointers(COIN).champion == hit.reign_at(COIN, LATER).version
        seen.add(hit.pointers(COIN))
        act(hit, names)
        assert told(hit) == told(whole)
        hit.verify(COIN)
        shutil.rmtree(tmp_path / f"hit{step}")
        step += 1
    assert told(hit) == told(whole)
    assert step >= 5
    assert seen == set(possible)


def test_a_prune_that_was_killed_is_finished_by_any_other_write(before, tmp_path):
    names, step = before[1], 0
    while killed_at(
        step, hit := Registry(shutil.copytree(tmp_path / "before", tmp_path / f"hit{step}") / "registry"), prune, names
    ):
        pruned = hit.state(COIN).pruned
        register(hit, "new", REJECTED)
        assert {names[name] for name in ("bad", "worse") if hit.folder(COIN, names[name]).joinpath("models").exists()} == {
            names["bad"],
            names["worse"],
        } - hit.state(COIN).pruned
        assert pruned <= hit.state(COIN).pruned
        hit.verify(COIN)
        step += 1
    assert step > 5
