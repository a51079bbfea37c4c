"""`crp depot`."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from crp_pipeline.depot.generation import stamp_of
from crp_pipeline_tests.depots import A_NIGHT, COIN, NOW, held, write


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

    def test_what_the_storage_has_lost_is_put_back(self, crp, machines):
        (here, _), _ = machines
        crp("pull")
        here.store.remove_object(stamp_of(b"trees").sha256, before=datetime.now(UTC) + timedelta(days=1))
        told = crp("push", "--restore")
        assert told == f"{COIN}: generation 1, 6 files put back, 0.0 MB\n{COIN}: generation 1, 0 files sent, 0.0 MB\n"
        assert here.store.get(stamp_of(b"trees"), "model.txt") == b"trees"

    def test_a_coin_that_nobody_has_and_a_depot_that_is_none_are_one_sentence(self, crp, monkeypatch):
        assert crp("pull", "--coin", "BTC-USDT") == "crp: BTC-USDT has no files, neither here nor in the depot\n"
        monkeypatch.delenv("CRP_STORAGE")
        assert crp("status") == "crp: there is no depot: CRP_STORAGE names none, such as s3://bucket/prefix\n"
