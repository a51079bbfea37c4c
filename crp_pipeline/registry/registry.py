"""The registry: register, promote, roll back, pin, prune; who has which role, now or then; whether all is as it was written."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate.verdict import Outcome, Verdict
from crp_pipeline.registry.card import COIN, checked_card, checked_coin, recipe_of, verdict_of
from crp_pipeline.registry.checkpoint import Reading, load_checkpoint
from crp_pipeline.registry.desk import Desk, agreed, read_coin, reading, recipe_in, stray, writing
from crp_pipeline.registry.journal import HEAD, JOURNAL, NOBODY, Entry, Journal, moment
from crp_pipeline.registry.pointers import POINTER
from crp_pipeline.registry.retention import removable
from crp_pipeline.registry.state import GOOD, Pointers, Reign, State, seats, state_of
from crp_pipeline.registry.versions import Versions
from crp_pipeline.settings import RetentionConfig


class Registry:
    """The registry in one folder; `now` can be passed in, so that a replay writes what the night wrote."""

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)

    def register(self, bundle: str | PathLike[str], card: dict[str, Any], *, now: datetime | None = None) -> str:
        """Keep a copy of a bundle folder for good and return its version: the same content is the same version.

        The card must name its `coin` and carry its `verdict`, as `verdict.to_dict()`. Where the verdict's subject names a coin,
        it must be the card's; where it names a candidate, a folder that `gather` made must have that fingerprint. The card of a
        bundle that is itself sealed is kept as `bundle`. Raises `RegistryError` otherwise, `BundleError` for altered bytes. A
        version that was pruned is registered anew.
        """
        coin, verdict = checked_card(card)
        if not Path(bundle).is_dir():
            raise RegistryError(f"{coin}: {bundle} is no folder")
        self._folder(coin).mkdir(parents=True, exist_ok=True)
        with writing(self._folder(coin)) as desk:
            version = desk.versions.stage(bundle, card, verdict)
            if not desk.state.keeps(version):
                at = moment(now)
                desk.write("register", version, f"{verdict.outcome}: {verdict.reason}", at, recipe=recipe_of(card))
                if verdict.outcome not in GOOD:
                    desk.write("reject", version, verdict.reason, at)
            desk.versions.place(version)
            desk.move_pointers()
        return version

    def promote(
        self,
        coin: str,
        version: str,
        verdict: Verdict,
        *,
        again: bool = False,
        expected: str | None = None,
        reason: str | None = None,
        now: datetime | None = None,
    ) -> None:
        """Make a version champion; raises `RegistryError` unless the verdict is PROMOTE and is the one the version carries.

        A version that was rolled back stays so, however often it is promoted, unless it is promoted `again` on purpose. Where
        the verdict's subject names a champion, that one must still reign, and where the caller names the one that it `expected`
        (`NOBODY` for none), that one as well: of two that were judged against the same champion only one follows. The `reason`
        is the verdict's unless it is given.
        """
        if verdict.outcome is not Outcome.PROMOTE:
            raise RegistryError(
                f"{coin}: version {version} cannot be promoted on a verdict of {verdict.outcome}: {verdict.reason}"
            )
        with self._writing(coin) as desk:
            if not desk.has_finished("promote", version):
                _require_champion(coin, desk.state, expected)
            if verdict_of(desk.versions.card(version)).to_dict() != verdict.to_dict():
                raise RegistryError(f"{coin}: the verdict at hand is not the one that version {version} was registered with")
            if version in desk.state.rolled_back and not again:
                raise RegistryError(f"{coin}: version {version} was rolled back; promote it with again=True to bring it back")
            if version not in desk.state.registered:
                raise stray(coin, version)
            if version != desk.state.champion:
                _require_reign(coin, verdict, desk.state.champion, again=again)
                desk.write("promote", version, reason or verdict.reason, moment(now))
            desk.move_pointers(anyway=True)

    def rollback(
        self,
        coin: str,
        *,
        to: str | None = None,
        reason: str = "by hand",
        expected: str | None = None,
        now: datetime | None = None,
    ) -> str:
        """Bring back the champion before the present one, or any earlier one by name, and return its version.

        Every champion above it in the stack counts as rolled back. A rollback that was cut off is finished instead of done
        twice, unless the caller names as `expected` whom it brought back, and so has seen it. Raises `RegistryError` when there
        is none to go back to, and where another champion reigns than the one that was `expected`.
        """
        with self._writing(coin) as desk:
            reigns = desk.state.champion
            if reigns is not None and expected != reigns and desk.has_finished("rollback", to):
                return reigns
            _require_champion(coin, desk.state, expected)
            version = _earlier(coin, desk.state, to)
            desk.versions.check_promoted(version)
            desk.write("rollback", version, reason, moment(now))
            desk.move_pointers(anyway=True)
        return version

    def pin(self, coin: str, version: str, *, reason: str, now: datetime | None = None) -> None:
        """Seat a version in the champion's shadow until it reigns, another is pinned, or it is unpinned.

        Raises `RegistryError` for the champion itself, where nobody reigns, and for a version whose bytes are not all there.
        """
        with self._writing(coin) as desk:
            desk.versions.card(version)
            if version not in desk.state.registered:
                raise stray(coin, version)
            if desk.state.champion in {None, version}:
                raise RegistryError(
                    f"{coin}: {version} cannot decide beside the champion, who is {desk.state.champion or NOBODY}"
                )
            if version != desk.state.pinned:
                desk.write("pin", version, reason, moment(now))
            desk.move_pointers()

    def unpin(self, coin: str, *, reason: str, now: datetime | None = None) -> None:
        """Let the shadow follow the challenger again; raises `RegistryError` where none is pinned."""
        with self._writing(coin) as desk:
            if desk.has_finished("unpin", None):
                return
            if desk.state.pinned is None:
                raise RegistryError(f"{coin}: no version is pinned")
            desk.write("unpin", desk.state.pinned, reason, moment(now))
            desk.move_pointers()

    def prunable(self, coin: str, retention: RetentionConfig, *, now: datetime) -> list[str]:
        """Versions whose files `prune` would remove, oldest first."""
        state, versions = self.state(coin), self._versions(coin)
        return removable(state, retention, lambda version: recipe_in(state, versions, version), now=now)

    def prune(self, coin: str, retention: RetentionConfig, *, now: datetime) -> list[str]:
        """Remove the files of old versions that nobody will ask for again and return these, oldest first.

        Their cards stay, which are small: `card_alone`, recipes and `history --at` go on telling what they were, and `verify`
        proves them by their names. One that is registered again is kept again.
        """
        if not self._is_known(coin):
            return []
        with self._writing(coin) as desk:
            pruned = removable(desk.state, retention, desk.recipe, now=now)
            reason = f"not among the newest {retention.keep_versions} and older than {retention.keep_days:g} days"
            for version in pruned:
                desk.write("prune", version, reason, moment(now))
                desk.versions.strip(version)
            desk.move_pointers()
        return pruned

    def champion(self, coin: str) -> str | None:
        """Version of the coin's champion, every byte of it checked, or None.

        Raises `RegistryError` unless pointer and journal agree on it and it carries a PROMOTE verdict.
        """
        with reading(self._folder(coin)):
            champion = self._agreed(coin, self._read(coin)).champion
        if champion is not None:
            self._versions(coin).check_promoted(champion)
        return champion

    def pointers(self, coin: str) -> Pointers:
        """Champion, challenger and shadow; no bytes of them are checked.

        Raises `RegistryError` unless pointers and journal agree. In a registry from before there were pointers, challenger and
        shadow are who they would be.
        """
        with reading(self._folder(coin)):
            found = self._read(coin)
            told = self._agreed(coin, found)
        if found.state.is_told:
            return told
        return seats(found.state, lambda version: recipe_in(found.state, self._versions(coin), version))

    def state(self, coin: str) -> State:
        """What the lines of the journal up to its head come to, read on from its checkpoint."""
        with reading(self._folder(coin)):
            return self._read(coin).state

    def reign_at(self, coin: str, at: datetime) -> Reign | None:
        """The reign of that moment, to the second; a moment without a time zone is UTC. None before the first."""
        moment_utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        begun = (reign for reign in reversed(self.state(coin).throne) if datetime.fromisoformat(reign.at) <= moment_utc)
        return next(begun, None)

    def is_rolled_back(self, coin: str, version: str) -> bool:
        """True for a version whose latest reign was ended by a rollback."""
        return version in self.state(coin).rolled_back

    def card(self, coin: str, version: str) -> dict[str, Any]:
        """Everything known of a version, after every byte of it has been checked."""
        return self._versions(coin).card(version)

    def card_alone(self, coin: str, version: str) -> dict[str, Any]:
        """What the card of a version says, proved by the version's name; its other files are not looked at."""
        return self._versions(coin).card_alone(version)

    def folder(self, coin: str, version: str) -> Path:
        """Where a version lies."""
        return self._versions(coin).folder(version)

    def coins(self) -> list[str]:
        """Coins of which something was ever written down."""
        names = (path.name for path in self.root.glob("*"))
        return sorted(name for name in names if COIN.fullmatch(name) and self._is_known(name))

    def history(self, coin: str) -> list[Entry]:
        """The journal, oldest first; raises `RegistryError` naming the first line after one that was altered or removed."""
        with reading(self._folder(coin)):
            return list(Journal(self._folder(coin)).read().entries)

    def verify(self, coin: str, version: str | None = None) -> None:
        """Check a version (all, when none is named) byte by byte, the champion, every line of the journal and the pointers.

        Raises on the first fault. No secret signs the files: whoever makes up a version, its verdict, the journal, its head and
        the pointers, all in agreement, is not found out.
        """
        self._require(coin)
        with reading(self._folder(coin)):
            state = self._read_in_full(coin)
            versions = self._versions(coin)
            strangers = sorted(versions.names() - set(state.registered))
            if strangers:
                raise stray(coin, strangers[0])
        for name in sorted(state.registered if version is None else {version, state.champion or version}):
            _check_version(versions, state, name)

    def _read_in_full(self, coin: str) -> State:
        """What the whole journal comes to, when checkpoint and pointers agree with it."""
        folder, record = self._folder(coin), Journal(self._folder(coin)).read()
        state = state_of(coin, record.entries)
        if record.pending:
            agreed(folder, state.before, before=None)
        else:
            agreed(folder, state.told, before=state.before)
        found = load_checkpoint(folder)
        if found is not None and found[1] != state_of(coin, record.entries[: found[0].lines]):
            raise RegistryError(f"{coin}: the checkpoint of the journal is not what its first {found[0].lines} lines come to")
        return state

    def _agreed(self, coin: str, found: Reading) -> Pointers:
        return agreed(self._folder(coin), found.state.told, before=None if found.pending else found.state.before)

    def _read(self, coin: str) -> Reading:
        return read_coin(self._folder(coin))

    def _folder(self, coin: str) -> Path:
        return self.root / checked_coin(coin)

    def _versions(self, coin: str) -> Versions:
        return Versions(self._folder(coin))

    def _is_known(self, coin: str) -> bool:
        is_written = any((self._folder(coin) / name).exists() for name in (JOURNAL, HEAD, POINTER))
        return is_written or self._versions(coin).any() is not None

    def _require(self, coin: str) -> None:
        if not self._is_known(coin):
            raise RegistryError(f"{coin} has no versions")

    @contextmanager
    def _writing(self, coin: str) -> Iterator[Desk]:
        self._require(coin)
        with writing(self._folder(coin)) as desk:
            yield desk


