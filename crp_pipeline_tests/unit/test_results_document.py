"""The page of a fleet's night: champion beside candidate, what changed, what to try next, all of it from stored files."""

import re
from datetime import UTC, datetime
from string import Formatter

import pandas as pd
import pytest

from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Outcome, Stage, criteria
from crp_pipeline.gate.challenge import LARGEST_E_VALUE
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.reporting.advice import ADVICE, next_step
from crp_pipeline.reporting.model_card import card_page
from crp_pipeline.reporting.results_document import results_page, write_results_document
from crp_pipeline.settings import GateConfig
from crp_pipeline.storage import fresh_folder, seal, write_json, write_parquet, write_text
from crp_pipeline_tests.stored_night import COIN, verdict_of

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
CONFIG = GateConfig()
FAILING = {"trades": 120.0}
SETTINGS = {"horizon": 24, "interval": "1h", "sizing": {"initial_equity": 1e5}, "roster": ["tcn", "lightgbm"], "seed": 0}
MODELS = {
    "lightgbm": {"variant": "default", "parameters": {"learning_rate": 0.05, "n_rounds": 300}, "features": ["a", "b"]},
    "tcn": {"variant": "deep", "parameters": {"dropout": 0.1}, "features": ["a", "b"]},
}


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def night(places, name, *, coin=COIN, models=MODELS, settings=SETTINGS, promote=True, **evidence):
    """Judge a candidate, register it and promote it where it passed; returns its version."""
    verdict = verdict_of(coin, candidate=name, **evidence)
    bundle = fresh_folder(places.root / "bundle")
    for model, card in models.items():
        write_text(bundle / "models" / model / "weights.txt", f"{name} {coin}")
        seal(bundle / "models" / model, card)
    book = Registry(places.registry)
    version = book.register(bundle, {"coin": coin, "verdict": verdict.to_dict(), "settings": settings}, now=NOW)
    if promote and verdict.outcome is Outcome.PROMOTE:
        book.promote(coin, version, verdict, now=NOW)
    write_json(places.verdict(coin), verdict.to_dict())
    return version


