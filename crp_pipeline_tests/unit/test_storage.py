"""Files are there whole or not at all, and an altered folder is noticed."""

import ctypes
import errno
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from crp_pipeline import storage
from crp_pipeline.errors import BundleError, DataContractError, DiskError
from crp_pipeline.storage import (
    MANIFEST,
    frame_hash,
    fresh_folder,
    read_if_sound,
    read_parquet,
    replace_folder,
    seal,
    sha256,
    verify,
    write_json,
    write_parquet,
    write_text,
)
from crp_pipeline.storage import staged as staged_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json_come_back(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "Grüße\n")
    write_json(tmp_path / "a.json", {"b": [1, None], "a": 0.1})
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "Grüße\n"
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.1, "b": [1, None]}


def test_equal_documents_are_equal_files(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert sha256(tmp_path / "a.json") == sha256(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("write", "good", "bad"),
    [
        (write_text, "old", "half \ud800"),
        (write_json, {"old": 1}, {"new": object()}),
        (write_parquet, pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1, {2}, "three"]})),
    ],
    ids=["text", "json", "parquet"],
)
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(write, good, bad, tmp_path):
    path = tmp_path / "file"
    write(path, good)
    before = path.read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write(path, bad)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["file"]


def test_power_that_goes_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, long = tmp_path / "file", "x" * 300_000
    write_text(path, long)
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for letter in "abcdefgh" * 4:
        write_text(path, letter * 300_000)
    stop.set()
    reader.join()
    assert len(seen) > 1
    assert {len(set(text)) for text in seen} == {1}
    assert {len(text) for text in seen} == {300_000}


@pytest.mark.parametrize("kept", [0, 3, 100, -20, -1])
def test_a_parquet_file_cut_short_is_named(kept, tmp_path):
    path = tmp_path / "coin.parquet"
    write_parquet(path, pd.DataFrame({"x": np.arange(100.0)}))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataContractError, match=r"coin\.parquet cannot be read"):
        read_parquet(path)


def test_a_parquet_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DataContractError, match=r"none\.parquet cannot be read"):
        read_parquet(tmp_path / "none.parquet")


def test_a_fresh_folder_is_empty(tmp_path):
    write_text(tmp_path / "folder" / "deep" / "old.txt", "old")
    assert names(fresh_folder(tmp_path / "folder")) == []


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    write_text(tmp_path / "folder" / "old.txt", "old")
    write_text(tmp_path / "staging" / "new.txt", "new")
    assert replace_folder(tmp_path / "staging", tmp_path / "folder") == tmp_path / "folder"
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["new.txt"]


def staged(folder):
    """(staging, folder): a new content beside an old one."""
    write_text(folder / "x" / "old.txt", "old")
    write_text(folder / ".x.new" / "new.txt", "new")
    return folder / ".x.new", folder / "x"


@pytest.fixture
def no_exchange(monkeypatch):
    """A file system that cannot let two names change places."""
    monkeypatch.setattr("crp_pipeline.storage._exchanged", lambda *_: False)


def test_a_folder_changes_place_with_its_successor_in_one_step(tmp_path):
    """Whoever looks meanwhile always finds one of the two, whole."""
    folder, seen, stop = tmp_path / "x", set(), threading.Event()
    write_text(folder / "content.txt", "a")

    def look():
        while not stop.is_set():
            seen.add((folder / "content.txt").read_text())

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        for letter in "bcdefgh" * 30:
            with staged_folder(folder) as staging:
                write_text(staging / "content.txt", letter)
        stop.set()
        looking.result()
    assert seen <= set("abcdefgh")
    assert len(seen) > 1
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("number", storage.CANNOT_EXCHANGE)
def test_where_names_cannot_change_places_a_folder_is_replaced_in_two_steps(number, tmp_path, monkeypatch):
    def refuse(*_):
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace(renameat2=refuse))
    staging, folder = staged(tmp_path)
    replace_folder(staging, folder)
    assert names(tmp_path) == ["x"]
    assert names(folder) == ["new.txt"]


def test_an_exchange_that_fails_for_another_reason_is_an_error_and_changes_nothing(tmp_path):
    staging, folder = staged(tmp_path)
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)):
        storage._exchanged(staging / "nowhere", folder)
    assert names(tmp_path) == [".x.new", "x"]


