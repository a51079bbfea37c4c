"""The README's numbers are those of the run that the repository keeps, and `crp report` writes what is stored."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import crp_pipeline
from crp_pipeline.candles import DEMO_COINS
from crp_pipeline.cli import report as report_command
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Outcome
from crp_pipeline.places import Places
from crp_pipeline.reporting.readme import (
    BLOCKS,
    FEASIBILITY,
    FEASIBILITY_COMMAND,
    KEPT_RUN,
    KeptRun,
    keep_night,
    rendered,
    update_readme,
)
from crp_pipeline.storage import write_json, write_text
from crp_pipeline_tests.stored_night import store_night, verdict_of

CHECKOUT = Path(crp_pipeline.__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
ANEW = "run: crp report --update-readme"


@pytest.fixture(scope="module")
def run():
    return KeptRun.read(CHECKOUT / KEPT_RUN)


@pytest.fixture
def checkout(tmp_path):
    """A README and the kept run, to be changed at will."""
    shutil.copytree(CHECKOUT / KEPT_RUN, tmp_path / KEPT_RUN)
    write_text(tmp_path / "README.md", README)
    return tmp_path


def without_blocks(text):
    return re.sub(r"<!-- begin: (.*?) -->.*?<!-- end: \1 -->", "", text, flags=re.DOTALL)


# the README of this tree


def test_the_readme_is_as_the_kept_run_has_it(run):
    assert rendered(README, run) == README, ANEW


def test_the_readme_has_every_block(run):
    assert {name for name in BLOCKS if f"<!-- begin: {name} -->" in README} == set(BLOCKS)


@pytest.mark.parametrize(
    "result",
    [
        r"\d\.\d+ ?%",
        r"[+-]\d+(\.\d+)? bps",
        r"\(\d[\d.]*%? to \d",
        r"\bn \d",
        r"effective \d",
        r"\d+ features in",
    ],
)
def test_no_result_stands_outside_of_a_block(result):
    assert re.search(result, README)
    assert re.findall(result, without_blocks(README)) == []


def test_the_kept_run_promotes_the_planted_edge_and_rejects_the_noise(run):
    assert run.verdicts["EDGE-DEMO"].outcome is Outcome.PROMOTE
    assert run.verdicts["NOISE-DEMO"].outcome is Outcome.REJECT
    assert run.champions["NOISE-DEMO"] == "none"


@pytest.mark.market_data
def test_the_kept_feasibility_is_what_the_command_prints_about_real_candles(run, crp, monkeypatch, market_data):
    monkeypatch.chdir(market_data)
    for name in ("CRP_COVERAGE", "CRP_HORIZON"):
        monkeypatch.delenv(name, raising=False)
    code, out, _ = crp(*FEASIBILITY_COMMAND.split()[1:])
    assert (code, out) == (1, run.feasibility), f"run: {FEASIBILITY_COMMAND} > {KEPT_RUN / FEASIBILITY}"


# blocks


def test_a_number_of_the_readme_that_was_changed_by_hand_is_found_and_set_right(run):
    by_hand = README.replace("73.2%", "78.2%")
    assert by_hand != README
    assert rendered(by_hand, run) == README


def test_a_number_of_the_run_that_changed_changes_the_readme(run):
    verdicts = {**run.verdicts, "EDGE-DEMO": verdict_of("EDGE-DEMO", win_rate=0.777)}
    text = rendered(README, replace(run, verdicts=verdicts))
    assert text.count("77.7% (66.0% to 74.0%") == 2
    assert without_blocks(text) == without_blocks(README)


def test_rendering_twice_changes_nothing(run):
    once = rendered(README, run)
    assert rendered(once, run) == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- begin: feasibility --> no end", "the block 'feasibility' of the README does not begin and end once each"),
        ("<!-- end: feasibility -->", "the block 'feasibility' of the README does not begin"),
        ("<!-- begin: a --><!-- begin: b --><!-- end: a --><!-- end: b -->", "the block 'b' of the README does not begin"),
        ("<!-- begin: luck --><!-- end: luck -->", "nobody renders the block 'luck' of the README; there are demo verdicts, "),
    ],
)
def test_a_block_that_cannot_be_rendered_is_one_sentence(run, text, message):
    with pytest.raises(DataContractError, match=re.escape(message)):
        rendered(text, run)


def test_a_damaged_verdict_of_the_kept_run_is_one_sentence(checkout):
    path = checkout / KEPT_RUN / "EDGE-DEMO.json"
    path.write_text(path.read_text().replace('"outcome": "PROMOTE"', '"outcome": "REJECT"'))
    with pytest.raises(DataContractError, match=r"demo_run keeps no run: .*outcome = 'REJECT' does not follow"):
        KeptRun.read(checkout / KEPT_RUN)


@pytest.mark.parametrize("name", ["EDGE-DEMO.json", FEASIBILITY])
def test_a_run_that_is_not_kept_is_one_sentence(checkout, name):
    (checkout / KEPT_RUN / name).unlink()
    with pytest.raises(DataContractError, match=re.escape(name)):
        update_readme(checkout / "README.md", checkout / KEPT_RUN)


# the command


def test_the_command_sets_a_readme_right_and_says_whether_it_changed(checkout, crp):
    path = checkout / "README.md"
    write_text(path, README.replace("73.2%", "78.2%"))
    assert crp("report", "--update-readme", "--readme", path) == (0, f"{path}: rendered anew\n", "")
    assert path.read_text() == README
    assert crp("report", "--update-readme", "--readme", path) == (0, f"{path}: is as the kept run has it\n", "")


def test_the_command_takes_the_numbers_of_a_night_of_the_demo(checkout, crp, monkeypatch):
    places = Places(checkout / "data")
    monkeypatch.setenv("CRP_DATA_DIR", str(places.root))
    for coin in DEMO_COINS:
        write_json(places.verdict(coin), verdict_of(coin, win_rate=0.123, win_rate_low=0.1, win_rate_high=0.2).to_dict())
    code, _, _ = crp("report", "--update-readme", "--from-night", "--readme", checkout / "README.md")
    assert code == 0
    assert (checkout / "README.md").read_text().count("12.3% (10.0% to 20.0%") == 3
    assert KeptRun.read(checkout / KEPT_RUN).champions == dict.fromkeys(DEMO_COINS, "none")


def test_a_night_without_the_demo_keeps_nothing(checkout, crp, monkeypatch):
    monkeypatch.setenv("CRP_DATA_DIR", str(checkout / "data"))
    code, _, err = crp("report", "--update-readme", "--from-night", "--readme", checkout / "README.md")
    assert code == 1
    assert re.fullmatch(r"crp: .*EDGE-DEMO.json holds no verdict: .*\n", err)
    assert (checkout / "README.md").read_text() == README


def test_a_night_of_which_a_coin_has_no_verdict_keeps_nothing(checkout):
    places = Places(checkout / "data")
    write_json(places.verdict("EDGE-DEMO"), verdict_of("EDGE-DEMO").to_dict())
    with pytest.raises(DataContractError, match="NOISE-DEMO"):
        keep_night(places, checkout / KEPT_RUN)
    for kept in (CHECKOUT / KEPT_RUN).iterdir():
        assert (checkout / KEPT_RUN / kept.name).read_bytes() == kept.read_bytes()


def test_a_night_is_of_no_use_without_the_readme(crp):
    code, _, err = crp("report", "--from-night")
    assert code == 2
    assert "--from-night belongs to --update-readme" in err


def test_the_page_of_one_coin_is_written_again(crp, monkeypatch, tmp_path):
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(report_command, "write_coin_report", lambda places, coin: places.report(coin))
    assert crp("report", "--coin", "BTC-USDT") == (0, f"{tmp_path / 'reports' / 'BTC-USDT.html'}\n", "")


@pytest.mark.parametrize("coin", ["BTC-USDT", "../outside"])
def test_a_coin_that_was_never_run_is_one_sentence_and_leaves_nothing_behind(crp, monkeypatch, tmp_path, coin):
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path))
    code, out, err = crp("report", "--coin", coin)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"crp: (BTC-USDT was never run under .*|'\.\./outside' is not the name of a coin.*)\n", err)
    assert list(tmp_path.rglob("*")) == []


def test_a_coin_whose_page_cannot_be_written_keeps_no_other_from_its_page(crp, monkeypatch, tmp_path):
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path))
    store_night(tmp_path, coin="EDGE-DEMO")
    written = []

    def write(places, coin):
        if coin == "NOISE-DEMO":
            raise DataContractError("NOISE-DEMO was never run")
        written.append(coin)
        return places.report(coin)

    monkeypatch.setattr(report_command, "write_coin_report", write)
    monkeypatch.setattr(report_command, "write_fleet_report", lambda places, _, **__: places.fleet_report)
    code, out, err = crp("report")
    assert (code, written, err) == (1, ["EDGE-DEMO"], "crp: NOISE-DEMO was never run\n")
    assert [Path(line).name for line in out.splitlines()] == ["EDGE-DEMO.html", "results.md", "fleet.html"]
    assert "## NOISE-DEMO: NO VERDICT" in (tmp_path / "reports" / "results.md").read_text()