def _require_champion(coin: str, state: State, expected: str | None) -> None:
    """Raises `RegistryError` unless the champion is the one that the caller expected, if he named one."""
    reigns = state.champion or NOBODY
    if expected is not None and expected != reigns:
        raise RegistryError(f"{coin}: the champion was expected to be {expected} and is {reigns}")


def _check_version(versions: Versions, state: State, name: str) -> None:
    """Check the bytes that a version must have; of one that was pruned its card alone.

    What the last line was cut off at, the next write finishes: a version that is still staged, or still has files.
    """
    if name not in state.pruned and not versions.is_whole(name) and versions.staged() == name:
        versions.check_staged()
    elif name in state.pruned:
        versions.card_alone(name)
        is_last = state.last is not None and (state.last.action, state.last.version) == ("prune", name)
        if not is_last and not versions.is_stripped(name):
            raise RegistryError(f"{versions.coin}: version {name} was pruned and has files beside its card")
    elif name in state.champions:
        versions.check_promoted(name)
    else:
        versions.card(name)


def _earlier(coin: str, state: State, to: str | None) -> str:
    """Whom a rollback brings back; raises `RegistryError` where that is no earlier champion."""
    if to is None:
        if len(state.reigns) < 2:
            raise RegistryError(f"{coin}: there is no earlier champion to go back to")
        return state.reigns[-2]
    if to == state.champion:
        raise RegistryError(f"{coin}: {to} is the champion already")
    if to not in state.champions:
        earlier = ", ".join(sorted(state.champions - {state.champion})) or NOBODY
        raise RegistryError(f"{coin}: {to} never was champion; the earlier ones are {earlier}")
    return to


def _require_reign(coin: str, verdict: Verdict, champion: str | None, *, again: bool) -> None:
    """Raises `RegistryError` unless the champion is the one that the verdict was reached against, if it names one."""
    judged, reigns = verdict.subject.get("champion"), champion or NOBODY
    if judged is not None and judged != reigns and not again:
        raise RegistryError(f"{coin}: the champion was {judged} when the gate judged and is {reigns}; materialize `gate` again")
