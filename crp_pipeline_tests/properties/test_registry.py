"""The registry against a list: whatever is registered, promoted, rejected, rolled back, pinned or pruned, in whatever order."""

import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Criterion, Outcome, Stage, judge
from crp_pipeline.registry import Pointers, Registry, checkpoint
from crp_pipeline.registry.state import state_of
from crp_pipeline.settings import RetentionConfig
from crp_pipeline.storage import write_text

COIN = "BTC-USDT"
ASKED = (
    Criterion("trades", ">=", 200, Stage.EVIDENCE),
    Criterion("gain", ">", 0, Stage.SKILL),
    Criterion("margin", ">", 0, Stage.CHAMPION),
)
GOOD = {Outcome.PROMOTE, Outcome.SHADOW}


class RegistryMachine(RuleBasedStateMachine):
    """`reigns` is the stack of champions, `told` what the journal must say, `verdicts` what each version carries.

    `taken_back` holds the versions whose last reign was ended by a rollback, `order` versions by their latest registration, and
    `moments` who reigned after which moment. Checkpoints are so close that most readings go on from one.
    """

    versions = Bundle("versions")

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(checkpoint, "EVERY", 3)
        self.folder = Path(tempfile.mkdtemp())
        self.book = Registry(self.folder / "registry")
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        self.reigns, self.told, self.verdicts, self.contents, self.taken_back = [], [], {}, {}, set()
        self.order, self.registered_at, self.recipes, self.pruned, self.pinned, self.moments = [], {}, {}, set(), None, []
        self.written = self.now

    def teardown(self):
        self.patch.undo()
        shutil.rmtree(self.folder)

    def tick(self):
        self.now += timedelta(hours=1)
        return self.now

    @property
    def champion(self):
        return self.reigns[-1] if self.reigns else None

    @property
    def ever(self):
        return {version for _, version in self.moments}

    def in_the_running(self):
        return [
            it
            for it in reversed(self.order)
            if self.verdicts[it].outcome in GOOD and it not in self.ever and it not in self.pruned
        ]

    def expected(self):
        """The pointers by the words of the package."""
        running = self.in_the_running()
        others = [version for version in running if self.champion and self.recipes[version] != self.recipes[self.champion]]
        shadow = self.pinned or next(iter(others), None)
        return Pointers(self.champion, next(iter(running), None), shadow if self.champion else None)

    def note(self, action, version):
        """A line of the journal, which is never earlier than the one before."""
        self.told.append((action, version))
        self.written = max(self.written, self.now)

    def enthrone(self, action, version):
        self.note(action, version)
        self.moments.append((self.written, version))
        self.pinned = None if self.pinned == version else self.pinned

    @rule(hours=st.integers(1, 5))
    def set_the_clock_back(self, hours):
        self.now -= timedelta(hours=hours)

    @rule(
        target=versions,
        content=st.sampled_from("abcd"),
        recipe=st.sampled_from("xyz"),
        fails=st.sampled_from(["", "", "margin", "margin", "gain", "trades"]),
    )
    def register(self, content, recipe, fails):
        evidence = {"gain": 1.0, "trades": 300.0, "margin": 1.0} | ({fails: -1.0} if fails else {})
        verdict = judge(evidence, ASKED, subject={"coin": COIN})
        write_text(self.folder / "candidate" / "model.txt", content)
        card = {"coin": COIN, "verdict": verdict.to_dict(), "recipe": recipe}
        version = self.book.register(self.folder / "candidate", card, now=self.tick())
        key = (content, recipe, fails)
        assert self.contents.setdefault(key, version) == version, "the same content is the same version"
        if version not in self.verdicts or version in self.pruned:
            self.note("register", version)
            self.verdicts[version], self.recipes[version], self.registered_at[version] = verdict, recipe, self.written
            self.order = [it for it in self.order if it != version] + [version]
            self.pruned.discard(version)
            if verdict.outcome not in GOOD:
                self.note("reject", version)
        return version

    @rule(version=versions, again=st.booleans(), expected=st.none() | versions)
    def promote(self, version, again, expected):
        verdict = self.verdicts[version]
        refused = verdict.outcome is not Outcome.PROMOTE or (version in self.taken_back and not again)
        if refused or version in self.pruned or expected not in {None, self.champion}:
            with pytest.raises(RegistryError):
                self.book.promote(COIN, version, verdict, again=again, expected=expected, now=self.tick())
            return
        self.book.promote(COIN, version, verdict, again=again, expected=expected, now=self.tick())
        self.taken_back.discard(version)
        if self.champion != version:
            self.reigns.append(version)
            self.enthrone("promote", version)

    @rule(version=versions, other=versions)
    def promote_on_the_verdict_of_another(self, version, other):
        if self.verdicts[version] == self.verdicts[other]:
            return
        with pytest.raises(RegistryError):
            self.book.promote(COIN, version, self.verdicts[other], now=self.tick())

    @rule()
    def rollback(self):
        if len(self.reigns) < 2:
            with pytest.raises(RegistryError):
                self.book.rollback(COIN, now=self.tick())
            return
        self.taken_back.add(self.reigns.pop())
        assert self.book.rollback(COIN, now=self.tick()) == self.reigns[-1]
        self.taken_back.discard(self.reigns[-1])
        self.enthrone("rollback", self.reigns[-1])

    @rule(version=versions)
    def rollback_to_any(self, version):
        if version == self.champion or version not in self.ever:
            with pytest.raises(RegistryError, match=r"is the champion already|never was champion"):
                self.book.rollback(COIN, to=version, now=self.tick())
            return
        assert self.book.rollback(COIN, to=version, now=self.tick()) == version
        self.taken_back.add(self.reigns.pop())
        if version in self.reigns:
            while self.reigns[-1] != version:
                self.taken_back.add(self.reigns.pop())
        else:
            self.reigns.append(version)
        self.taken_back.discard(version)
        self.enthrone("rollback", version)

    @rule(version=versions)
    def pin(self, version):
        if self.champion in {None, version} or version in self.pruned:
            with pytest.raises(RegistryError):
                self.book.pin(COIN, version, reason="watch it", now=self.tick())
            return
        self.book.pin(COIN, version, reason="watch it", now=self.tick())
        if self.pinned != version:
            self.note("pin", version)
        self.pinned = version

    @rule()
    def unpin(self):
        if self.pinned is None:
            with pytest.raises(RegistryError):
                self.book.unpin(COIN, reason="seen enough", now=self.tick())
            return
        self.book.unpin(COIN, reason="seen enough", now=self.tick())
        self.note("unpin", self.pinned)
        self.pinned = None

    @rule(newest=st.integers(1, 3), hours=st.integers(0, 8))
    def prune(self, newest, hours):
        now, seated = self.tick(), self.expected()
        young = {version for version in self.order if self.registered_at[version] >= now - timedelta(hours=hours)}
        newest_of_recipe = {self.recipes[version]: version for version in reversed(self.in_the_running())}
        kept = {*self.order[-newest:], *young, *self.ever, *newest_of_recipe.values(), self.pinned, *vars(seated).values()}
        gone = [version for version in self.order if version not in kept | self.pruned]
        retention = RetentionConfig(keep_versions=newest, keep_days=hours / 24)
        if self.order:
            assert self.book.prunable(COIN, retention, now=now) == gone
        assert self.book.prune(COIN, retention, now=now) == gone
        self.pruned.update(gone)
        for version in gone:
            self.note("prune", version)
        assert self.expected() == seated, "nobody loses a seat"

    @rule()
    def open_anew(self):
        """Another process: nothing is kept but the files."""
        self.book = Registry(self.folder / "registry")

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def bend_the_journal(self, data):
        """Any one line altered or removed is found; then it is put back."""
        path = self.folder / "registry" / COIN / "journal.jsonl"
        before = path.read_bytes()
        kept = before.splitlines(keepends=True)[: len(self.told)]
        number = data.draw(st.integers(0, len(kept) - 1))
        if data.draw(st.booleans()):
            del kept[number]
        else:
            kept[number] = json.dumps({**json.loads(kept[number]), "version": "f" * 16}, sort_keys=True).encode() + b"\n"
        path.write_bytes(b"".join(kept))
        for ask in (self.book.history, self.book.verify):
            with pytest.raises(RegistryError):
                ask(COIN)
        path.write_bytes(before)

    @precondition(lambda self: self.told)
    @rule(tail=st.binary(min_size=1, max_size=80).filter(lambda tail: b"\n" not in tail))
    def tear_a_line(self, tail):
        """The power goes in the middle of a write; the rules that follow find it as it was left."""
        with (self.folder / "registry" / COIN / "journal.jsonl").open("ab") as journal:
            journal.write(tail)

    @invariant()
    def what_was_rolled_back_is_known(self):
        for version in self.verdicts:
            assert self.book.is_rolled_back(COIN, version) == (version in self.taken_back)

    @invariant()
    def the_champion_is_the_last_that_reigns(self):
        assert self.book.champion(COIN) == self.champion

    @invariant()
    def everyone_is_where_the_rules_put_him(self):
        assert self.book.pointers(COIN) == self.expected()

    @invariant()
    def what_is_read_on_from_a_checkpoint_is_what_the_whole_journal_comes_to(self):
        read, whole = self.book.state(COIN), state_of(COIN, self.book.history(COIN))
        assert (read, list(read.contenders)) == (whole, list(whole.contenders))

    @invariant()
    def it_is_known_who_reigned_when(self):
        first = min((since for since, _ in self.moments), default=self.now)
        assert self.book.reign_at(COIN, first - timedelta(seconds=1)) is None
        ends = [since for since, _ in self.moments[1:]] + [self.written + timedelta(1)]
        for (since, version), until in zip(self.moments, ends, strict=bool(self.moments)):
            for at in (since, until - timedelta(seconds=1)) if since < until else ():
                assert self.book.reign_at(COIN, at).version == version

    @invariant()
    def the_journal_tells_what_happened(self):
        entries = self.book.history(COIN)
        assert [(entry.action, entry.version) for entry in entries] == self.told
        assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)

    @invariant()
    def every_version_is_as_it_was_registered(self):
        if self.verdicts:
            self.book.verify(COIN)
        for version, verdict in self.verdicts.items():
            assert self.book.card_alone(COIN, version)["verdict"] == verdict.to_dict()
            if version in self.pruned:
                with pytest.raises(RegistryError, match="was pruned"):
                    self.book.card(COIN, version)
            else:
                assert self.book.card(COIN, version)["verdict"] == verdict.to_dict()


RegistryMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestRegistry = RegistryMachine.TestCase
