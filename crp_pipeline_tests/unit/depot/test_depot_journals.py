"""Journals that go on, and journals that fork."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest

from crp_pipeline.chain import only_writer
from crp_pipeline.depot.generation import stamp_of
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline_tests.depots import COIN, held, write


class TestJournals:
    """`one` was pushed by the first machine and pulled by the second."""

    @staticmethod
    def say(places: Places, lines: str) -> None:
        write(places, {f"registry/{COIN}/journal.jsonl": lines, f"registry/{COIN}/journal.head": str(lines.count("\n"))})

    def test_a_journal_that_goes_on_is_pushed_although_others_have_pushed_values(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"candles/{COIN}.parquet": "more"})
        here.push(mine, COIN)
        self.say(theirs, "one\ntwo\n")
        assert there.push(theirs, COIN).generation == 3
        assert held(theirs)[f"candles/{COIN}.parquet"] == "more"
        here.pull(mine, COIN)
        assert held(mine) == held(theirs)

    def test_an_older_journal_does_not_overwrite_a_longer_one(self, both):
        (here, mine), (there, theirs) = both
        self.say(mine, "one\ntwo\n")
        here.push(mine, COIN)
        self.say(theirs, "")
        there.push(theirs, COIN)
        assert held(theirs)[f"registry/{COIN}/journal.jsonl"] == "one\ntwo\n"
        (theirs.root / f"registry/{COIN}/journal.jsonl").unlink()
        there.push(theirs, COIN)
        assert held(theirs) == held(mine)

    def test_a_fork_is_refused_whoever_asks_and_however(self, both):
        (here, mine), (there, theirs) = both
        self.say(mine, "one\ntwo\n")
        self.say(theirs, "one\nTWO\n")
        here.push(mine, COIN)
        for attempt in (lambda: there.push(theirs, COIN), lambda: there.pull(theirs, COIN, lay_aside=True)):
            with pytest.raises(
                StorageError,
                match=rf"^{COIN}: registry/{COIN}/journal.jsonl forked: .* generation 1 and first with generation 2",
            ):
                attempt()
        assert held(theirs)[f"registry/{COIN}/journal.jsonl"] == "one\nTWO\n"

    def test_an_altered_line_is_refused_although_nobody_else_pushed(self, both):
        (here, mine), _ = both
        self.say(mine, "ONE\ntwo\n")
        with pytest.raises(StorageError, match="forked"):
            here.push(mine, COIN)

    def test_a_line_that_a_write_was_cut_off_in_was_never_said(self, both):
        (here, mine), (there, theirs) = both
        self.say(mine, "one\ntw")
        here.push(mine, COIN)
        self.say(theirs, "one\nthree\n")
        there.push(theirs, COIN)
        here.pull(mine, COIN)
        assert held(mine)[f"registry/{COIN}/journal.jsonl"] == "one\nthree\n"

    def test_a_ledger_begun_anew_continues_the_one_it_laid_aside(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"ledger/{COIN}/trials.jsonl": "a\nb\n"})
        here.push(mine, COIN)
        write(mine, {f"ledger/{COIN}/trials.jsonl": "anew\n", f"ledger/{COIN}/aside/1/trials.jsonl": "a\nb\n"})
        here.push(mine, COIN)
        there.pull(theirs, COIN)
        assert held(theirs)[f"ledger/{COIN}/trials.jsonl"] == "anew\n"

    def test_a_push_waits_until_nobody_writes_to_a_book(self, both):
        (here, mine), _ = both
        self.say(mine, "one\ntwo\n")
        with ThreadPoolExecutor(1) as aside:
            with only_writer(mine.root / f"registry/{COIN}/.lock"):
                waiting = aside.submit(here.push, mine, COIN)
                sleep(0.3)
                assert not waiting.done()
                self.say(mine, "one\ntwo\nthree\n")
            waiting.result(timeout=30)
        kept = here.store.newest(COIN).files[f"registry/{COIN}/journal.jsonl"]
        assert kept == stamp_of(b"one\ntwo\nthree\n")

    def test_what_was_changed_here_alone_stays_beside_a_journal_that_went_on_without_it(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"registry/{COIN}/note": "first"})
        here.push(mine, COIN)
        there.pull(theirs, COIN)
        (mine.root / f"registry/{COIN}/note").unlink()
        self.say(mine, "one\ntwo\n")
        here.push(mine, COIN)
        write(theirs, {f"registry/{COIN}/note": "second"})
        there.pull(theirs, COIN)
        assert held(theirs) == {**held(mine), f"registry/{COIN}/note": "second"}
