"""Objects and generations: what a store must keep to, and what is damaged in it."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from crp_pipeline.depot.generation import Generation, stamp_of
from crp_pipeline.depot.store import Store
from crp_pipeline.errors import StorageError
from crp_pipeline_tests.depots import A_NIGHT, COIN, held, write


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

    def test_a_store_that_lets_a_file_be_created_twice_is_refused_before_anything_is_published_and_ever_after(
        self, machines, monkeypatch
    ):
        (here, mine), _ = machines
        write(mine, A_NIGHT)
        monkeypatch.setattr(Store, "_create", _overwriting)
        for _ in range(2):
            with pytest.raises(StorageError, match="lets a file be created twice"):
                here.push(mine, COIN)
            assert here.store.numbers(COIN) == []

    def test_whether_a_file_can_be_created_twice_is_asked_once(self, machines, monkeypatch):
        (here, mine), _ = machines
        asked, create = [], Store._create
        monkeypatch.setattr(Store, "_create", lambda it, path, content: asked.append(path) or create(it, path, content))
        for text in ("one", "two"):
            write(mine, {f"candles/{COIN}.parquet": text})
            here.push(mine, COIN)
        assert [path.rpartition("/")[2] for path in asked] == ["created-once"] * 2 + ["00000001.json", "00000002.json"]
        assert here.store.subjects() == [COIN]

    def test_an_altered_object_is_refused_by_its_hash_and_nothing_is_written(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        here.store.put(stamp_of(b"candles"), b"CANDLES")
        with pytest.raises(StorageError, match=rf"^candles/{COIN}.parquet: its object .* has been altered.* push --restore"):
            there.pull(theirs, COIN)
        assert held(theirs) == {}

    def test_a_missing_object_is_named(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        far = datetime.now(UTC) + timedelta(days=1)
        here.store.remove_object(stamp_of(b"trees").sha256, before=far)
        with pytest.raises(
            StorageError, match=rf"^models/{COIN}/lightgbm.bundle/model.txt: its object .* is missing.* push --restore"
        ):
            there.pull(theirs, COIN)

    def test_a_machine_that_has_them_puts_back_what_was_lost_and_what_was_altered(self, machines):
        (here, mine), (there, theirs) = machines
        write(mine, A_NIGHT)
        here.push(mine, COIN)
        here.store.remove_object(stamp_of(b"trees").sha256, before=datetime.now(UTC) + timedelta(days=1))
        here.store.put(stamp_of(b"candles"), b"CANDLES")
        (mine.root / f"backtest/{COIN}.ladder.parquet").unlink()
        write(mine, {f"registry/{COIN}/journal.head": "2"})
        assert here.restore(mine, COIN).n_files == len(A_NIGHT) - 2
        assert here.store.numbers(COIN) == [1]
        there.pull(theirs, COIN)
        assert held(theirs) == A_NIGHT

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

    def test_a_client_that_is_not_installed_is_the_last_cause_that_anybody_is_told(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        with pytest.raises(StorageError, match="whose client is not installed: pip install") as told:
            Store("s3://bucket/x")
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__

    def test_an_unknown_kind_of_storage_is_named(self):
        with pytest.raises(StorageError, match="CRP_STORAGE = nowhere://x is not allowed"):
            Store("nowhere://x")


def _overwriting(store, path, content):
    """Exclusive creation of a store that does not know it."""
    store._files.makedirs(path.rpartition("/")[0], exist_ok=True)
    store._files.pipe_file(path, content)
    return True
