"""Published numbers and those of independent packages, within the tolerances of data/README.md."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kurtosis, skew

from crp_pipeline.metrics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    minimum_backtest_length,
    minimum_track_record_length,
    mixture_e_value,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
    wilson_interval,
)

DATA = Path(__file__).parent / "data"
SHARPE = {case["id"]: case for case in json.loads((DATA / "sharpe_psr_dsr.json").read_text())["cases"]}
WILSON = json.loads((DATA / "wilson.json").read_text())


@pytest.mark.parametrize("name", ["dsr_paper_N100", "dsr_paper_N46", "dsr_paper_N88_normal"])
def test_deflated_sharpe_ratio_is_that_of_the_paper(name):
    case, given = SHARPE[name], SHARPE[name]["inputs"]
    variance = given["var_sr_ann"] / given["ppy"]
    sharpe = given["sr_ann"] / math.sqrt(given["ppy"])
    value = deflated_sharpe_ratio(
        sharpe, given["T"], skew=given["skew"], kurtosis=given["kurt"], n_trials=given["N"], trial_variance=variance
    )
    assert value == pytest.approx(case["computed"]["DSR"], abs=1e-9)
    assert value == pytest.approx(case["published"]["DSR"], abs=6e-5)
    if "SR0" in case["published"]:
        assert expected_maximum_sharpe(given["N"], variance) == pytest.approx(case["published"]["SR0"], abs=6e-5)


@pytest.mark.parametrize("name", ["psr_paper_hedgefund_normal", "psr_paper_hedgefund_nonnormal"])
def test_probabilistic_sharpe_ratio_is_that_of_the_paper(name):
    case, given = SHARPE[name], SHARPE[name]["inputs"]
    value = probabilistic_sharpe_ratio(
        given["sr"], given["T"], skew=given["skew"], kurtosis=given["kurt"], benchmark=given["srs"]
    )
    assert value == pytest.approx(case["computed"]["PSR"], abs=1e-9)
    assert value == pytest.approx(case["published"]["PSR"], abs=case["tol"])


@pytest.mark.parametrize("name", [name for name in SHARPE if name.startswith("mintrl")])
def test_minimum_track_record_is_that_of_the_paper(name):
    case, given = SHARPE[name], SHARPE[name]["inputs"]
    root = math.sqrt(given["ppy"])
    n = minimum_track_record_length(
        given["sr_ann"] / root,
        skew=given["skew"],
        kurtosis=given["kurt"],
        benchmark=given["srs_ann"] / root,
        level=1 - given["alpha"],
    )
    assert n == pytest.approx(case["computed"]["n_obs"], rel=1e-9)
    assert n / given["ppy"] == pytest.approx(case["published"]["years"], abs=case["tol"])


def test_five_years_allow_forty_five_trials():
    years = SHARPE["minbtl_paper_45"]["computed"]["min_years_by_N"]
    for n_trials, expected in years.items():
        assert minimum_backtest_length(int(n_trials), 1.0) == pytest.approx(expected, abs=1e-9)
    assert minimum_backtest_length(45, 1.0) <= 5 < minimum_backtest_length(46, 1.0)


@pytest.mark.parametrize(("n_trials", "expected"), SHARPE["emax_z_table"]["computed"].items())
def test_expected_maximum_of_standard_normals(n_trials, expected):
    assert expected_maximum_sharpe(int(n_trials), 1.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n_trials", "both"), SHARPE["emax_exact_vs_approx"]["computed"].items())
def test_expected_maximum_is_as_near_to_the_exact_value_as_its_docstring_says(n_trials, both):
    value = expected_maximum_sharpe(int(n_trials), 1.0)
    assert value == pytest.approx(both["approx"], abs=1e-9)
    assert value == pytest.approx(both["exact"], rel=0.08)


def test_inference_on_a_seeded_series_is_that_of_the_reference_packages():
    case = SHARPE["seeded_series"]
    returns = np.random.default_rng(20240101).standard_t(5, size=1000) * 0.01 + 0.0008
    assert returns.sum() == pytest.approx(case["inputs"]["sum"], abs=1e-12)
    sharpe = sharpe_ratio(returns, periods_per_year=1)
    shape = {"skew": skew(returns), "kurtosis": kurtosis(returns, fisher=False)}
    trials = {"n_trials": case["inputs"]["N"], "trial_variance": case["inputs"]["var_sr_per_obs"]}
    own, ref = case["own"], case["ref"]
    psr = probabilistic_sharpe_ratio(sharpe, 1000, **shape)
    dsr = deflated_sharpe_ratio(sharpe, 1000, **shape, **trials)
    length = minimum_track_record_length(sharpe, **shape)

    assert sharpe == pytest.approx(case["moments"]["sr_ddof1"], abs=1e-12)
    assert psr == pytest.approx(own["PSR0"], abs=1e-9)
    assert probabilistic_sharpe_ratio(sharpe, 1000, **shape, benchmark=0.05) == pytest.approx(own["PSR_005"], abs=1e-9)
    assert dsr == pytest.approx(own["DSR"], abs=1e-9)
    assert length == pytest.approx(own["minTRL"], rel=1e-9)

    assert psr == pytest.approx(ref["sharpe_gate_PSR0"], abs=1e-9)
    assert dsr == pytest.approx(ref["sharpe_gate_DSR"], abs=1e-9)
    # other moment conventions: purgedcv and quant-harness are up to 3e-4 away
    assert dsr == pytest.approx(ref["purgedcv_DSR"], abs=3e-4)
    assert dsr == pytest.approx(ref["quant_harness_DSR"], abs=3e-4)
    assert math.ceil(length) == ref["purgedcv_minTRL"]
    assert expected_maximum_sharpe(**trials) == pytest.approx(ref["quant_harness_emax"], abs=1e-9)


@pytest.mark.parametrize("case", WILSON["cases"], ids=lambda case: f"{case['k']}_of_{case['n']}")
def test_wilson_interval_is_that_of_newcombe_and_statsmodels(case):
    interval = wilson_interval(case["k"], case["n"])
    assert interval == pytest.approx(case["own"], abs=1e-9)
    assert interval == pytest.approx(case["statsmodels_wilson"], abs=1e-9)
    if "published" in case:
        assert interval == pytest.approx(case["published"]["ci"], abs=1e-4)
    if "wilson_lb_1sided_95" in case:
        assert wilson_interval(case["k"], case["n"], level=0.90)[0] == pytest.approx(case["wilson_lb_1sided_95"], abs=1e-9)


@pytest.mark.parametrize("row", WILSON["sample_size_table"], ids=lambda row: f"{row['true_p']}_over_{row['threshold']}")
def test_the_lower_bound_passes_a_threshold_at_the_tabled_sample_size(row):
    def proves(n):
        return wilson_interval(row["true_p"] * n, n, level=0.90)[0] >= row["threshold"]

    n = row["n_if_observed_equals_p"]
    assert proves(n)
    # the table starts at ten
    assert n == 10 or not proves(n - 1)


def test_nine_wins_of_ten_are_worth_eighteen_and_a_half():
    assert mixture_e_value(9, 10) == pytest.approx(18.509, abs=5e-4)
    assert mixture_e_value(9, 10) == pytest.approx(2036 / 110, rel=1e-12)
