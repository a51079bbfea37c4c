"""A real MLflow server on the loopback interface, its database in SQLite."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

from pydantic import SecretStr

SECONDS_TO_START = 120


@dataclass(frozen=True)
class MlflowServer:
    """A server that runs."""

    port: int
    process: subprocess.Popen

    @property
    def uri(self) -> SecretStr:
        return SecretStr(f"http://127.0.0.1:{self.port}")

    def kill(self) -> None:
        """The server and its workers, at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


@contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[MlflowServer]:
    """Serve until the block ends; whoever names the same folder again finds what was there before."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")),
    ]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    server = MlflowServer(port, process)
    try:
        _wait(server, folder)
        yield server
    finally:
        server.kill()


def _wait(server: MlflowServer, folder: Path) -> None:
    deadline = monotonic() + SECONDS_TO_START
    while monotonic() < deadline and server.process.poll() is None:
        try:
            with urlopen(f"{server.uri.get_secret_value()}/health", timeout=2):
                return
        except (URLError, OSError):
            sleep(0.3)
    raise TimeoutError(f"MLflow did not start: {(folder / 'server.log').read_text()[-2_000:]}")
