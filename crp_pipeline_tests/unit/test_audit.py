"""The audit of installed packages: a finding fails, silence passes, and a machine without a way out is told so."""

import json
from subprocess import CompletedProcess

import pytest

from crp_pipeline_tests.audit import COMMAND, SKIPPED, main

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
FOUND = {"name": "urllib3", "version": "1.25", "vulns": [{"id": "PYSEC-2021-1", "fix_versions": ["1.26.5"]}]}
UNKNOWN = {"name": "attrs", "skip_reason": "Dependency not found and could not be audited: attrs (1.0)"}
NO_WAY_OUT = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /simple/",
    "socket.gaierror: [Errno -3] Temporary failure in name resolution",
)


def ends_with(returncode, *packages, stderr="", stdout=None):
    asked = []

    def run(command):
        asked.append(tuple(command))
        told = json.dumps({"dependencies": packages, "fixes": []}) if stdout is None else stdout
        return CompletedProcess(command, returncode, told, stderr)

    run.asked = asked
    return run


def test_nothing_found_passes(capsys):
    run = ends_with(0, SOUND, UNKNOWN)
    assert main(run) == 0
    assert run.asked == [COMMAND]
    assert capsys.readouterr().out == "0 vulnerabilities in 1 of 2 packages\n"


@pytest.mark.parametrize("others", [[SOUND], [UNKNOWN], [SOUND, UNKNOWN]])
def test_a_finding_fails_and_is_shown_whatever_else_could_not_be_asked(others, capsys):
    assert main(ends_with(1, *others, FOUND, stderr=NO_WAY_OUT[0])) == 1
    assert capsys.readouterr().out.splitlines()[0] == "urllib3 1.25: PYSEC-2021-1, mended in 1.26.5"


@pytest.mark.parametrize("told", NO_WAY_OUT)
def test_where_nothing_can_be_asked_it_is_skipped_in_one_sentence(told, capsys):
    assert main(ends_with(1, stdout="", stderr=told)) == 0
    assert capsys.readouterr().out.splitlines() == [SKIPPED]


def test_where_no_package_is_known_nothing_was_found_out(capsys):
    assert main(ends_with(0, UNKNOWN, UNKNOWN)) == 0
    assert capsys.readouterr().out.splitlines() == [SKIPPED]


def test_an_audit_that_goes_wrong_otherwise_fails(capsys):
    assert main(ends_with(2, stdout="", stderr="pip-audit: error: unrecognized arguments: --lokal")) == 1
    assert "unrecognized" in capsys.readouterr().out
