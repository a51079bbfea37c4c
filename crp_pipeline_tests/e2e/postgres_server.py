"""A Postgres server of the system's package for the time of a test: its own folder, a free port of the loopback, a password."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

USER, PASSWORD, DATABASE = "crp", "p@ss/word: 100%", "history"
QUOTED_PASSWORD = "p%40ss%2Fword%3A%20100%25"
SECONDS_TO_START, SECONDS_TO_STOP = 60, 20


def program(name: str) -> str | None:
    """A program of the newest Postgres of the system."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    return next(filter(None, (shutil.which(name, path=str(folder)) for folder in folders)), None) or shutil.which(name)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of an empty database; the server refuses to run as root and is run as `postgres` then."""
    with TemporaryDirectory(prefix="crp-postgres-") as folder:
        home, user = Path(folder), "postgres" if os.geteuid() == 0 else None
        (home / "password").write_text(PASSWORD)
        if user is not None:
            entry = pwd.getpwnam(user)
            for path in (home, home / "password"):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
        made = ["--auth=scram-sha-256", f"--pwfile={home / 'password'}", f"--username={USER}", "--no-sync"]
        subprocess.run(
            [program("initdb"), "-D", home / "data", *made], cwd=home, check=True, capture_output=True, timeout=120, **as_user
        )
        port = free_port()
        arguments = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}"]
        with (home / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [program("postgres"), "-D", home / "data", *arguments], cwd=home, stdout=log, stderr=log, **as_user
            )
            try:
                _create_database(port, server)
                yield f"postgresql://{USER}:{QUOTED_PASSWORD}@127.0.0.1:{port}/{DATABASE}"
            finally:
                server.terminate()
                try:
                    server.wait(SECONDS_TO_STOP)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


def _create_database(port: int, server: subprocess.Popen) -> None:
    import psycopg2

    deadline = monotonic() + SECONDS_TO_START
    while True:
        try:
            door = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres")
            break
        except psycopg2.OperationalError:
            if server.poll() is not None or monotonic() > deadline:
                raise
            sleep(0.2)
    door.autocommit = True
    with door.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    door.close()
