"""A killed process loses nothing, corrupts nothing, and whoever does again what it did ends where it would have ended."""

import shutil

import pytest

from crp_pipeline_tests.e2e.deeds import DEEDS
from crp_pipeline_tests.e2e.kill_points import contents, in_a_child, with_torn


@pytest.mark.parametrize("name", DEEDS)
def test_a_deed_that_is_killed_at_any_moment_loses_nothing_and_is_done_by_doing_it_again(name, tmp_path):
    deed, before, undisturbed = DEEDS[name], tmp_path / "before", tmp_path / "undisturbed"
    before.mkdir()
    deed.prepare(before)
    shutil.copytree(before, undisturbed)
    moments = in_a_child(deed.do, undisturbed)
    assert moments, "nothing was written"
    for moment in with_torn(moments):
        place = tmp_path / "killed"
        shutil.copytree(before, place)
        in_a_child(deed.do, place, moment)
        deed.check(place)
        deed.do(place)
        assert contents(place) == contents(undisturbed), f"killed before: {moment}"
        shutil.rmtree(place)
