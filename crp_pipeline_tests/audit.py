"""Whether any installed package has a known vulnerability: `python -m crp_pipeline_tests.audit`.

pip-audit asks an index or a vulnerability service. Where neither can be reached nothing has been found out: that is said in one
sentence and is no failure. A finding is one, and so is whatever else pip-audit could not do.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

COMMAND = ("pip-audit", "--local", "--skip-editable", "--progress-spinner", "off", "--timeout", "15")
UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeout",
    "Connection refused",
    "Connection to",
    "Failed to establish a new connection",
    "Max retries exceeded",
    "Name or service not known",
    "NewConnectionError",
    "ReadTimeout",
    "SSLError",
    "Temporary failure in name resolution",
    "Tunnel connection failed",
    "service is not reachable",
    "ServiceError",
)
"""What pip-audit says when it could not ask; a finding says none of it."""
FOUND = ("known vulnerabilit", "Fix Versions")
Run = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


def main(run: Run | None = None) -> int:
    """Print what was found, or why nothing was asked; 1 where something was found or the audit itself went wrong."""
    result = (run or _run)(COMMAND)
    told = f"{result.stdout}\n{result.stderr}".strip()
    if result.returncode == 0:
        print(told or "No known vulnerabilities found")
        return 0
    if not any(sign in told for sign in FOUND) and any(sign in told for sign in UNREACHABLE):
        print("audit skipped: neither an index nor a vulnerability service can be reached from here")
        return 0
    print(told)
    return 1


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    program, *words = command
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words], capture_output=True, text=True, check=False, timeout=900
    )


if __name__ == "__main__":
    sys.exit(main())