def test_a_folder_that_cannot_be_filled_leaves_the_old_one_and_nothing_else(tmp_path):
    write_text(tmp_path / "x" / "old.txt", "old")

    def fill():
        with staged_folder(tmp_path / "x") as staging:
            write_text(staging / "half.txt", "half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match=r"x cannot be written: No space left on device; what was there before stays"):
        fill()
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["old.txt"]


@pytest.mark.parametrize("litter", [".file.new", ".x.new/half.txt", ".x.lock"])
def test_what_a_killed_write_left_is_gone_after_the_next_one(litter, tmp_path):
    write_text(tmp_path / litter, "half")
    write_text(tmp_path / "file", "new")
    with staged_folder(tmp_path / "x") as staging:
        write_text(staging / "new.txt", "new")
    assert names(tmp_path) == ["file", "x"]
    assert names(tmp_path / "x") == ["new.txt"]
    assert (tmp_path / "file").read_text() == "new"


def test_many_who_write_the_same_file_at_once_leave_one_content_and_nothing_else(tmp_path):
    texts = [letter * 50_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: write_text(tmp_path / "file", text), texts * 8))
    assert (tmp_path / "file").read_text() in texts
    assert names(tmp_path) == ["file"]


def test_many_who_fill_the_same_folder_at_once_leave_one_content_and_nothing_else(tmp_path):
    def fill(letter):
        with staged_folder(tmp_path / "x") as staging:
            for number in range(3):
                write_text(staging / f"{number}.txt", letter)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, "abcdefgh" * 4))
    assert names(tmp_path) == ["x"]
    assert names(tmp_path / "x") == ["0.txt", "1.txt", "2.txt"]
    assert len({(tmp_path / "x" / name).read_text() for name in names(tmp_path / "x")}) == 1


def test_a_full_disk_is_one_sentence_that_names_the_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, "fsync", full)
    sentence = f"{tmp_path / 'file'} cannot be written: No space left on device; what was there before stays"
    with pytest.raises(DiskError, match=f"^{re.escape(sentence)}$"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.usefixtures("no_exchange")
def test_a_folder_whose_successor_cannot_be_put_in_place_is_put_back(tmp_path, monkeypatch):
    staging, folder = staged(tmp_path)
    rename = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda path, to: rename(path, to) if path != staging else (_ for _ in ()).throw(OSError)
    )
    with pytest.raises(OSError):
        replace_folder(staging, folder)
    assert names(folder) == ["old.txt"]
    assert names(tmp_path) == [".x.new", "x"]


@pytest.mark.usefixtures("no_exchange")
def test_power_that_goes_between_two_renames_loses_neither_folder(tmp_path, monkeypatch):
    """The next replacement keeps the old content until its own is in place."""
    staging, folder = staged(tmp_path)
    rename = Path.rename
    with monkeypatch.context() as power:
        power.setattr(
            Path, "rename", lambda path, to: rename(path, to) if path != staging else (_ for _ in ()).throw(KeyboardInterrupt)
        )
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                replace_folder(staging, folder)
            assert names(tmp_path) == [".x.new", ".x.old"]
            assert names(tmp_path / ".x.old") == ["old.txt"]
    replace_folder(staging, folder)
    assert names(tmp_path) == ["x"]
    assert names(folder) == ["new.txt"]


@pytest.fixture
def sealed(tmp_path):
    folder = fresh_folder(tmp_path / "bundle")
    write_text(folder / "model.txt", "trees")
    write_text(folder / "deep" / "golden.txt", "answers")
    seal(folder, {"coin": "BTC-USDT", "seed": 3})
    return folder


def test_a_seal_carries_the_card_and_the_hash_of_every_file(sealed):
    # printf trees | sha256sum
    trees = "29d807300a961b0cbdb4f22cc5db866a43d20d87b1e17b7f50c91bab25089940"
    card = verify(sealed)
    assert (card["coin"], card["seed"], card["format"]) == ("BTC-USDT", 3, 1)
    assert sorted(card["files"]) == ["deep/golden.txt", "model.txt"]
    assert card["files"]["model.txt"] == trees


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("bit", [1, 128])
def test_an_altered_bit_is_noticed(position, bit, sealed):
    content = bytearray((sealed / "model.txt").read_bytes())
    content[position] ^= bit
    (sealed / "model.txt").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.txt has been altered"):
        verify(sealed)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "model.txt").write_text("tree"), r"model\.txt has been altered"),
        (lambda folder: (folder / "model.txt").write_text(""), r"model\.txt has been altered"),
        (lambda folder: (folder / "deep" / "golden.txt").unlink(), r"deep/golden\.txt is missing, or was not there"),
        (lambda folder: (folder / "stranger.pkl").write_text("?"), r"stranger\.pkl is missing, or was not there"),
        (lambda folder: (folder / "deep" / ".hidden").write_text("?"), r"deep/\.hidden is missing, or was not there"),
        (lambda folder: (folder / "model.txt").rename(folder / "m.txt"), r"m\.txt is missing, or was not there"),
        (lambda folder: (folder / MANIFEST).unlink(), "no readable manifest"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1'), "no readable manifest"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), "no readable manifest"),
        (lambda folder: (folder / MANIFEST).write_text("[1]"), "not of bundle format 1"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 2, "files": {}}'), "not of bundle format 1"),
    ],
)
def test_a_spoilt_folder_is_refused(spoil, told, sealed):
    spoil(sealed)
    with pytest.raises(BundleError, match=told):
        verify(sealed)


