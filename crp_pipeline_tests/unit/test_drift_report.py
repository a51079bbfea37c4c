"""Drift and live decisions on the page, in the picture and in the terminal: every number beside what it must be held against."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crp_pipeline.cli import app
from crp_pipeline.drift import SUMMARIES, Reading, State, read_history, read_report
from crp_pipeline.drift.report import DRIFTED_SHARE, FEATURE_PSI, HIT_RATE, VERSION
from crp_pipeline.errors import DataContractError
from crp_pipeline.gate import Criterion, judge
from crp_pipeline.places import Places
from crp_pipeline.reporting.document import Table, Words
from crp_pipeline.reporting.drift import drift_figure, drift_page, fleet_drift, has_values, nearness
from crp_pipeline.reporting.results import CoinResults
from crp_pipeline.reporting.sections.live import drift_plot, live_section
from crp_pipeline.storage import write_json
from crp_pipeline_tests.drifting import store_live

COIN = "BTC-USDT"


@pytest.fixture
def places(tmp_path):
    stored = Places(tmp_path)
    store_live(stored, COIN)
    return stored


def section_of(places):
    return live_section(CoinResults(places, COIN))


def test_the_section_shows_drift_over_time_and_live_results_with_what_they_are_held_against(places):
    section = section_of(places)
    keys = {block.key for block in section.blocks if isinstance(block, Table)}
    assert keys == {"drift", "live"}
    words = " ".join(block.text for block in section.blocks if isinstance(block, Words))
    assert "retrain" in words
    for told in ("promised", "without skill", "payoff", "a side taken in 100.0% of 200 decisions", "independent"):
        assert told in words


def test_live_intervals_are_told_at_the_level_of_the_nights_verdict(places):
    def width():
        [table] = [block for block in section_of(places).blocks if isinstance(block, Table) and block.key == "live"]
        return table.frame["hit_rate_high"][0] - table.frame["hit_rate_low"][0]

    by_default = width()
    for level in (0.95, 0.8):
        verdict = judge({"confidence_level": level}, [Criterion("confidence_level", ">=", 0.5)])
        write_json(places.verdict(COIN), verdict.to_dict())
        assert (width() < by_default) == (level < 0.95)


def test_a_coin_of_which_nothing_was_measured_is_told_so_in_two_sentences(tmp_path):
    told = [block.text for block in section_of(Places(tmp_path)).blocks]
    assert told == [
        f"No drift was measured of {COIN} yet: materialize the asset drift.",
        f"No live decision of {COIN} that took a side has been scored yet.",
    ]


def test_one_line_per_measure_that_a_rule_asks_about_and_the_limit_across(places):
    near = nearness(read_history(places, COIN))
    assert near.shape == (4, len(SUMMARIES))
    plot = drift_plot(near)
    assert len(plot.traces) == len(SUMMARIES)
    assert "4 reports" in plot.title
    axes = drift_figure(read_history(places, COIN), coin=COIN).axes[0]
    assert len(axes.get_lines()) == len(SUMMARIES) + 1


def test_nearness_is_the_share_of_the_limit_and_evidence_is_compared_by_its_logarithm(places):
    near = nearness(read_history(places, COIN))
    share = near[f"{DRIFTED_SHARE} of all"].to_numpy()
    np.testing.assert_allclose(share, [0.4 / 1.5, 0.8 / 1.5, 1.2 / 1.5, 1.6 / 1.5])
    evidence = near[f"{HIT_RATE} of {VERSION}"].to_numpy()
    np.testing.assert_allclose(evidence, [0, 0, np.log(1.2) / np.log(1.5), np.log(1.6) / np.log(1.5)])


def test_a_history_of_unknowns_has_nothing_to_draw(places):
    known = read_history(places, COIN)
    assert has_values(known)
    assert not has_values(known.assign(value=np.nan))


def test_the_terminal_shows_what_is_asked_then_the_single_numbers_nearest_to_their_limits(places):
    page = drift_page(read_report(places, COIN), top=1)
    lines = page.splitlines()
    assert lines[0].startswith(
        "2024-03-04 00:20 UTC  BTC-USDT: champion bbbbbbbbbbbbbbbb, retrain: drifted_share of all is 1.6"
    )
    assert sum(line.startswith("feature_") for line in lines) == 1
    assert all(any(line.startswith(measure) for line in lines) for measure, _ in SUMMARIES)


def test_crp_drift_prints_the_latest_report_and_says_where_there_is_none(places, monkeypatch):
    monkeypatch.setenv("CRP_DATA_DIR", str(places.root))
    told = CliRunner().invoke(app, ["drift", "--coin", COIN], catch_exceptions=False)
    assert told.exit_code == 0
    assert "drifted_share" in told.stdout
    whole = CliRunner().invoke(app, ["drift"], catch_exceptions=False)
    assert whole.stdout == told.stdout, "every coin that was measured, whatever the settings name"
    missing = CliRunner().invoke(app, ["drift", "--coin", "ETH-USDT"])
    assert isinstance(missing.exception, DataContractError)
    assert "materialize the asset drift first" in str(missing.exception)


def test_crp_drift_complains_of_a_report_that_cannot_be_read_and_prints_the_others(places, monkeypatch):
    monkeypatch.setenv("CRP_DATA_DIR", str(places.root))
    places.frame("drift", coin="AAA-USDT").write_bytes(b"torn")
    told = CliRunner().invoke(app, ["drift"], catch_exceptions=False)
    assert told.exit_code == 1
    assert "AAA-USDT.parquet cannot be read" in told.stderr
    assert told.stdout.startswith(f"2024-03-04 00:20 UTC  {COIN}: champion")


def test_the_summary_names_the_coins_whose_drift_asks_for_something_and_a_file_that_cannot_be_read(places):
    assert fleet_drift(places, ["ETH-USDT"]) == "no champion's drift asks for anything"
    places.frame("drift", coin="ETH-USDT").write_bytes(b"torn")
    told = fleet_drift(places, ["ETH-USDT", COIN])
    assert f"{COIN}: champion {'b' * 16}, retrain" in told
    assert "ETH-USDT.parquet cannot be read" in told


def test_an_unknown_number_is_a_dash_and_never_a_nought(places):
    report = read_report(places, COIN)
    unknown = Reading.unknown(FEATURE_PSI, "x", n=3, missing=97)
    page = drift_page(type(report)(COIN, report.at, report.version, (*report.readings, unknown)), top=99)
    [line] = [line for line in page.splitlines() if line.split()[1:2] == ["x"]]
    assert line.split() == [FEATURE_PSI, "x", "-", "-", "-", str(State.UNKNOWN), "3", "97"]


def test_each_version_has_a_row_and_all_of_them_the_first(places):
    [table] = [block for block in section_of(places).blocks if isinstance(block, Table) and block.key == "live"]
    assert table.frame["version"].tolist() == ["all", "a" * 16, "b" * 16]
    assert table.frame["scored"].tolist() == [200, 60, 140]
    assert isinstance(table.view(table.frame), pd.DataFrame)
