"""Dagster's event log in SQLite, with connections that stay open.

Dagster's own opens, asks and closes a connection per event, and closing the last one writes its log back to the disk. With some
five hundred events, that was an eighth of a small coin's processor time and most of its waiting. The tables are the same ones.
"""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

RUNS_KEPT_OPEN = 4
"""Logs of single runs that stay open beside the one of all runs: a process writes to one at a time."""


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Make tables while no other process does: Dagster's migrations fail when two begin at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".tables.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class EventLog(SqliteEventLogStorage):
    """The event log of many processes, each of which keeps its connections.

    What is stored survives the death of any process; when the power goes, the last events may be gone, and the file is whole
    (SQLite's `synchronous=NORMAL` beside a write-ahead log). No result is kept here, only what is told of runs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(*args, **kwargs)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The log in the folder `base_dir`."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        """Close every connection, as when the instance is closed."""
        self._close(list(self._engines))
        super().dispose()

    def wipe(self) -> None:
        """Forget everything; the files of single runs are removed, so nothing may have them open."""
        self._close(list(self._engines))
        super().wipe()

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:  # noqa: FBT001, FBT002
        """Make the tables where they are missing; whoever comes first makes them, and the others wait."""
        with taking_turns(Path(self._base_dir)):
            super()._initdb(engine, for_index_shard)

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            self._close_the_oldest()
            engine = self._open(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._engines[shard] = engine
        return self._engines[shard]

    def _open(self, shard: str) -> Engine:
        waits = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
        engine = create_engine(self.conn_string_for_shard(shard), poolclass=QueuePool, pool_size=1, connect_args=waits)
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL"))
        return engine

    def _close_the_oldest(self) -> None:
        runs = [shard for shard in self._engines if shard != INDEX_SHARD_NAME]
        self._close(runs[: max(0, len(runs) - RUNS_KEPT_OPEN + 1)])

    def _close(self, shards: Iterable[str]) -> None:
        for shard in shards:
            self._engines.pop(shard).dispose()
