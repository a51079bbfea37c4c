"""Which versions may lose their files: old ones that nobody will ask for again.

Never a version that reigned at any time, the challenger or the shadow, and never the newest of a recipe among the versions
that the gate found good and that never reigned: these are still in the running, because whoever reigns next, the shadow's seat
goes to one of them. So pruning changes neither who has a role nor who would get it after any promotion or rollback to come.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from crp_pipeline.registry.state import State
from crp_pipeline.settings import RetentionConfig


def removable(state: State, retention: RetentionConfig, recipe: Callable[[str], str], *, now: datetime) -> list[str]:
    """Versions that may go, oldest first; `recipe` tells what a version was made by whose line does not."""
    before = now - timedelta(days=retention.keep_days)
    old = [version for version in list(state.registered)[: -retention.keep_versions] if version not in state.pruned]
    past = [version for version in old if datetime.fromisoformat(state.registered[version].at) < before]
    if not past:
        return []
    kept = state.champions | _in_the_running(state, recipe)
    kept.update(seat for seat in (state.told.challenger, state.told.shadow, state.pinned) if seat is not None)
    return [version for version in past if version not in kept]


def _in_the_running(state: State, recipe: Callable[[str], str]) -> set[str]:
    """The newest of each recipe among those that were found good and never reigned."""
    newest: dict[str, str] = {}
    for version, told in reversed(state.contenders.items()):
        newest.setdefault(told or recipe(version), version)
    return set(newest.values())