def test_a_card_cannot_take_the_place_of_what_the_seal_says(sealed):
    seal(sealed, {"format": 2, "files": {}})
    assert sorted(verify(sealed)["files"]) == ["deep/golden.txt", "model.txt"]


def test_a_manifest_without_a_list_of_files_is_refused(sealed):
    write_json(sealed / MANIFEST, {"format": 1, "files": ["model.txt"]})
    with pytest.raises(BundleError, match="not of bundle format 1"):
        verify(sealed)


def test_a_folder_may_be_sealed_anew(sealed):
    write_text(sealed / "model.txt", "other trees")
    seal(sealed, {"coin": "ETH-USDT"})
    assert verify(sealed)["coin"] == "ETH-USDT"


FRAME = pd.DataFrame(
    {"a": [1.0, np.nan, 0.1], "b": [3.0, 2.0, 1.0], "n": [1, 2, 3], "word": pd.array(["x", "y", "z"], dtype="str")},
    index=pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC", name="open_time", unit="ns"),
)


def with_value(row, name, value):
    changed = FRAME.copy()
    changed.loc[changed.index[row], name] = value
    return changed


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(with_value(2, "a", np.nextafter(0.1, 1)), id="the last digit of one value"),
        pytest.param(with_value(0, "a", np.nan), id="one value missing"),
        pytest.param(with_value(1, "a", 0.0), id="a missing value filled"),
        pytest.param(with_value(1, "n", 4), id="a whole number"),
        pytest.param(with_value(1, "word", "Y"), id="a word"),
        pytest.param(FRAME.rename(columns={"a": "A"}), id="a name"),
        pytest.param(FRAME.rename(columns={"a": "b", "b": "a"}), id="two names exchanged"),
        pytest.param(FRAME[["b", "a", "n", "word"]], id="the order of columns"),
        pytest.param(FRAME.iloc[[1, 0, 2]], id="the order of rows"),
        pytest.param(FRAME.iloc[:2], id="a row less"),
        pytest.param(FRAME.drop(columns="n"), id="a column less"),
        pytest.param(FRAME.set_axis(FRAME.index + pd.Timedelta("1ns")), id="the times"),
        pytest.param(FRAME.astype({"n": "float64"}), id="a type"),
    ],
)
def test_the_hash_of_a_frame_changes_with(changed):
    assert frame_hash(changed) != frame_hash(FRAME)


def test_the_hash_of_a_frame_outlives_a_copy_and_a_file(tmp_path):
    write_parquet(tmp_path / "frame.parquet", FRAME)
    assert frame_hash(read_parquet(tmp_path / "frame.parquet")) == frame_hash(FRAME.copy()) == frame_hash(FRAME)
    assert len(frame_hash(FRAME)) == 16


def test_the_hash_of_a_frame_is_the_same_in_another_process(tmp_path):
    write_parquet(tmp_path / "frame.parquet", FRAME)
    code = "import sys; from pathlib import Path; from crp_pipeline.storage import *; print(frame_hash(read_parquet(Path(sys.argv[1]))))"
    other = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "frame.parquet")],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == frame_hash(FRAME)


def test_a_frame_that_only_saves_work_is_done_without_when_it_is_missing_or_damaged(tmp_path):
    path, told = tmp_path / "a.parquet", []
    assert read_if_sound(path, tell=told.append) is None
    assert told == []
    write_parquet(path, pd.DataFrame({"x": [1.0]}))
    assert read_if_sound(path, tell=told.append).equals(pd.DataFrame({"x": [1.0]}))
    path.write_bytes(path.read_bytes()[:-20])
    assert read_if_sound(path, tell=told.append) is None
    [sentence] = told
    assert sentence.startswith(f"{path} cannot be read")
