"""Pulls and pushes that are killed."""

from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from crp_pipeline.depot.store import Store
from crp_pipeline.depot.working_copy import WorkingCopy
from crp_pipeline_tests.depots import A_NIGHT, COIN, held, write


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
