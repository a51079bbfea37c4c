"""A function called in a process of its own: its value, the seconds from start to exit and the peak memory.

>>> fresh_call("math:hypot", 3, 4).value
5.0
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

ROOT = Path(__file__).parents[2]
MIB = 2**20


@dataclass(frozen=True)
class Outcome:
    """What came of a call."""

    value: Any
    wall_s: float
    """From the start of the interpreter to its exit."""
    processor_s: float
    """Of all its threads."""
    peak_mib: float
    """Most memory that the process ever held."""


def fresh_call(function: str, *arguments: object, **environment: str) -> Outcome:
    """Call `module:function` in a fresh interpreter; arguments and value travel as JSON, upper-case keywords are its environment.

    What the function prints is kept back and shown only when it fails.
    """
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        started = perf_counter()
        ended = subprocess.run(
            [sys.executable, "-m", __name__, function, json.dumps(arguments, default=str), str(answer)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s = perf_counter() - started
        if ended.returncode:
            sys.exit(f"{function} failed:\n{ended.stderr}")
        value, processor_s, peak_mib = json.loads(answer.read_text())
        return Outcome(value, wall_s, processor_s, peak_mib)


def peak_bytes() -> int:
    """Most memory that this process ever held, or held since `forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        # of this interpreter alone: getrusage also remembers the process that started it
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Start counting the peak anew, where the system can."""
    counter = Path("/proc/self/clear_refs")
    if counter.exists():
        counter.write_text("5")


def _answer(function: str, arguments: str, path: str) -> None:
    module, name = function.split(":")
    value = getattr(import_module(module), name)(*json.loads(arguments))
    Path(path).write_text(json.dumps([value, process_time(), peak_bytes() / MIB]))


if __name__ == "__main__":
    _answer(*sys.argv[1:])
