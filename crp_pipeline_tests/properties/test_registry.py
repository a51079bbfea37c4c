"""The registry against a list: whatever is registered, promoted, rejected or rolled back, in whatever order."""

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
from crp_pipeline.registry import Registry
from crp_pipeline.storage import write_text

COIN = "BTC-USDT"
GAIN = (Criterion("trades", ">=", 200, Stage.EVIDENCE), Criterion("gain", ">", 0, Stage.SKILL))


class RegistryMachine(RuleBasedStateMachine):
    """`reigns` is the stack of champions, `told` what the journal must say, `verdicts` what each version carries.

    `taken_back` holds the versions whose last reign was ended by a rollback.
    """

    versions = Bundle("versions")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.book = Registry(self.folder / "registry")
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        self.reigns, self.told, self.verdicts, self.contents, self.taken_back = [], [], {}, {}, set()

    def teardown(self):
        shutil.rmtree(self.folder)

    def tick(self):
        self.now += timedelta(hours=1)
        return self.now

    @rule(
        target=versions,
        content=st.sampled_from("abcd"),
        gain=st.sampled_from([1.0, -1.0]),
        trades=st.sampled_from([300.0, 3.0]),
    )
    def register(self, content, gain, trades):
        verdict = judge({"gain": gain, "trades": trades}, GAIN, subject={"coin": COIN})
        write_text(self.folder / "candidate" / "model.txt", content)
        version = self.book.register(self.folder / "candidate", {"coin": COIN, "verdict": verdict.to_dict()}, now=self.tick())
        key = (content, gain, trades)
        assert self.contents.setdefault(key, version) == version, "the same content is the same version"
        if version not in self.verdicts:
            self.verdicts[version] = verdict
            self.told.append(("register", version))
            if verdict.outcome is not Outcome.PROMOTE:
                self.told.append(("reject", version))
        return version

    @rule(version=versions, again=st.booleans())
    def promote(self, version, again):
        verdict = self.verdicts[version]
        if verdict.outcome is not Outcome.PROMOTE or (version in self.taken_back and not again):
            with pytest.raises(RegistryError):
                self.book.promote(COIN, version, verdict, again=again, now=self.tick())
            return
        self.book.promote(COIN, version, verdict, again=again, now=self.tick())
        self.taken_back.discard(version)
        if self.reigns[-1:] != [version]:
            self.reigns.append(version)
            self.told.append(("promote", version))

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
        self.told.append(("rollback", self.reigns[-1]))

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
        with pytest.raises(RegistryError):
            self.book.history(COIN)
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
        assert self.book.champion(COIN) == (self.reigns[-1] if self.reigns else None)

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
            assert self.book.card(COIN, version)["verdict"] == verdict.to_dict()


RegistryMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestRegistry = RegistryMachine.TestCase
