"""A killed process loses nothing, corrupts nothing, and whoever does again what it did ends where it would have ended."""

import re
import shutil
import subprocess

import pytest

from crp_pipeline.errors import CrpError
from crp_pipeline_tests.e2e.deeds import DEEDS
from crp_pipeline_tests.e2e.kill_points import TAKES_SPACE, contents, in_a_child, on_a_disk_that_fills, with_torn

WHY = "[^;]*No space left on device[^;]*; what was there before stays"

LONG = {
    "a backtest is stored",
    "a bundle is saved",
    "months of an exchange are stored",
    "a data set is exported",
    "a damaged ledger is begun anew",
    "a candidate is registered and rejected",
    "a champion is rolled back",
    "a study goes on",
}
"""Deeds of many moments, or slow ones."""
each_deed = pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in DEEDS])


class Stage:
    """A deed, what it starts from, and what it comes to when nobody disturbs it."""

    def __init__(self, name, root):
        self.deed, self.before, self.undisturbed, self.place = (
            DEEDS[name],
            root / "before",
            root / "undisturbed",
            root / "place",
        )
        self.before.mkdir()
        self.deed.prepare(self.before)
        shutil.copytree(self.before, self.undisturbed)
        self.moments = in_a_child(self.deed.do, self.undisturbed)
        self.end = contents(self.undisturbed)

    def begin(self):
        shutil.rmtree(self.place, ignore_errors=True)
        return shutil.copytree(self.before, self.place)

    def do_again(self):
        self.deed.check(self.place)
        self.deed.do(self.place)
        return contents(self.place)


@each_deed
def test_a_deed_that_is_killed_at_any_moment_loses_nothing_and_is_done_by_doing_it_again(name, tmp_path):
    stage = Stage(name, tmp_path)
    assert stage.moments, "nothing was written"
    for moment in with_torn(stage.moments):
        in_a_child(stage.deed.do, stage.begin(), moment)
        assert stage.do_again() == stage.end, f"killed before: {moment}"


@each_deed
def test_a_disk_that_is_full_from_any_moment_on_is_one_sentence_and_the_deed_is_done_once_there_is_room(name, tmp_path):
    stage = Stage(name, tmp_path)
    for moment in (it for it in stage.moments if it.kind in TAKES_SPACE):
        error = on_a_disk_that_fills(stage.deed.do, stage.begin(), moment)
        assert re.fullmatch(rf"DiskError: {re.escape(str(stage.place))}\S* cannot be written: {WHY}", error), (
            f"{moment}: {error}"
        )
        assert stage.do_again() == stage.end, f"full before: {moment}"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here: that takes root and a kernel that lets it")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def complaint_of(do, place):
    """What it says where it cannot be done; nothing where it is done."""
    try:
        do(place)
    except CrpError as error:
        return str(error)
    return ""


def fill_up(disk, *, free_kib):
    """Leave so much room and no more."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(max(free - free_kib * 1024, 0)))


@pytest.mark.parametrize(
    ("name", "rooms_kib"),
    [
        ("a table is stored", (0, 4, 8)),
        ("a bundle is saved", (0, 4, 8, 16, 24)),
        ("a fold's model goes into the record", (0, 4, 12, 20)),
        ("a trial goes into the ledger", (0, 4, 8, 12)),
        ("a candidate is gathered, registered and promoted", (0, 8, 24, 40, 56)),
        pytest.param("a study goes on", (0, 4, 16, 24), marks=pytest.mark.slow),
    ],
)
def test_on_a_disk_that_is_really_full_nothing_is_lost_and_the_deed_is_done_once_there_is_room(
    name, rooms_kib, tmp_path, small_disk
):
    stage = Stage(name, tmp_path)
    stage.place = small_disk / "place"
    for room in rooms_kib:
        place = stage.begin()
        fill_up(small_disk, free_kib=room)
        error = complaint_of(stage.deed.do, place)
        assert re.fullmatch(rf"{re.escape(str(place))}\S* cannot be written: .*", error) or (room > 0 and not error), error
        (small_disk / "filler").unlink()
        assert stage.do_again() == stage.end, f"{room} KiB were left"
