"""What nights, and runs by hand, write into the ledger of trials."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.ledger import Ledger
from crp_pipeline.nightly import run_night
from crp_pipeline.settings import DemoConfig, ExitConfig
from crp_pipeline.storage import read_parquet
from crp_pipeline_tests.e2e.corridor import small_settings

pytestmark = pytest.mark.slow

COIN = "EDGE-DEMO"
FIRST = 3_000


def settings_of(root, n_bars=FIRST, **changes):
    return small_settings(root, coins=(COIN,), demo=DemoConfig(n_bars=n_bars), **changes)


def night(root, n_bars=FIRST):
    with dg.DagsterInstance.ephemeral() as instance:
        assert run_night(floor_plan(settings_of(root, n_bars)), (COIN,), instance) == []


def by_hand(root, *keys, config=None, **changes):
    """Materialize these assets alone, the first of them so."""
    job = floor_plan(settings_of(root, **changes)).resolve_implicit_global_asset_job_def()
    run_config = {"ops": {keys[0].replace("/", "__"): {"config": config}}} if config else {}
    selection = [dg.AssetKey(key.split("/")) for key in keys]
    assert job.execute_in_process(asset_selection=selection, partition_key=COIN, run_config=run_config).success


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The data folder of one finished night."""
    root = tmp_path_factory.mktemp("night")
    night(root)
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of it to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "data"))


def comparison_of(root):
    return read_parquet(root / "comparison" / f"{COIN}.parquet")


def test_every_candidate_of_the_night_is_one_trial_with_the_returns_that_it_was_compared_by(finished):
    book, compared = Ledger(finished / "ledger"), comparison_of(finished)
    book.verify(COIN)
    found = book.trials(COIN)
    assert book.count(COIN) == found.n_in_matrix == len(compared)
    told = {look.name: look.daily_sharpe for look in book.events(COIN)[-1].looks}
    assert list(told) == list(compared["candidate"])
    assert list(told.values()) == pytest.approx(list(compared["daily_sharpe"]), nan_ok=True)
    contenders = [look.daily_sharpe for look in book.events(COIN)[-1].looks if not look.is_baseline]
    assert sorted(found.sharpes) == sorted(contenders), "the night's evaluation stands for each that could be chosen"
    assert len(contenders) == 2, "the one model of the roster, and the ensemble"
    assert compared.attrs["ledger"] == book.head(COIN)


def test_the_same_night_again_leaves_the_ledger_as_it_is(root):
    before = Ledger(root / "ledger").head(COIN)
    night(root)
    assert Ledger(root / "ledger").head(COIN) == before


def test_a_later_night_extends_its_trials(root):
    book = Ledger(root / "ledger")
    before, n_events = book.count(COIN), len(book.events(COIN))
    night(root, FIRST + 24)
    assert (book.count(COIN), len(book.events(COIN))) == (before, 2 * n_events)
    assert len({look.last_day for event in book.events(COIN)[n_events:] for look in event.looks}) == 1


def test_a_model_that_is_made_by_hand_is_a_trial_and_no_second_one_in_the_comparison(root):
    book = Ledger(root / "ledger")
    before = book.count(COIN)
    by_hand(root, "models/lightgbm", config={"seed": 99})
    assert book.count(COIN) == before + 1
    by_hand(root, "ensemble", "comparison")
    assert book.count(COIN) == before + 2, "and the ensemble of it is another"


def test_whatever_is_asked_of_a_model_outside_the_roster_is_a_trial(root):
    book = Ledger(root / "ledger")
    before, small = book.count(COIN), {"epochs": 5, "variant": "lightweight"}
    asked = [small, {**small, "epochs": 6}, {**small, "days_of_history": 60}, {**small, "params": {"l2": 2}}]
    for number, config in enumerate(asked, start=1):
        by_hand(root, "models/xgboost", config=config)
        assert book.count(COIN) == before + number
    by_hand(root, "models/xgboost", config=small)
    assert book.count(COIN) == before + len(asked), "the first once more"


def test_a_damaged_ledger_stops_no_run_takes_no_line_and_lets_nobody_through(root):
    lines = root / "ledger" / COIN / "trials.jsonl"
    lines.write_bytes(b"{}\n" + lines.read_bytes())
    damaged = lines.read_bytes()
    by_hand(root, "models/lightgbm", config={"seed": 98})
    by_hand(root, "ensemble", "backtest", "comparison", "sentinels", "gate")
    assert lines.read_bytes() == damaged
    assert comparison_of(root).attrs["ledger"] is None
    verdict = json.loads((root / "gate" / f"{COIN}.json").read_text(encoding="utf-8"))
    assert verdict["outcome"] == "REJECT"
    assert verdict["reason"].startswith("ledger_faults is 1, needs <= 0")


def test_what_was_compared_while_the_ledger_was_damaged_lets_nobody_through_once_it_is_mended(root):
    lines = root / "ledger" / COIN / "trials.jsonl"
    whole = lines.read_bytes()
    lines.write_bytes(b"{}\n" + whole)
    by_hand(root, "comparison", "gate")
    lines.write_bytes(whole)
    by_hand(root, "gate")
    verdict = json.loads((root / "gate" / f"{COIN}.json").read_text(encoding="utf-8"))
    assert verdict["evidence"]["ledger_faults"] == 1
    by_hand(root, "comparison", "gate")
    verdict = json.loads((root / "gate" / f"{COIN}.json").read_text(encoding="utf-8"))
    assert verdict["evidence"]["ledger_faults"] == 0


def test_other_exits_on_the_same_models_are_as_many_trials_more(root):
    book = Ledger(root / "ledger")
    before = book.count(COIN)
    by_hand(root, "comparison", exits=ExitConfig(stop_volatility_multiple=4.0))
    assert book.count(COIN) == 2 * before
