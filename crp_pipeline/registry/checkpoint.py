"""A sealed checkpoint of a journal: what its first lines come to, so that nobody reads them again to know who reigns.

It saves work and proves nothing. Readers go on from it where its seal is whole and the journal still has the line that it ends
with; otherwise they read the journal from its beginning. A line before it that was altered since is found by `Registry.verify`
and `Registry.history`, which never read a checkpoint instead of the journal.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crp_pipeline.chain import BEGINNING, Mark
from crp_pipeline.registry.journal import Entry, Journal
from crp_pipeline.registry.roll import Roll
from crp_pipeline.registry.state import Pointers, Reign, State, state_of
from crp_pipeline.storage import write_bytes

CHECKPOINT = "journal.checkpoint"
FORMAT = 1
"""Of the file and of the rules by which a state follows from lines: a checkpoint of another one is not read."""
EVERY = 32
"""Lines of the journal that are read at most before the next checkpoint."""
SETS = ("pruned", "champions", "rolled_back")


@dataclass(frozen=True)
class Reading:
    """A journal as it stands."""

    state: State
    pending: bool
    """True when the last line is there and its head is not yet."""
    since: Mark
    """Where the checkpoint ended that the reading went on from."""


def read_state(folder: Path, journal: Journal, *, up_to_head: bool) -> Reading:
    """What the journal comes to, with or without a last line whose head is not yet there.

    Raises `RegistryError` for damage after the checkpoint, or anywhere where there is none.
    """
    found = load_checkpoint(folder)
    since, state = found if found is not None and journal.holds(found[0]) else (BEGINNING, State())
    record = journal.read(since)
    entries = record.entries[:-1] if record.pending and up_to_head else record.entries
    return Reading(state_of(folder.name, entries, after=state), record.pending, since)


def keep_checkpoint(folder: Path, journal: Journal, reading: Reading) -> None:
    """Write a checkpoint at the end of a journal in order, where enough lines have come since the last one."""
    if reading.state.lines - reading.since.lines < EVERY:
        return
    body = _body(journal.read(reading.since).end, reading.state)
    write_bytes(folder / CHECKPOINT, _seal(body) + b"\n" + body)


def load_checkpoint(folder: Path) -> tuple[Mark, State] | None:
    """Where the checkpoint ends and what it says; None where there is none that can be read."""
    path = folder / CHECKPOINT
    seal, _, body = path.read_bytes().partition(b"\n") if path.exists() else (b"", b"", b"")
    if not body or seal != _seal(body):
        return None
    told, _, registered = body.partition(b"\n")
    try:
        document = json.loads(told)
        return (Mark(**document["mark"]), _state(document["state"], registered)) if document["format"] == FORMAT else None
    except (KeyError, TypeError, ValueError):
        return None


def _seal(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def _body(mark: Mark, state: State) -> bytes:
    """One line of JSON, and then the registrations."""
    sets = {name: sorted(getattr(state, name)) for name in SETS}
    values = {name: asdict(getattr(state, name)) for name in ("told", "before")}
    last = None if state.last is None else state.last.line
    told = {name: value for name, value in vars(state).items() if name != "registered"} | {**sets, **values, "last": last}
    head = json.dumps({"format": FORMAT, "mark": asdict(mark), "state": told}, separators=(",", ":"))
    return head.encode() + b"\n" + state.registered.rows


def _state(told: dict[str, Any], registered: bytes) -> State:
    return State(
        **{
            **told,
            "registered": Roll(registered),
            "throne": list(map(Reign._make, told["throne"])),
            **{name: set(told[name]) for name in SETS},
            **{name: Pointers(**told[name]) for name in ("told", "before")},
            "last": None if told["last"] is None else Entry(**told["last"]),
        }
    )
