"""Whether any installed package has a known vulnerability: `python -m crp_pipeline_tests.audit`.

pip-audit asks a vulnerability service about each package. Where that cannot be reached, or answers for no package at all as a
mirror of an index does, nothing has been found out: that is said in one sentence and is no failure. A finding is one, and so is
whatever else pip-audit could not do.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COMMAND = ("pip-audit", "--local", "--skip-editable", "--progress-spinner", "off", "--timeout", "15", "--format", "json")
SKIPPED = "audit skipped: no vulnerability service can be reached from here"
UNREACHABLE = (
    *("ConnectionError", "ConnectTimeout", "NewConnectionError", "ReadTimeout", "SSLError", "Max retries exceeded"),
    *("Temporary failure in name resolution", "Name or service not known", "Connection refused", "Tunnel connection failed"),
)
"""What pip-audit says when it could not ask."""
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def main(run: Run | None = None) -> int:
    """Print what was found, or why nothing was asked; 1 where something was found or the audit itself went wrong."""
    result = (run or _run)(COMMAND)
    packages = _packages(result.stdout)
    if packages is None:
        is_silent = any(sign in result.stderr for sign in UNREACHABLE)
        print(SKIPPED if is_silent else result.stderr.strip())
        return 0 if is_silent else 1
    audited = [it for it in packages if "vulns" in it]
    found = [(it, vulnerability) for it in audited for vulnerability in it["vulns"]]
    for package, it in found:
        cure = ", ".join(it["fix_versions"]) or "none"
        print(f"{package['name']} {package['version']}: {it['id']}, mended in {cure}")
    print(f"{len(found)} vulnerabilities in {len(audited)} of {len(packages)} packages" if audited else SKIPPED)
    return 1 if found else 0


def _packages(text: str) -> list[dict[str, Any]] | None:
    """What was asked about, each with its `vulns` or a `skip_reason`; None where there was no answer."""
    try:
        found: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError):
        return None
    return found


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    program, *words = command
    return subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words], capture_output=True, text=True, check=False, timeout=900
    )


if __name__ == "__main__":
    sys.exit(main())
