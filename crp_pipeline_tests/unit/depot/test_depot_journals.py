"""Journals that go on, and journals that fork."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest

from crp_pipeline.chain import only_writer
from crp_pipeline.depot.generation import stamp_of
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline_tests.depots import COIN, held, session_of, write


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


class TestUnattended:
    """The first machine was killed after a line of its ledger, and the second went on without that line."""

    LEDGER = f"ledger/{COIN}/trials.jsonl"

    @pytest.fixture
    def overtaken(self, both):
        (here, mine), (there, theirs) = both
        self.write(mine, "a\n", "old")
        here.push(mine, COIN)
        there.pull(theirs, COIN)
        self.write(mine, "a\nmine\n", "mine")
        self.write(theirs, "a\ntheirs\n", "theirs")
        there.push(theirs, COIN)
        return both

    def write(self, places: Places, lines: str, returns: str) -> None:
        head = str(lines.count("\n"))
        write(places, {self.LEDGER: lines, f"ledger/{COIN}/trials.head": head, f"ledger/{COIN}/returns/{returns}": returns})

    def test_trials_that_nobody_was_shown_make_way_and_are_kept(self, overtaken):
        (here, mine), (_, theirs) = overtaken
        moved = here.pull(mine, COIN, lay_aside=True, unattended=True)
        assert held(mine) == held(theirs)
        kept = {path.rpartition("/")[2]: (mine.root / path).read_text() for path in moved.laid_aside}
        assert kept == {"trials.jsonl": "a\nmine\n", "mine": "mine"}
        assert here.push(mine, COIN).n_files == 0

    def test_a_plain_rerun_of_the_run_that_was_killed_goes_on_and_warns(self, overtaken):
        (here, mine), (_, theirs) = overtaken
        said = []
        session_of(here, mine, job="nightly", coin=COIN, tell=said.append).pull()
        assert held(mine) == held(theirs)
        [sentence] = said
        assert sentence.startswith(f"{COIN}: never pushed and overtaken, laid aside: ")
        assert self.LEDGER in sentence

    def test_by_hand_they_do_not(self, overtaken):
        (here, mine), _ = overtaken
        with pytest.raises(StorageError, match=rf"^{COIN}: {self.LEDGER} forked"):
            here.pull(mine, COIN, lay_aside=True)

    @pytest.mark.parametrize(
        "more",
        [
            {f"registry/{COIN}/journal.jsonl": "one\npromoted on these trials\n"},
            {f"tuning/{COIN}/lightgbm.json": "found by these trials"},
            {f"signals/{COIN}/decisions.jsonl": "decided\n"},
        ],
    )
    def test_nor_where_something_that_was_not_pushed_either_may_rest_on_them(self, overtaken, more):
        (here, mine), _ = overtaken
        write(mine, more)
        before = held(mine)
        with pytest.raises(StorageError, match=rf"^{COIN}: {self.LEDGER} forked"):
            here.pull(mine, COIN, lay_aside=True, unattended=True)
        assert held(mine) == before

    def test_nor_where_a_line_that_others_know_was_altered(self, overtaken):
        (here, mine), _ = overtaken
        self.write(mine, "A\nmine\n", "mine")
        with pytest.raises(StorageError, match=rf"^{COIN}: {self.LEDGER} forked"):
            here.pull(mine, COIN, lay_aside=True, unattended=True)

    def test_nor_where_a_machine_brings_a_ledger_that_never_came_from_here(self, both, tmp_path):
        (here, mine), _ = both
        self.write(mine, "a\n", "old")
        here.push(mine, COIN)
        stranger = Places(tmp_path / "stranger")
        self.write(stranger, "years of trials\n", "own")
        with pytest.raises(StorageError, match=rf"^{COIN}: {self.LEDGER} forked"):
            here.pull(stranger, COIN, lay_aside=True, unattended=True)

    def test_a_champion_never_makes_way(self, both):
        (here, mine), (there, theirs) = both
        TestJournals.say(mine, "one\ntwo\n")
        TestJournals.say(theirs, "one\nTWO\n")
        here.push(mine, COIN)
        with pytest.raises(StorageError, match=rf"^{COIN}: registry/{COIN}/journal.jsonl forked"):
            there.pull(theirs, COIN, lay_aside=True, unattended=True)
