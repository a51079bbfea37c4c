"""The audit of installed packages: a finding fails, silence passes, and a machine without a way out is told so."""

from subprocess import CompletedProcess

import pytest

from crp_pipeline_tests.audit import COMMAND, main

FINDING = "Found 1 known vulnerability in 1 package\nName Version ID Fix Versions\nurllib3 1.25 PYSEC-2021-1 1.26.5"
NO_WAY_OUT = (
    "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded with url: /simple/",
    "ERROR:pip_audit._cli:service is not reachable",
    "socket.gaierror: [Errno -3] Temporary failure in name resolution",
)


def ends_with(returncode, stdout="", stderr=""):
    asked = []

    def run(command):
        asked.append(tuple(command))
        return CompletedProcess(command, returncode, stdout, stderr)

    run.asked = asked
    return run


def test_nothing_found_passes(capsys):
    run = ends_with(0, stderr="No known vulnerabilities found")
    assert main(run) == 0
    assert run.asked == [COMMAND]
    assert "No known vulnerabilities found" in capsys.readouterr().out


def test_a_finding_fails_and_is_shown(capsys):
    assert main(ends_with(1, stdout=FINDING)) == 1
    assert "PYSEC-2021-1" in capsys.readouterr().out


@pytest.mark.parametrize("told", NO_WAY_OUT)
def test_where_nothing_can_be_asked_it_is_skipped_in_one_sentence(told, capsys):
    assert main(ends_with(1, stderr=told)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "audit skipped: neither an index nor a vulnerability service can be reached from here"
    ]


def test_a_finding_counts_although_one_service_was_silent():
    assert main(ends_with(1, stdout=FINDING, stderr=NO_WAY_OUT[0])) == 1


def test_an_audit_that_goes_wrong_otherwise_fails():
    assert main(ends_with(2, stderr="pip-audit: error: unrecognized arguments: --lokal")) == 1
