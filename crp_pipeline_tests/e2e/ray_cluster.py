"""A Ray cluster of two nodes on the loopback interface, each a tree of processes, ended by their ids."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60.0
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_worker_niceness": "0",
    "PYTHONWARNINGS": "ignore",
}


@contextmanager
def cluster_of_two(folder: Path) -> Iterator[str]:
    """Address of a cluster whose nodes have one processor each."""
    address = f"127.0.0.1:{free_port()}"
    port = address.split(":")[1]
    head = _node(folder, "head", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
    try:
        _wait_for(int(port), head)
        other = _node(folder, "other", f"--address={address}")
        try:
            yield address
        finally:
            _end(other)
    finally:
        _end(head)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _node(folder: Path, name: str, *arguments: str) -> subprocess.Popen:
    ray = Path(sys.executable).with_name("ray")
    shared = ["--block", "--num-cpus=1", "--node-ip-address=127.0.0.1", f"--object-store-memory={100 * 2**20}"]
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(
            [ray, "start", *arguments, *shared],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET},
            start_new_session=True,
        )


def _wait_for(port: int, node: subprocess.Popen) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and node.poll() is None:
        with socket.socket() as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise RuntimeError(f"no cluster on port {port} after {PATIENCE_S:.0f} s")


def _end(node: subprocess.Popen) -> None:
    """The node ends its processes itself when it is asked to; its own session is ended when it does not."""
    node.send_signal(signal.SIGTERM)
    try:
        node.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()
