"""`dagster dev` in a project folder of its own, and a headless Chromium to look at it with."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import monotonic, sleep
from urllib.request import Request, urlopen

from crp_pipeline.settings import PipelineSettings

PROJECT = Path(__file__).parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS_TO_START, SECONDS_TO_STOP = 180, 20


@dataclass(frozen=True)
class WebServer:
    """A served project: its folder and its address."""

    home: Path
    url: str

    def ask(self, query: str) -> dict:
        """The data that a GraphQL query returns."""
        request = Request(f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as response:
            return json.load(response)["data"]


def chromium() -> str | None:
    """The first Chromium on the PATH."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def wait_until(condition, *, seconds: float, what: str):
    """What `condition` returns once that is true."""
    deadline = monotonic() + seconds
    while not (found := condition()):
        if monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:.0f} s")
        sleep(0.5)
    return found


@contextmanager
def web_server(home: Path, settings: PipelineSettings) -> Iterator[WebServer]:
    """Serve the project with these settings; everything it writes lies in `home`, its log in `home/server.log`."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(PROJECT / name, home)
    port = _free_port()
    server = WebServer(home, f"http://127.0.0.1:{port}")
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)],
            cwd=home,
            env=environment_of(home, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(lambda: _serves(server, process), seconds=SECONDS_TO_START, what=f"dagster dev in {home}")
            yield server
        finally:
            _stop(process)


def environment_of(home: Path, settings: PipelineSettings) -> dict[str, str]:
    """Variables under which a process runs the project of `home` with these settings and none of ours."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("CRP_", "DAGSTER_"))}
    values = settings.model_dump(mode="json", exclude_none=True)
    values["exchange"]["client_options"] = settings.exchange.client_options
    return {
        **ours,
        **{f"CRP_{name.upper()}": value if isinstance(value, str) else json.dumps(value) for name, value in values.items()},
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(PROJECT),
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serves(server: WebServer, process: subprocess.Popen) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"dagster dev ended with {process.returncode}: {(server.home / 'server.log').read_text()[-2_000:]}")
    try:
        workspace = server.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
    except (OSError, HTTPException):
        return False
    return bool(workspace["repositoriesOrError"].get("nodes"))


def _stop(process: subprocess.Popen) -> None:
    """Interrupt the whole session; dagster dev ignores SIGTERM where a script started it in the background."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
