"""The ledger against a list: whatever is evaluated, cut off, torn, altered or removed, in whatever order."""

import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from crp_pipeline.errors import LedgerError
from crp_pipeline.ledger import Ledger, Trial

COIN = "BTC-USDT"
STEPS = ("ledger.ledger.write_bytes", "chain.Chain.append", "ledger.ledger.write_text")
"""What a write does, in its order."""
some_event = st.dictionaries(st.sampled_from(["tcn", "lstm", "xgboost"]), st.integers(0, 3), min_size=1)
"""Seed of each trial."""


def naive_count(told):
    """The rule over again, from the whole story of each recipe."""
    total = 0
    for recipe in {recipe for recipe, _, _ in told}:
        story = [(made, last) for other, made, last in told if other == recipe]
        for place, (made, last) in enumerate(story):
            before = story[:place]
            is_known = made in {other for other, _ in before}
            is_later = all(last > other for _, other in before)
            total += not before or not (is_known or is_later)
    return total


class LedgerMachine(RuleBasedStateMachine):
    """`told` is what the ledger must hold, (recipe, forecasts, last day) by event; `heads` every head that it ever had."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.book = Ledger(self.folder / "ledger")
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        self.events, self.known, self.heads = [], set(), [self.book.head(COIN)]

    def teardown(self):
        shutil.rmtree(self.folder)

    @property
    def lines(self):
        return self.book.root / COIN / "trials.jsonl"

    def append(self, event, n_days, luck):
        self.now += timedelta(hours=1)
        days = pd.date_range("2024-01-01", periods=n_days, tz="UTC")
        columns = [np.random.default_rng([luck, n_days, place, len(event)]).normal(size=n_days) for place in range(len(event))]
        trials = [Trial(name, {"candidate": name, "seed": seed}, f"{name} {luck}") for name, seed in event.items()]
        return self.book.append(COIN, "night", trials, pd.DataFrame(np.transpose(columns), days, list(event)), now=self.now)

    def remember(self, event, n_days, luck):
        """What of an event the ledger has not been told yet."""
        place = {name: number for number, name in enumerate(event)}
        told = {((name, seed), f"{name} {luck}", n_days, place[name], len(event)) for name, seed in event.items()} - self.known
        self.known |= told
        if told:
            self.events.append([(recipe, made, last) for recipe, made, last, _, _ in told])
        return bool(told)

    @rule(event=some_event, n_days=st.integers(1, 5), luck=st.integers(0, 2))
    def evaluate(self, event, n_days, luck):
        head = self.append(event, n_days, luck)
        if self.remember(event, n_days, luck):
            self.heads.append(head)
        assert head == self.heads[-1]

    @rule(event=some_event, n_days=st.integers(1, 5), luck=st.integers(0, 2), step=st.sampled_from(STEPS))
    def lose_power(self, event, n_days, luck, step):
        """The event is there whole or not at all: there once its line is."""
        known = set(self.known)
        is_news = self.remember(event, n_days, luck)
        with pytest.MonkeyPatch.context() as power:
            power.setattr(f"crp_pipeline.{step}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            if not is_news:
                # a head that is still pending is moved before anything else
                try:
                    self.append(event, n_days, luck)
                except KeyboardInterrupt:
                    assert step == STEPS[2]
                return
            with pytest.raises(KeyboardInterrupt):
                self.append(event, n_days, luck)
        found = self.book.head(COIN)
        if found == self.heads[-1]:
            self.known = known
            self.events.pop()
        else:
            assert step == STEPS[2]
            self.heads.append(found)

    @rule()
    def open_anew(self):
        """Another process: nothing is kept but the files."""
        self.book = Ledger(self.folder / "ledger")

    @precondition(lambda self: self.events)
    @rule(tail=st.binary(min_size=1, max_size=80).filter(lambda tail: b"\n" not in tail))
    def tear_a_line(self, tail):
        """The power goes in the middle of a line; the rules that follow find it as it was left."""
        if not self.book._chain(COIN).links().pending:
            with self.lines.open("ab") as ledger:
                ledger.write(tail)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def bend_a_line(self, data):
        """Any line altered or removed is found and named; then it is put back."""
        before = self.lines.read_bytes()
        kept = before.splitlines(keepends=True)[: len(self.events)]
        if self.book._chain(COIN).links().pending:
            return
        number = data.draw(st.integers(0, len(kept) - 1))
        if data.draw(st.booleans()):
            del kept[number]
        else:
            kept[number] = json.dumps({**json.loads(kept[number]), "occasion": "another"}, sort_keys=True).encode() + b"\n"
        self.lines.write_bytes(b"".join(kept))
        with pytest.raises(LedgerError, match=r"line \d+ of the ledger does not follow|the ledger ends after line \d+, which"):
            self.book.verify(COIN)
        self.lines.write_bytes(before)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def alter_a_byte(self, data):
        """Of any file of returns, any byte; then it is put back."""
        path = self.some_file(data)
        content = path.read_bytes()
        place = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes(content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :])
        with pytest.raises(LedgerError, match=f"{path.name} has been altered"):
            self.book.verify(COIN)
        path.write_bytes(content)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def drop_a_file(self, data):
        path = self.some_file(data)
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(LedgerError, match=f"the ledger names {path.name}, which is missing"):
            self.book.verify(COIN)
        path.write_bytes(content)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def drop_the_whole_ledger(self, data):
        """What files alone cannot show, an earlier head does."""
        (self.book.root / COIN).rename(self.folder / "aside")
        assert not self.book.continues(COIN, self.heads[data.draw(st.integers(1, len(self.heads) - 1))])
        (self.folder / "aside").rename(self.book.root / COIN)

    def some_file(self, data):
        return self.book.root / COIN / "returns" / f"{data.draw(st.sampled_from(self.book.events(COIN))).returns}.parquet"

    @invariant()
    def the_ledger_is_whole(self):
        self.book.verify(COIN)
        assert self.book.head(COIN) == self.heads[-1]
        assert all(self.book.continues(COIN, head) for head in self.heads)

    @invariant()
    def the_ledger_tells_what_was_evaluated(self):
        found = [
            {((look.name, look.recipe["seed"]), look.made, look.n_days) for look in event.looks}
            for event in self.book.events(COIN)
        ]
        assert found == [set(event) for event in self.events]

    @invariant()
    def every_trial_is_counted_by_the_rule(self):
        trials = self.book.trials(COIN)
        assert self.book.count(COIN) == naive_count([it for event in self.events for it in event]) == trials.n_trials
        assert len(trials.sharpes) == trials.n_trials == trials.n_in_matrix + trials.n_left_out
        assert trials.returns.shape == (len(trials.days), trials.n_in_matrix)


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestLedger = LedgerMachine.TestCase
