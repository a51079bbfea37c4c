"""Objects, generations, pulls, pushes, journals and pruning, on filesystems of memory and of local files."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from uuid import uuid4

import pytest

from crp_pipeline.chain import only_writer
from crp_pipeline.depot import SHARED, Depot
from crp_pipeline.depot.contents import paths_of, subject_of, subjects_in
from crp_pipeline.depot.generation import Generation, stamp_of
from crp_pipeline.depot.store import Store
from crp_pipeline.depot.working_copy import WorkingCopy
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places

COIN = "EDGE-DEMO"
NOW = datetime(2024, 6, 3, tzinfo=UTC)


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return f"memory://{uuid4().hex}/nested" if request.param == "memory" else f"file://{tmp_path}/bucket"


@pytest.fixture
def machines(tmp_path, url):
    """Two machines: each its depot and its places."""
    return [(Depot(url, machine=name), Places(tmp_path / name)) for name in ("first", "second")]


def write(places: Places, files: dict[str, str]) -> None:
    for path, text in files.items():
        (places.root / path).parent.mkdir(parents=True, exist_ok=True)
        (places.root / path).write_text(text)


def held(places: Places, coin: str | None = COIN) -> dict[str, str]:
    return {path.relative_to(places.root).as_posix(): path.read_text() for path in paths_of(places.root, coin or SHARED)}


A_NIGHT = {
    f"candles/{COIN}.parquet": "candles",
    f"models/{COIN}/lightgbm.bundle/model.txt": "trees",
    f"models/{COIN}/.record/lightgbm/ab12/facts.json": "{}",
    f"backtest/{COIN}.ladder.parquet": "ladder",
    f"registry/{COIN}/journal.jsonl": "one\n",
    f"registry/{COIN}/journal.head": "1",
}


@pytest.fixture
def both(machines):
    """... of which the first has pushed a night, and the second has pulled it."""
    (here, mine), (there, theirs) = machines
    write(mine, A_NIGHT)
    here.push(mine, COIN)
    there.pull(theirs, COIN)
    return machines


class TestWhatBelongsToACoin:
    @pytest.mark.parametrize(
        ("stage", "name", "subject"),
        [
            ("features", "BTC-USDT.parquet", "BTC-USDT"),
            ("backtest", "BTC-USDT.equity_by_cost.parquet", "BTC-USDT"),
            ("models", "BTC-USDT", "BTC-USDT"),
            ("models", "pooled_transformer.parquet", SHARED),
            ("reports", "fleet", SHARED),
            ("reports", "results.md", SHARED),
            ("controls", "1234567890123456.json", SHARED),
            ("market", "market.parquet", SHARED),
        ],
    )
    def test_a_name_up_to_its_first_dot_tells_whose_it_is(self, stage, name, subject):
        assert subject_of(stage, name) == subject

    def test_locks_half_written_files_and_raw_data_belong_to_nobody(self, tmp_path):
        places = Places(tmp_path)
        write(places, A_NIGHT)
        write(places, {"summary/summary.parquet": "all"})
        strangers = (
            f"registry/{COIN}/.lock",
            f"registry/{COIN}/.candidate/stack.json",
            f"registry/{COIN}/versions/.new/manifest.json",
            f"candles/.{COIN}.parquet.17.new",
            f"models/{COIN}/.lightgbm.bundle.old/model.txt",
            f"raw/{COIN}.csv",
            f"signals/online/{COIN}.parquet",
            ".dagster/history/runs.db",
            "README.md",
        )
        write(places, dict.fromkeys(strangers, "x"))
        assert held(places) == A_NIGHT
        assert held(places, None) == {"summary/summary.parquet": "all"}
        assert subjects_in(tmp_path) == {COIN, SHARED}


class TestPushAndPull:
    def test_what_one_machine_pushes_another_pulls_byte_for_byte(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        pushed = here.push(mine, COIN, now=NOW)
        pulled = there.pull(theirs, COIN)
        assert held(theirs) == A_NIGHT
        assert (pushed.generation, pulled.generation) == (1, 1)
        assert (pushed.n_files, pulled.n_files) == (len(A_NIGHT), len(A_NIGHT))
        assert pulled.n_bytes == sum(map(len, A_NIGHT.values()))

    def test_only_what_differs_travels(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"candles/{COIN}.parquet": "more candles"})
        (mine.root / f"backtest/{COIN}.ladder.parquet").unlink()
        assert here.push(mine, COIN).n_files == 1
        assert there.pull(theirs, COIN).n_files == 1
        assert held(theirs) == held(mine)
        assert there.pull(theirs, COIN).n_files == 0

    def test_a_push_of_nothing_asks_for_nothing_and_gives_no_number(self, machines, monkeypatch):
        (here, mine), _ = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        monkeypatch.delattr(here, "store")
        monkeypatch.setattr(here, "store", type("Silent", (), {"url": machines[1][0].store.url})(), raising=False)
        assert here.push(mine, COIN).generation == 1

    def test_files_that_were_never_pushed_stay(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        write(theirs, {"candles/NOISE-DEMO.parquet": "another coin", f"raw/{COIN}.csv": "raw"})
        there.pull(theirs, COIN)
        assert held(theirs, "NOISE-DEMO") == {"candles/NOISE-DEMO.parquet": "another coin"}
        write(theirs, {f"labels/{COIN}.parquet": "labels"})
        there.pull(theirs, COIN)
        assert held(theirs) == {**A_NIGHT, f"labels/{COIN}.parquet": "labels"}

    def test_whoever_comes_second_is_told_the_coin_the_file_and_both_generations(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"candles/{COIN}.parquet": "mine"})
        write(theirs, {f"labels/{COIN}.parquet": "labels of the old candles"})
        here.push(mine, COIN)
        before = held(theirs)
        for attempt in (there.push, there.pull):
            with pytest.raises(
                StorageError, match=rf"^{COIN}: labels/{COIN}.parquet .* generation 1, .* generation 2, pushed by first"
            ):
                attempt(theirs, COIN)
        assert held(theirs) == before
        assert here.store.numbers(COIN) == [1, 2]

    def test_what_both_made_alike_is_no_difference(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        write(theirs, A_NIGHT)
        here.push(mine, COIN)
        assert there.push(theirs, COIN).generation == 1

    def test_values_laid_aside_are_kept_and_the_coin_is_wholly_the_newest_generation(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"candles/{COIN}.parquet": "mine"})
        write(theirs, {f"candles/{COIN}.parquet": "theirs", f"labels/{COIN}.parquet": "labels"})
        here.push(mine, COIN)
        moved = there.pull(theirs, COIN, lay_aside=True)
        assert held(theirs) == held(mine)
        assert sorted((theirs.root / path).read_text() for path in moved.laid_aside) == ["labels", "theirs"]

    def test_parallel_steps_of_one_run_may_change_different_files(self, both):
        (here, mine), (there, theirs) = both
        write(mine, {f"labels/{COIN}.parquet": "labels"})
        write(theirs, {f"feeds/{COIN}.parquet": "feeds"})
        here.push(mine, COIN, run="r1")
        assert there.push(theirs, COIN, run="r1").generation == 3
        here.pull(mine, COIN)
        assert held(mine) == held(theirs) == {**A_NIGHT, f"labels/{COIN}.parquet": "labels", f"feeds/{COIN}.parquet": "feeds"}
        write(mine, {f"labels/{COIN}.parquet": "a"})
        write(theirs, {f"labels/{COIN}.parquet": "b"})
        here.push(mine, COIN, run="r1")
        with pytest.raises(StorageError, match="labels"):
            there.push(theirs, COIN, run="r1")

    def test_stages_that_nobody_asks_for_are_not_fetched_and_not_lost(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        there.pull(theirs, COIN, stages=("candles",))
        assert held(theirs) == {f"candles/{COIN}.parquet": "candles"}
        write(theirs, {f"candles/{COIN}.parquet": "more"})
        there.push(theirs, COIN)
        here.pull(mine, COIN)
        assert held(mine) == {**A_NIGHT, f"candles/{COIN}.parquet": "more"}
        there.pull(theirs, COIN)
        assert held(theirs) == held(mine)

    def test_what_belongs_to_no_coin_goes_on_stage_by_stage(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, {"market/market.parquet": "market"})
        write(theirs, {"controls/controls.parquet": "controls"})
        here.push(mine, None)
        there.push(theirs, None)
        here.pull(mine, None)
        assert (
            held(mine, None)
            == held(theirs, None)
            == {"market/market.parquet": "market", "controls/controls.parquet": "controls"}
        )

    def test_ingredients_of_all_coins_are_those_of_both_machines(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, {"registry/market/aa.parquet": "a", "registry/market/cc.json": "written here"})
        write(theirs, {"registry/market/bb.parquet": "b", "registry/market/cc.json": "written there"})
        here.push(mine, None)
        there.push(theirs, None)
        here.pull(mine, None)
        assert held(mine, None) == held(theirs, None)
        assert held(mine, None) == {
            "registry/market/aa.parquet": "a",
            "registry/market/bb.parquet": "b",
            "registry/market/cc.json": "written here",
        }
        (mine.root / "registry/market/aa.parquet").unlink()
        here.push(mine, None)
        there.pull(theirs, None)
        assert held(mine, None) == held(theirs, None)
        assert "registry/market/aa.parquet" not in held(theirs, None)

    def test_the_standing_names_what_is_unpushed(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN, now=NOW)
        write(theirs, {f"labels/{COIN}.parquet": "labels"})
        standing = there.standing(theirs, COIN)
        assert (standing.here, standing.newest, standing.by) == (0, 1, "first")
        assert standing.unpushed == (f"labels/{COIN}.parquet",)
        assert there.subjects(theirs) == [COIN]


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


class TestTheStore:
    def test_of_many_writers_of_one_generation_exactly_one_wins(self, url):
        def publish(name: int) -> bool:
            one = Generation(subject=COIN, number=1, at="", by=str(name), files={})
            return Store(url).publish(one)

        with ThreadPoolExecutor(8) as at_once:
            won = list(at_once.map(publish, range(8)))
        assert won.count(True) == 1
        assert Store(url).newest(COIN).by == str(won.index(True))

    def test_a_creation_whose_answer_was_lost_is_won_when_tried_again(self, url):
        one = Generation(subject=COIN, number=1, at="", by="me", files={"a/B": stamp_of(b"b")})
        assert Store(url).publish(one)
        assert Store(url).publish(one)

    def test_a_store_that_lets_a_file_be_created_twice_is_refused(self, url, monkeypatch):
        monkeypatch.setattr(Store, "_create", lambda *_: True)
        with pytest.raises(StorageError, match="lets a file be created twice"):
            Store(url).publish(Generation(subject=COIN, number=1, at="", by="", files={}))

    def test_an_altered_object_is_refused_by_its_hash_and_nothing_is_written(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        here.store.put(stamp_of(b"candles"), b"CANDLES")
        with pytest.raises(StorageError, match=rf"^candles/{COIN}.parquet: its object .* has been altered"):
            there.pull(theirs, COIN)
        assert held(theirs) == {}

    def test_a_missing_object_is_named(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        far = datetime.now(UTC) + timedelta(days=1)
        here.store.remove_object(stamp_of(b"trees").sha256, before=far)
        with pytest.raises(StorageError, match=rf"^models/{COIN}/lightgbm.bundle/model.txt: its object .* is missing"):
            there.pull(theirs, COIN)

    @pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "a\\b", ""])
    def test_a_generation_that_leaves_the_data_folder_is_refused(self, path):
        told = json.dumps({"subject": COIN, "number": 1, "at": "", "by": "", "run": "", "files": {path: ["0" * 64, 1]}})
        with pytest.raises(StorageError, match="is no generation"):
            Generation.from_bytes(told.encode(), where="x")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": {}}', b'{"files": {"a": ["zz", 1]}}'])
    def test_a_damaged_generation_is_named(self, content):
        with pytest.raises(StorageError, match=r"^bucket/index/1.json is no generation"):
            Generation.from_bytes(content, where="bucket/index/1.json")

    @pytest.mark.parametrize("url", ["s3://key:hunter2secret@bucket/x", "s3://bucket/x?secret=hunter2secret"])
    def test_credentials_in_the_address_are_refused_and_not_repeated(self, url):
        with pytest.raises(StorageError, match="CRP_STORAGE must hold no credentials") as told:
            Store(url)
        assert "hunter2secret" not in str(told.value)

    def test_an_unknown_kind_of_storage_is_named(self):
        with pytest.raises(StorageError, match="CRP_STORAGE = nowhere://x is not allowed"):
            Store("nowhere://x")


class Killed(BaseException):
    pass


class TestKills:
    def test_a_push_killed_before_its_last_step_leaves_the_depot_as_it_was_and_is_done_again(self, machines, monkeypatch):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        with monkeypatch.context() as patch:
            patch.setattr(Store, "publish", _kill)
            with pytest.raises(Killed):
                here.push(mine, COIN)
        assert there.pull(theirs, COIN).generation == 0
        assert held(theirs) == {}
        assert here.push(mine, COIN).generation == 1
        there.pull(theirs, COIN)
        assert held(theirs) == A_NIGHT

    @pytest.mark.parametrize("moment", range(len(A_NIGHT) + 1))
    def test_a_pull_killed_between_two_files_is_finished_by_whoever_comes_next(self, both, monkeypatch, moment):
        (here, mine), (there, theirs) = both
        after = {path: f"{text}two\n" for path, text in A_NIGHT.items()}
        write(mine, after)
        here.push(mine, COIN)
        moves = iter(range(moment))
        with monkeypatch.context() as patch:
            patch.setattr("crp_pipeline.depot.working_copy._move", _killed_after(moves))
            with pytest.raises(Killed) if moment < len(A_NIGHT) else nullcontext():
                there.pull(theirs, COIN)
        assert there.push(theirs, COIN).generation == 2
        assert held(theirs) == after

    @pytest.mark.parametrize("moment", range(2 * len(A_NIGHT) - 2))
    def test_of_a_pull_killed_while_files_make_way_both_states_are_kept(self, machines, monkeypatch, moment):
        (here, mine), (there, theirs) = machines
        values = [path for path in A_NIGHT if not path.startswith("registry")]
        for (_, places), text in zip(machines, ("mine", "theirs"), strict=True):
            write(places, dict.fromkeys(values, text))
        here.push(mine, COIN)
        with monkeypatch.context() as patch:
            patch.setattr("crp_pipeline.depot.working_copy._move", _killed_after(iter(range(moment))))
            with suppress(Killed):
                there.pull(theirs, COIN, lay_aside=True)
        there.pull(theirs, COIN, lay_aside=True)
        assert held(theirs) == dict.fromkeys(values, "mine")
        aside = [path for path in (theirs.root / ".depot/aside").rglob("*") if path.is_file()]
        assert [path.read_text() for path in aside] == ["theirs"] * len(values)

    def test_a_pull_killed_while_it_fetches_has_touched_nothing(self, machines, monkeypatch):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        with monkeypatch.context() as patch:
            patch.setattr(WorkingCopy, "_do", _kill)
            with pytest.raises(Killed):
                there.pull(theirs, COIN)
        assert held(theirs) == {}


class TestPruning:
    def test_old_generations_and_what_only_they_name_are_forgotten_and_all_else_can_still_be_pulled(self, machines):
        (here, mine), (there, theirs) = machines
        for night in range(6):
            write(
                mine,
                {**A_NIGHT, f"candles/{COIN}.parquet": f"night {night}", f"registry/{COIN}/versions/{night}/m": f"v{night}"},
            )
            here.push(mine, COIN, now=NOW + timedelta(days=night))
        later = datetime.now(UTC) + timedelta(days=2)
        assert here.prune(keep=2, now=later) == (4, 4)
        assert here.store.numbers(COIN) == [5, 6]
        there.pull(theirs, COIN)
        assert held(theirs) == held(mine)

    def test_what_is_younger_than_a_day_stays(self, machines):
        (here, mine), _ = machines
        for night in range(4):
            write(mine, {f"candles/{COIN}.parquet": f"night {night}"})
            here.push(mine, COIN)
        assert here.prune(keep=1) == (0, 0)
        here.store.put(stamp_of(b"about to be named"), b"about to be named")
        assert here.prune(keep=1, now=datetime.now(UTC)) == (0, 0)

    def test_an_object_put_again_while_a_prune_goes_on_stays(self, machines):
        (here, _), _ = machines
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        here.store.put(stamp_of(b"x"), b"x")
        assert not here.store.remove_object(stamp_of(b"x").sha256, before=long_ago)

    def test_a_machine_far_behind_pulls_what_is_kept(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN, now=NOW)
        there.pull(theirs, COIN)
        for night in range(3):
            write(mine, {f"candles/{COIN}.parquet": f"night {night}"})
            here.push(mine, COIN, now=NOW)
        here.prune(keep=1, now=datetime.now(UTC) + timedelta(days=2))
        assert there.pull(theirs, COIN).generation == 4
        assert held(theirs) == held(mine)


def test_another_depot_is_another_agreement(tmp_path, url):
    places = Places(tmp_path / "machine")
    write(places, A_NIGHT)
    Depot(url).push(places, COIN)
    other = Depot(f"file://{tmp_path}/another")
    assert other.push(places, COIN).generation == 1
    assert other.pull(Places(tmp_path / "next"), COIN).n_files == len(A_NIGHT)


def _kill(*_args, **_kwargs):
    raise Killed


def _killed_after(moves):
    def move(source: Path, target: Path) -> None:
        if next(moves, None) is None:
            raise Killed
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)

    return move


class TestTheShell:
    """`crp depot`, on a depot that another machine has pushed to."""

    @pytest.fixture
    def crp(self, machines, url, tmp_path, crp, monkeypatch):
        (here, mine), _ = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN, now=NOW)
        monkeypatch.setenv("CRP_STORAGE", url)
        monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path / "second"))

        def run(*words: str) -> str:
            code, out, err = crp("depot", *words)
            assert err == "" if code == 0 else out == ""
            return out + err

        return run

    def test_both_directions_and_what_stands_where(self, crp, machines):
        (here, mine), (_, theirs) = machines
        assert re.search(rf"{COIN} +0 +1 +first +{NOW:%Y-%m-%d}", crp("status"))
        assert crp("pull", "--coin", COIN) == f"{COIN}: generation 1, 6 files fetched, 0.0 MB\n"
        assert held(theirs) == A_NIGHT
        write(theirs, {f"labels/{COIN}.parquet": "labels"})
        assert crp("push") == f"{COIN}: generation 2, 1 files sent, 0.0 MB\n"
        here.pull(mine, COIN)
        write(mine, {f"labels/{COIN}.parquet": "more"})
        here.push(mine, COIN)
        write(theirs, {f"labels/{COIN}.parquet": "less"})
        assert crp("push").startswith(f"crp: {COIN}: labels/{COIN}.parquet was changed here since generation 2")
        assert "laid aside: " in crp("pull", "--lay-aside")
        assert held(theirs) == held(mine)
        assert crp("prune", "--keep", "1") == "forgotten: generations 1, objects 0\n"

    def test_a_coin_that_nobody_has_and_a_depot_that_is_none_are_one_sentence(self, crp, monkeypatch):
        assert crp("pull", "--coin", "BTC-USDT") == "crp: BTC-USDT has no files, neither here nor in the depot\n"
        monkeypatch.delenv("CRP_STORAGE")
        assert crp("status") == "crp: there is no depot: CRP_STORAGE names none, such as s3://bucket/prefix\n"
