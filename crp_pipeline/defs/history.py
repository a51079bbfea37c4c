"""Where Dagster keeps its runs, events and schedules: SQLite under `data/.dagster`, or a Postgres server that many share.

`dagster.yaml` names `History`, and the variable `CRP_DAGSTER_PG_URL` decides. What is loaded from the file is all that Dagster
shows of its configuration and hands to the processes it starts, and the URL, which holds a password, is in neither: every
process reads the variable itself.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.legacy_storage import CompositeStorage
from dagster._serdes import ConfigurableClassData

from crp_pipeline.defs.events import taking_turns
from crp_pipeline.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import URL

VARIABLE = "CRP_DAGSTER_PG_URL"
CONNECT_SECONDS = 10
"""How long a server may take to answer, where the URL has no `connect_timeout` of its own."""

_FORM = "postgresql://user:password@host:5432/database"
# what a password would break out of when it is not percent-encoded: the driver's messages name host, port and database
_URL = re.compile(
    r"postgres(?:ql)?://(?:[^:@/?#]*(?::(?P<password>[^:@/?#]*))?@)?(?:[\w.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?/[\w-]+(?:\?(?P<query>[^#@]*))?",
    re.ASCII,
)
_SQLITE = {
    "run_storage": ("dagster._core.storage.runs", "SqliteRunStorage", "history"),
    "event_log_storage": ("crp_pipeline.defs.events", "EventLog", "history"),
    "schedule_storage": ("dagster._core.storage.schedules", "SqliteScheduleStorage", "schedules"),
}


class History(DagsterStorage[Any]):
    """What `dagster.yaml` names; in its place stands the storage that the variable asks for, so that there is none of it."""

    @classmethod
    def config_type(cls) -> dict[str, type]:
        """`base_dir`: the folder of the SQLite files."""
        return {"base_dir": str}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, str]) -> DagsterStorage[Any]:
        """Postgres where the variable is set; raises `StorageError` where that does not answer, so that no night is split."""
        url = os.environ.get(VARIABLE)
        return postgres(url, inst_data) if url else sqlite(config_value["base_dir"], inst_data)


def sqlite(base_dir: str, inst_data: ConfigurableClassData | None = None) -> DagsterStorage[Any]:
    """Runs and events in `<base_dir>/history`, schedules in `<base_dir>/schedules`."""
    parts = {
        part: {
            "module_name": module,
            "class_name": name,
            "config_yaml": json.dumps({"base_dir": f"{base_dir}/{folder}"}),
        }
        for part, (module, name, folder) in _SQLITE.items()
    }
    with taking_turns(Path(base_dir)):
        return CompositeStorage.from_config_value(inst_data, parts)


def postgres(url: str, inst_data: ConfigurableClassData | None = None) -> DagsterStorage[Any]:
    """Runs, events and schedules in one database, whose tables are made where they are missing.

    Raises `StorageError` without the password for a URL of another form, a missing package and a server that does not answer.
    """
    secret = _secret_in(url)
    try:
        from dagster_postgres import DagsterPostgresStorage
    except ModuleNotFoundError as error:
        raise StorageError(
            f"{VARIABLE} is set and {error.name} is not installed: pip install 'crp-pipeline[postgres]'"
        ) from None
    full = _for_psycopg2(url)
    _require_answer(full, secret)
    storage: DagsterStorage[Any] = DagsterPostgresStorage(full.render_as_string(hide_password=False), inst_data=inst_data)
    return storage


def _secret_in(url: str) -> str:
    """The password of a URL, or nothing; raises `StorageError`, which does not repeat it, for a URL of another form."""
    found = _URL.fullmatch(url)
    if found is None or "password" in (found["query"] or ""):
        raise StorageError(
            f"{VARIABLE} is not of the form {_FORM}; write special characters of the password as %40 and the like"
        )
    return unquote(found["password"] or "")


def _for_psycopg2(url: str) -> "URL":
    from sqlalchemy import make_url

    # SQLAlchemy 2.1 takes psycopg 3 unless it is told; dagster-postgres brings psycopg2
    given = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg2")
    return given.update_query_dict({"connect_timeout": str(CONNECT_SECONDS), **given.query})


def _require_answer(url: "URL", secret: str) -> None:
    """Raises `StorageError` naming the server and its reason unless it lets us in."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        with create_engine(url, poolclass=NullPool).connect():
            return
    except SQLAlchemyError as error:
        told = str(getattr(error, "orig", error)).strip()
    lines = [line.strip() for line in (told.replace(secret, "***") if secret else told).splitlines()]
    raise StorageError(
        f"{VARIABLE}: the database {url.database} at {url.host}:{url.port or 5432} does not answer: {'; '.join(lines)}"
    )
