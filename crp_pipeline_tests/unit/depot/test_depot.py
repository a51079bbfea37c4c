"""What belongs to a coin, pulls, pushes and pruning."""

from datetime import UTC, datetime, timedelta

import pytest

from crp_pipeline.depot import SHARED, Depot
from crp_pipeline.depot.contents import subject_of, subjects_in
from crp_pipeline.depot.generation import stamp_of
from crp_pipeline.errors import StorageError
from crp_pipeline.places import Places
from crp_pipeline_tests.depots import A_NIGHT, COIN, NOW, held, write


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