def rows(page):
    """Cells of every table row by the row's name."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in cells}


def test_the_first_champion_stands_alone(places):
    version = night(places, "one")
    page = results_page(places, [COIN], CONFIG)
    assert "1 of 1 coins promoted; the rule 'at least 2 of 3' asks for 1 and holds." in page
    assert f"## {COIN}: PROMOTE\n\nThe candidate is the champion." in page
    assert rows(page)[""] == [f"candidate `{version}`"]
    assert "**What to try next.** Nothing failed" in page


def test_a_rejected_candidate_stands_beside_the_champion_with_what_is_asked_for(places):
    champion = night(places, "one", win_rate=0.71)
    candidate = night(places, "two", **FAILING, win_rate=0.69)
    page = results_page(places, [COIN], CONFIG)
    told = rows(page)
    assert told[""] == [f"champion `{champion}`", f"candidate `{candidate}`"]
    assert told["verdict"] == ["PROMOTE", "INSUFFICIENT_EVIDENCE"]
    assert told["first failed criterion"] == ["none", "trades is 120, needs >= 200"]
    assert told["architecture"] == ["stack of tcn (deep), lightgbm; 2 features; horizon 24 bars of 1h"] * 2
    assert told["win rate"][0].startswith("71.0% (66.0% to 74.0%, n 1,000, effective 900); zero skill 50.0%")
    assert told["win rate"][1].startswith("69.0% (66.0% to 74.0%, n 120); zero skill 50.0%")
    assert told["accuracy"][0] == "60.0% (57.0% to 63.0%, 1,000 independent labels); commonest class 40.0%"
    assert told["PnL after costs"][0].endswith("over 1,000 days, +30.0% of 100,000")
    assert told["largest drawdown"] == ["8.0%", "8.0%"]
    for row in ("calibration error", "Sharpe, annualised", "net per trade"):
        assert len(told[row]) == 2
    assert f"The champion `{champion}` stays." in page
    assert "**What to try next.** 120 of 200 trades" in page


def test_a_candidate_that_was_promoted_stands_beside_the_champion_before(places):
    before, after = night(places, "one"), night(places, "two")
    page = results_page(places, [COIN], CONFIG)
    assert rows(page)[""] == [f"champion before `{before}`", f"candidate `{after}`"]
    assert "The candidate is the champion." in page


def test_what_changed_in_the_recipe_is_told_in_words(places):
    night(places, "one")
    learned = {**MODELS["lightgbm"], "parameters": {"learning_rate": 0.03, "n_rounds": 300}, "features": ["a", "c", "d", "e"]}
    settings = {**SETTINGS, "horizon": 12, "threads": 8, "coins": ["X"], "sizing": {"initial_equity": 5e4}}
    night(places, "two", models={"lightgbm": learned, "xgboost": {}}, settings=settings, **FAILING)
    page = results_page(places, [COIN], CONFIG)
    changes = re.findall(r"^- (.*)$", page, re.MULTILINE)
    assert changes == [
        "xgboost added",
        "tcn removed",
        "lightgbm learning_rate 0.05 -> 0.03",
        "3 features more",
        "1 features fewer",
        "horizon 24 -> 12",
        "sizing.initial_equity 100000.0 -> 50000.0",
    ]


def test_the_same_recipe_on_newer_data_is_said_to_be_that(places):
    night(places, "one")
    night(places, "two", **FAILING)
    assert "**What changed in the recipe.** Nothing: the same recipe on newer data." in results_page(places, [COIN], CONFIG)


def test_many_changes_are_counted_after_the_first(places):
    night(places, "one", settings={**SETTINGS, **{f"knob_{place:02}": 0 for place in range(30)}})
    night(places, "two", settings={**SETTINGS, **{f"knob_{place:02}": 1 for place in range(30)}}, **FAILING)
    page = results_page(places, [COIN], CONFIG)
    assert page.count("\n- ") == 21
    assert "\n- and 10 more" in page


def test_a_rejected_candidate_without_a_champion_is_told_in_words(places):
    version = night(places, "one", **FAILING)
    page = results_page(places, [COIN], CONFIG)
    assert "There is no champion yet." in page
    assert rows(page)[""] == [f"candidate `{version}`"]


def test_a_version_that_was_rolled_back_passes_and_does_not_return(places):
    night(places, "one")
    night(places, "two")
    Registry(places.registry).rollback(COIN, now=NOW)
    assert "The candidate passed and was rolled back before" in results_page(places, [COIN], CONFIG)


def test_a_candidate_that_passed_and_was_not_promoted_is_told(places):
    night(places, "one", promote=False)
    page = results_page(places, [COIN], CONFIG)
    assert "The candidate passed and has not been promoted: materialize `registry`. There is no champion yet." in page


def test_a_candidate_that_is_not_registered_has_its_numbers_all_the_same(places):
    write_json(places.verdict(COIN), verdict_of(**FAILING).to_dict())
    told = rows(results_page(places, [COIN], CONFIG))
    assert told[""] == ["candidate, not registered"]
    assert told["verdict"] == ["INSUFFICIENT_EVIDENCE"]
    assert told["architecture"] == ["not told: it has no card"]


def test_the_comparison_on_the_same_bars_is_told_where_it_was_measured(places):
    night(places, "one")
    measured = {"has_champion": 1.0, "same_recipe": 1.0, "champion_margin": 0.5, "paired_days": 40.0, "paired_days_fresh": 5.0}
    ends = {
        f"{name}{end}": value
        for name in ("pnl_difference_bps", "log_loss_difference")
        for end, value in (("", 1.5), ("_low", -0.5), ("_high", 3.5))
    }
    night(places, "two", **measured, **ends, refresh_margin=-1.0)
    page = results_page(places, [COIN], CONFIG)
    assert "**Against the champion it was judged against.** A refreshed model of the champion's recipe" in page
    assert "on 40 days (5 fresh) +1.5 (-0.5 to +3.5) bps a day" in page


def test_damage_to_one_coins_registry_hides_no_other_coin(places):
    night(places, "one", coin="BTC-USDT")
    night(places, "one", coin="ETH-USDT")
    (places.registry / "BTC-USDT" / "champion.json").write_text("{}")
    page = results_page(places, ["BTC-USDT", "ETH-USDT"], CONFIG)
    assert "The registry of this coin cannot be read: BTC-USDT:" in page
    assert "| win rate |" in page.split("## ETH-USDT")[0]
    assert "## ETH-USDT: PROMOTE\n\nThe candidate is the champion." in page


def test_a_verdict_that_cannot_be_read_hides_no_other_coin(places):
    night(places, "one", coin="ETH-USDT")
    write_text(places.verdict("BTC-USDT"), "{")
    page = results_page(places, ["BTC-USDT", "ETH-USDT"], CONFIG)
    assert re.search(r"## BTC-USDT: NO VERDICT\n\nThe verdict cannot be read: .*Materialize `gate` again", page)
    assert "## ETH-USDT: PROMOTE" in page


def test_a_coin_that_failed_or_was_never_run_is_told_and_counts_in_the_rule(places):
    version = night(places, "one", coin="BTC-USDT")
    night(places, "one", coin="ETH-USDT")
    page = results_page(places, ["BTC-USDT", "ETH-USDT", "SOL-USDT"], CONFIG, failed={"BTC-USDT": "models/tcn"})
    assert "1 of 3 coins promoted; the rule 'at least 2 of 3' asks for 2 and does not hold." in page
    assert "## BTC-USDT: NO VERDICT\n\nThe run failed at models/tcn, so there is no verdict. " in page
    assert f"Champion: {version}." in page
    assert "## SOL-USDT: NO VERDICT\n\nThere is no verdict: this coin was never run." in page


def test_an_impossible_target_is_told_with_the_horizons_that_bring_it_within_reach(places):
    night(places, "one", oracle_ceiling=0.33, break_even_win_rate=0.62, coin_flip_win_rate=0.16)
    table = pd.DataFrame({"horizon": [3, 24, 3], "cost_multiple": [1.0, 1.0, 2.0], "largest_coverage": [0.84, 1.0, 0.2]})
    write_parquet(places.frame("feasibility", coin=COIN), table)
    page = results_page(places, [COIN], CONFIG)
    assert rows(page)["achievable"] == ["an oracle wins 33.0% at most, break-even is 62.0%, a coin flip wins 16.0%"]
    assert "Not even an oracle wins more than 33.0%, and 68.0% is asked for: try a longer horizon" in page
    assert "within reach on up to 84.0% at a horizon of 3, 100.0% at a horizon of 24 of the bars." in page


def test_a_damaged_table_of_feasibility_is_told_and_hides_nothing(places):
    night(places, "one", oracle_ceiling=0.33)
    write_text(places.frame("feasibility", coin=COIN), "no table")
    page = results_page(places, [COIN], CONFIG)
    assert f"## {COIN}: IMPOSSIBLE" in page
    assert "feasibility/BTC-USDT.parquet cannot be read" in page


def test_a_coin_without_trades_says_so(places):
    night(places, "one", trades=0.0, pnl=0.0)
    assert rows(results_page(places, [COIN], CONFIG))["win rate"] == ["no trades"]


def test_the_page_is_written_beside_the_reports_of_the_coins(places):
    night(places, "one")
    path = write_results_document(places, [COIN], CONFIG)
    assert path == places.report(COIN).with_name("results.md")
    assert path.read_text() == results_page(places, [COIN], CONFIG)


# the card of a version


def test_the_card_of_the_champion_tells_what_it_is_and_every_criterion(places):
    champion = night(places, "one", win_rate=0.71)
    night(places, "two", **FAILING)
    page = card_page(Registry(places.registry), COIN)
    assert page.startswith(f"# {COIN} {champion}\n")
    assert "71.0% (66.0% to 74.0%, n 1,000, effective 900); zero skill 50.0%" in page
    for name in NAMES:
        assert f"| {name} |" in page
    assert "| sizing.initial_equity | 100000.0 |" in page
    assert '| roster | ["tcn", "lightgbm"] |' in page
    assert "## Made from\n\nIts card tells none." in page


def test_the_card_of_another_version_is_asked_for_by_name(places):
    night(places, "one")
    version = night(places, "two", **FAILING)
    assert "| verdict | INSUFFICIENT_EVIDENCE |" in card_page(Registry(places.registry), COIN, version)


def test_a_card_that_is_not_there_is_one_sentence(places):
    night(places, "one", **FAILING)
    with pytest.raises(RegistryError, match=r"^BTC-USDT has no champion: name the version"):
        card_page(Registry(places.registry), COIN)
    with pytest.raises(RegistryError, match=r"^BTC-USDT has no version 0123"):
        card_page(Registry(places.registry), COIN, "0123456789abcdef")


# what to try next

NAMES = [criterion.name for criterion in criteria(CONFIG)]


def test_every_criterion_of_the_gate_has_an_advice_and_no_other_has():
    assert list(ADVICE) == NAMES


@pytest.mark.parametrize("criterion", criteria(CONFIG), ids=NAMES)
def test_an_advice_tells_the_coins_own_number_when_its_criterion_fails(criterion):
    beyond = criterion.threshold + (0.0137 if criterion.comparison == "<=" else -0.0137)
    verdict = verdict_of(**{criterion.name: beyond})
    assert verdict.first_failed.criterion.name == criterion.name
    told = next_step(verdict)
    shown = [
        Formatter().format_field(value, spec)
        for _, name, spec, _ in Formatter().parse(ADVICE[criterion.name])
        if name is not None and (value := {**verdict.evidence, "value": beyond}.get(name)) is not None
    ]
    assert all(number in told for number in shown)
    assert "{" not in told
    assert re.search(r"nan\b|\binf\b", told) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_number_that_was_not_measured_is_looked_for_first(name):
    assert next_step(verdict_of(**{name: float("nan")})).startswith(f"{name} was not measured: look for the asset")


@pytest.mark.parametrize("name", NAMES)
def test_no_advice_moves_the_bound_that_failed(name):
    told = ADVICE[name]
    assert (
        re.search(r"loosen|relax|threshold of|lower the (bound|threshold|limit)|raise the (bound|threshold|limit)", told)
        is None
    )
    assert set(re.findall(r"gate\.\w+", told)) <= {"gate.level", "gate.n_resamples"}
    assert "released" not in told


def test_an_advice_says_where_a_number_beside_it_was_not_measured():
    verdict = verdict_of(probabilistic_sharpe_ratio=0.2, minimum_track_record_length=float("nan"))
    assert "not measured days would show it" in next_step(verdict)


def test_a_verdict_of_earlier_code_is_answered_with_its_own_sentence():
    from crp_pipeline.gate import Criterion, judge

    old = judge({"luck": 0.5}, (Criterion("luck", "<=", 0.1, Stage.SKILL, "how lucky it was"),))
    assert next_step(old) == "luck is 0.5, needs <= 0.1: how lucky it was."


def test_rules_that_do_not_apply_are_no_numbers_of_the_page():
    assert f"{LARGEST_E_VALUE:,.0f}" not in next_step(verdict_of(fresh_gain_bps=-1.0))
