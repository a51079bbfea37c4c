"""What is counted as a trial, what the numbers of the gate make of it, and a ledger that cannot be bent unnoticed."""

import fcntl
import hashlib
import json
import math
import multiprocessing
import shutil
import statistics
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crp_pipeline.chain import NO_ENTRY, Chain
from crp_pipeline.cli import app
from crp_pipeline.defs.trials import append_trials
from crp_pipeline.errors import LedgerError
from crp_pipeline.gate.trials import (
    distinct_choices,
    head_to_tell,
    ledger_evidence,
    ledger_faults,
    overfitting,
    trial_evidence,
)
from crp_pipeline.ledger import Ledger, Trial, Trials, ensemble_trial, flat, model_trial, rule_trial, shared_facts
from crp_pipeline.metrics import probability_of_backtest_overfitting
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import write_parquet

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
COIN = "BTC-USDT"


@pytest.fixture
def book(tmp_path):
    return Ledger(tmp_path / "ledger")


def trial(name="tcn", made=None, **recipe):
    return Trial(name, {"candidate": name, **recipe}, made)


def returns(n_days=10, *, seed=0, start="2024-01-01", names=("tcn",)):
    values = np.random.default_rng(seed).normal(0, 0.01, (n_days, len(names)))
    return pd.DataFrame(values, index=pd.date_range(start, periods=n_days, tz="UTC", name="day"), columns=list(names))


def tell(book, *trials, coin=COIN, occasion="night", now=NOW, **how):
    """One event of these trials."""
    trials = trials or (trial(),)
    return book.append(coin, occasion, trials, returns(names=[it.name for it in trials], **how), now=now)


def path_of(book):
    return book.root / COIN / "trials.jsonl"


def lines(book):
    return path_of(book).read_text().splitlines(keepends=True)


def files(book):
    return sorted((book.root / COIN / "returns").glob("*.parquet"))


# trials


def test_the_key_of_a_trial_changes_with_every_fact_and_not_with_their_order_or_the_name():
    recipe = {"candidate": "tcn", "seed": 0, "labels.horizon": 24, "roster": ["a", "b"], "days_of_history": None}
    key = Trial("tcn", recipe).key
    assert Trial("renamed", dict(reversed(recipe.items())), "forecasts").key == key
    for fact in recipe:
        assert Trial("tcn", {**recipe, fact: "another"}).key != key
        assert Trial("tcn", {name: value for name, value in recipe.items() if name != fact}).key != key


@pytest.mark.parametrize("value", [{"a": 1}, (1, 2), [{"a": 1}], math.nan, math.inf, np.int64(1), NOW, {1}])
def test_a_fact_that_json_would_not_give_back_is_refused(value):
    with pytest.raises(LedgerError, match=r"tcn: seed = .* cannot stand in a recipe"):
        trial(seed=value)


@pytest.mark.parametrize(("name", "recipe"), [("", {"a": 1}), ("tcn", {})])
def test_a_trial_without_name_or_recipe_is_refused(name, recipe):
    with pytest.raises(LedgerError, match="a trial needs a name and a recipe"):
        Trial(name, recipe)


def test_nested_settings_become_one_level_of_names():
    assert flat({"a": {"b": {"c": 1}, "d": (1, 2)}, "e": None}) == {"a.b.c": 1, "a.d": [1, 2], "e": None}


CARD = {
    "model_type": "tcn",
    "variant": "default",
    "parameters": {"width": 8},
    "seed": 3,
    "days_of_history": None,
    "all_features": False,
    "feature_set_id": "0a",
    "lineage": {"candles": ["1"], "models/selection": ["2"]},
    "latency": [1.0],
}


def a_model(settings=None, **changes):
    return model_trial("tcn", {**CARD, **changes}, settings or PipelineSettings(), made="0")


@pytest.mark.parametrize(
    "changes",
    [
        {"variant": "deep"},
        {"parameters": {"width": 16}},
        {"seed": 4},
        {"days_of_history": 90},
        {"feature_set_id": "0b"},
        {"all_features": True},
        {"pool": {"ETH-USDT": {}}},
    ],
)
def test_another_model_is_another_trial(changes):
    assert a_model(**changes).key != a_model().key


@pytest.mark.parametrize(
    "changes",
    [
        {"horizon": 12},
        {"labels": {"neutral_volatility_multiple": 0.5}},
        {"exits": {"stop_volatility_multiple": 3.0}},
        {"execution": {"fee_bps": 1.0}},
        {"sizing": {"risk_per_trade": 0.02}},
        {"walk_forward": {"test_size": 1_000}},
        {"selection": {"keep": 20}},
        {"seed": 1},
        {"feeds": {"funding": {"path": "funding.csv", "available_after": "1D"}}},
    ],
    ids=str,
)
def test_another_setting_is_another_trial_of_every_candidate(changes):
    before, after = PipelineSettings(), PipelineSettings(**changes)
    assert a_model(after).key != a_model(before).key
    assert rule_trial("always_long", after, made="0").key != rule_trial("always_long", before, made="0").key


def test_the_same_model_on_later_candles_elsewhere_is_the_same_trial(tmp_path):
    later = {**CARD, "lineage": {"candles": ["9"], "models/selection": ["8"]}, "latency": [2.0]}
    settings = PipelineSettings(data_dir=tmp_path, threads=2, roster=("tcn",), gate={"min_trades": 1})
    assert model_trial("tcn", later, settings, made="1").key == a_model().key


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": "2024-06-03T00:15:00Z"},
        {"storage": "s3://bucket/prefix"},
        {"retired": ("BTC-USDT",)},
        {"drift": {"recent_days": 10.0}},
        {"retention": {"keep_versions": 1}},
        {"notify": {"smtp_port": 26}},
        {"limits": {"run_minutes": 1.0}},
    ],
    ids=str,
)
def test_what_only_runs_a_night_makes_no_other_trial(changes):
    before, after = PipelineSettings(), PipelineSettings(**changes)
    assert a_model(after).key == a_model(before).key
    assert rule_trial("always_long", after, made="0").key == rule_trial("always_long", before, made="0").key


def test_a_stack_is_another_trial_with_another_member_or_setting_of_its_own():
    settings, other = PipelineSettings(), PipelineSettings(ensemble={"regularization": 2.0})
    stack = ensemble_trial("ensemble", [a_model()], settings, made="0")
    assert ensemble_trial("ensemble", [a_model(seed=9)], settings, made="0").key != stack.key
    assert ensemble_trial("ensemble", [a_model(), a_model()], settings, made="0").key != stack.key
    assert ensemble_trial("ensemble", [a_model()], other, made="0").key != stack.key
    for own in ({"min_win_rate": 0.6}, {"win_rate_of": "all"}, {"win_rate_bound": "lower"}, {"max_calibration_error": 0.2}):
        moved = PipelineSettings(gate=own)
        assert ensemble_trial("ensemble", [a_model()], moved, made="0").key != stack.key, "a threshold that was moved"
        assert a_model(moved).key == a_model().key
    house = PipelineSettings(gate={"min_trades": 1})
    assert ensemble_trial("ensemble", [a_model()], house, made="0").key == stack.key
    assert "ensemble.regularization" not in shared_facts(other), "a model does not change with the stack that it is in"


# what is kept


def test_an_event_tells_what_was_evaluated_on_which_days_and_how_it_did(book):
    daily = returns(40, names=("tcn", "lstm"))
    head = book.append(COIN, "2024-05-01", (trial(seed=1), trial("lstm", made="f0")), daily, now=NOW)
    [event] = book.events(COIN)
    tcn, lstm = event.looks
    assert (event.at, event.coin, event.occasion, event.previous) == ("2024-05-01T00:15:00+00:00", COIN, "2024-05-01", NO_ENTRY)
    assert (tcn.name, tcn.recipe, tcn.key) == ("tcn", {"candidate": "tcn", "seed": 1}, trial(seed=1).key)
    assert (tcn.first_day, tcn.last_day, tcn.n_days) == ("2024-01-01", "2024-02-09", 40)
    assert tcn.daily_sharpe == pytest.approx(statistics.mean(daily["tcn"]) / statistics.stdev(daily["tcn"]))
    assert (tcn.made, lstm.made) == (tcn.earned, "f0")
    [file] = files(book)
    assert file.stem == event.returns == hashlib.sha256(file.read_bytes()).hexdigest()
    pd.testing.assert_frame_equal(pd.read_parquet(file), daily, check_freq=False)
    assert head == book.head(COIN) == "1:" + hashlib.sha256(lines(book)[0].rstrip("\n").encode()).hexdigest()


def test_a_trial_that_never_moved_has_no_sharpe_ratio_and_counts(book):
    book.append(COIN, "night", (trial(),), returns() * 0, now=NOW)
    assert book.events(COIN)[0].looks[0].daily_sharpe is None
    assert book.count(COIN) == 1
    assert np.isnan(book.trials(COIN).sharpes).all()


def test_a_moment_is_written_in_utc(book):
    tell(book, now=datetime(2024, 5, 1, 2, 15, tzinfo=timezone(timedelta(hours=2))))
    assert book.events(COIN)[0].at == "2024-05-01T00:15:00+00:00"


def test_each_line_carries_the_hash_of_the_one_before(book):
    for seed in range(3):
        tell(book, trial(seed=seed))
    for before, event in zip(lines(book), book.events(COIN)[1:], strict=False):
        assert event.previous == hashlib.sha256(before.rstrip("\n").encode()).hexdigest()


def test_a_coin_that_was_never_tried_has_an_empty_ledger_and_asking_leaves_nothing_behind(book):
    book.verify(COIN)
    assert (book.events(COIN), book.count(COIN), book.head(COIN), book.coins()) == ([], 0, f"0:{NO_ENTRY}", [])
    found = book.trials(COIN)
    assert (found.n_trials, found.n_in_matrix, found.n_left_out, found.sharpes.shape) == (0, 0, 0, (0,))
    assert book.continues(COIN, f"0:{NO_ENTRY}")
    assert ledger_faults(book, COIN)[0] == 0
    assert not book.root.exists()


def test_coins_have_ledgers_of_their_own(book):
    tell(book)
    tell(book, trial("lstm"), coin="ETH-USDT")
    assert book.coins() == ["BTC-USDT", "ETH-USDT"]
    assert [event.looks[0].name for event in book.events("ETH-USDT")] == ["lstm"]


@pytest.mark.parametrize("coin", ["../outside", "", "btc-usdt", "BTC/USDT", "BTC-USDT\n", ".BTC"])
def test_what_is_not_the_name_of_a_coin_is_refused(coin, book):
    for ask in (lambda: tell(book, coin=coin), lambda: book.events(coin), lambda: book.verify(coin), lambda: book.trials(coin)):
        with pytest.raises(LedgerError, match="is not the name of a coin"):
            ask()
    assert not book.root.exists()


DAILY = returns(3, names=("tcn", "lstm"))


@pytest.mark.parametrize(
    ("names", "daily", "says"),
    [
        (("tcn",), DAILY, r"the daily returns are of \['tcn', 'lstm'\], the trials are \['tcn'\]"),
        (("lstm", "tcn"), DAILY, "once each"),
        (("tcn", "tcn"), DAILY.set_axis(["tcn", "tcn"], axis=1), "once each"),
        ((), DAILY[[]], "once each"),
        (("tcn", "lstm"), DAILY.tz_localize(None), "must be indexed by UTC day"),
        (("tcn", "lstm"), DAILY.tz_convert("Europe/Prague"), "must be indexed by UTC day"),
        (("tcn", "lstm"), DAILY.shift(1, freq="h"), "must be indexed by UTC day"),
        (("tcn", "lstm"), DAILY.reset_index(drop=True), "must be indexed by UTC day"),
        (("tcn", "lstm"), DAILY.iloc[::-1], "must rise"),
        (("tcn", "lstm"), DAILY.iloc[[0, 0, 1]], "must rise"),
        (("tcn", "lstm"), DAILY.mask(DAILY.isin([DAILY.iloc[1, 1]])), "of lstm on 2024-01-02 is nan, not a finite number"),
        (("tcn", "lstm"), DAILY.replace(DAILY.iloc[2, 0], math.inf), "of tcn on 2024-01-03 is inf, not a finite number"),
    ],
)
def test_returns_that_are_none_are_refused(names, daily, says, book):
    with pytest.raises(LedgerError, match=f"BTC-USDT: .*{says}"):
        book.append(COIN, "night", [trial(name) for name in names], daily, now=NOW)
    assert not book.root.exists()


# what counts


def test_a_recipe_counts_once_however_many_nights_see_later_days(book):
    for n_days in (10, 11, 12, 20):
        tell(book, n_days=n_days, seed=n_days)
    assert len(book.events(COIN)) == 4
    assert book.count(COIN) == 1
    [sharpe] = book.trials(COIN).sharpes
    assert sharpe == pytest.approx(book.events(COIN)[-1].looks[0].daily_sharpe), "the latest"


@pytest.mark.parametrize("fact", ["variant", "seed", "tuning_trial", "labels.horizon", "exits.stop", "feature_set_id", "code"])
def test_every_other_recipe_is_a_trial_of_its_own(fact, book):
    tell(book, trial(**{fact: 1}))
    tell(book, trial(**{fact: 2}))
    assert book.count(COIN) == 2


@pytest.mark.parametrize("n_days", [10, 9, 1])
def test_a_second_look_at_the_same_days_that_comes_out_otherwise_counts_again(n_days, book):
    tell(book)
    tell(book, n_days=n_days, seed=1)
    assert book.count(COIN) == len(book.trials(COIN).sharpes) == 2
    tell(book, n_days=n_days, seed=2)
    assert book.count(COIN) == 3


def test_a_second_look_is_told_by_the_latest_day_that_was_ever_seen(book):
    tell(book, n_days=20)
    tell(book, n_days=10, seed=1)
    tell(book, n_days=15, seed=2)
    assert book.count(COIN) == 3, "the fifteenth day lies after the tenth and had been seen before"
    tell(book, n_days=21, seed=3)
    assert book.count(COIN) == 3


def test_the_same_forecasts_evaluated_by_their_asset_and_by_the_night_are_one_trial(book):
    tell(book, trial(made="f0"), occasion="by hand", n_days=20)
    tell(book, trial(made="f0"), trial("ensemble", made="e0"), n_days=15, start="2024-01-06", seed=1)
    assert book.count(COIN) == 2
    found = book.trials(COIN)
    assert (found.n_in_matrix, len(found.days)) == (2, 15), "the night's evaluation stands for it"


def test_other_forecasts_of_the_same_recipe_on_the_same_days_are_another_trial(book):
    tell(book, trial(made="f0"))
    tell(book, trial(made="f1"))
    assert book.count(COIN) == 2
    tell(book, trial(made="f0"), seed=1)
    assert book.count(COIN) == 2, "the first forecasts again"


def test_an_old_evaluation_of_the_same_forecasts_does_not_take_the_place_of_a_later_one(book):
    tell(book, trial(made="f0"))
    tell(book, trial(made="f1"), n_days=20, seed=1)
    tell(book, trial(made="f0"), n_days=9, seed=2)
    [sharpe] = book.trials(COIN).sharpes
    assert sharpe == book.events(COIN)[1].looks[0].daily_sharpe


def test_a_night_that_is_repeated_leaves_the_ledger_as_it_is(book):
    head = tell(book, trial(made="f0"), trial("ensemble"))
    before = {path: path.read_bytes() for path in book.root.rglob("*.*")}
    assert tell(book, trial(made="f0"), trial("ensemble"), occasion="again", now=NOW + timedelta(hours=1)) == head
    assert {path: path.read_bytes() for path in book.root.rglob("*.*")} == before


def test_only_what_the_ledger_did_not_know_is_written(book):
    daily = returns(names=("tcn", "ensemble"))
    book.append(COIN, "by hand", (trial(),), daily[["tcn"]], now=NOW)
    book.append(COIN, "night", (trial(), trial("ensemble")), daily, now=NOW)
    assert [[look.name for look in event.looks] for event in book.events(COIN)] == [["tcn"], ["ensemble"]]
    assert book.count(COIN) == 2


def test_one_line_of_many_trials_counts_them_all(book):
    tell(book, *(trial(f"tune_{number}", tuning_trial=number) for number in range(200)))
    assert len(lines(book)) == 1
    assert book.count(COIN) == 200


# the matrix


def test_the_matrix_holds_each_trial_on_the_days_that_all_have(book):
    old, new = returns(40), returns(30, seed=1, start="2024-01-21", names=("lstm", "ensemble"))
    book.append(COIN, "first", (trial(),), old, now=NOW)
    book.append(COIN, "second", (trial("lstm"), trial("ensemble")), new, now=NOW)
    found = book.trials(COIN)
    assert (found.n_trials, found.n_in_matrix, found.n_left_out) == (3, 3, 0)
    assert found.names == ("tcn", "lstm", "ensemble")
    assert list(found.days) == list(pd.date_range("2024-01-21", "2024-02-09", tz="UTC"))
    np.testing.assert_array_equal(found.returns, np.column_stack([old["tcn"][20:], new["lstm"][:20], new["ensemble"][:20]]))


@pytest.mark.parametrize(("n_days", "is_in"), [(14, False), (15, True)])
def test_a_trial_with_less_than_half_of_the_days_is_left_out_and_counts(n_days, is_in, book):
    tell(book, n_days=n_days)
    tell(book, trial("ensemble"), n_days=30)
    found = book.trials(COIN)
    assert (found.n_trials, len(found.sharpes), found.n_in_matrix, found.n_left_out) == (2, 2, 1 + is_in, 1 - is_in)
    assert len(found.days) == (15 if is_in else 30)


def test_trials_that_would_leave_less_than_half_of_the_days_together_do_not_empty_the_matrix(book):
    tell(book, trial("early"), n_days=18)
    tell(book, trial("late"), n_days=16, start="2024-01-15")
    tell(book, trial("ensemble"), n_days=30)
    found = book.trials(COIN)
    assert (found.names, len(found.days), found.n_left_out) == (("early", "ensemble"), 18, 1)


def test_the_days_may_be_those_of_any_candidate(book):
    tell(book, n_days=30)
    tell(book, trial("lstm"), n_days=10, start="2025-01-01")
    assert book.trials(COIN).names == ("lstm",)
    found = book.trials(COIN, days=pd.date_range("2024-01-11", periods=10, tz="UTC"))
    assert (found.names, len(found.days), found.n_left_out) == (("tcn",), 10, 1)


# faults


@pytest.fixture
def told(book):
    """A ledger of four events."""
    for seed in range(4):
        tell(book, trial(seed=seed), seed=seed)
    return book


@pytest.mark.parametrize("number", range(4))
def test_a_line_that_was_altered_is_named(number, told):
    kept = lines(told)
    kept[number] = json.dumps({**json.loads(kept[number]), "at": "2020-01-01T00:00:00+00:00"}, sort_keys=True) + "\n"
    path_of(told).write_text("".join(kept))
    says = (
        f"line {number + 2} of the ledger does not follow" if number < 3 else "the ledger ends after line 4, which is not how"
    )
    with pytest.raises(LedgerError, match=f"BTC-USDT: {says}"):
        told.verify(COIN)


@pytest.mark.parametrize("number", range(4))
def test_a_line_that_was_removed_is_named(number, told):
    kept = lines(told)
    del kept[number]
    path_of(told).write_text("".join(kept))
    says = (
        f"line {number + 1} of the ledger does not follow" if number < 3 else "the ledger ends after line 3, which is not how"
    )
    with pytest.raises(LedgerError, match=says):
        told.verify(COIN)


def test_a_file_that_was_removed_or_altered_is_named(told):
    file = told.root / COIN / "returns" / f"{told.events(COIN)[2].returns}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(LedgerError, match=f"BTC-USDT: the ledger's {file.name} has been altered"):
        told.verify(COIN)
    file.unlink()
    with pytest.raises(LedgerError, match=f"BTC-USDT: the ledger names {file.name}, which is missing"):
        told.verify(COIN)
    assert ledger_faults(told, COIN) == (1, f"BTC-USDT: the ledger names {file.name}, which is missing")
    with pytest.raises(LedgerError, match=file.name):
        told.trials(COIN)


def test_a_key_that_is_not_the_recipes_is_found(told):
    document = json.loads(lines(told)[0])
    document["looks"][0]["recipe"]["seed"] = 9
    path_of(told).write_text(json.dumps(document) + "\n")
    with pytest.raises(LedgerError, match="line 1 of the ledger cannot be read: the key of tcn is not the hash of its recipe"):
        told.verify(COIN)


def test_a_ledger_that_is_begun_anew_counts_on_and_is_whole(told):
    head = told.head(COIN)
    path_of(told).write_text("".join([lines(told)[0], "{}\n", *lines(told)[2:]]))
    path_of(told).with_name("trials.head").write_text("0" * 64)
    assert ledger_faults(told, COIN, earlier_heads=[head])[0] == 1
    told.start_anew(COIN, reason=" the disk was full ", heads=[head], n_trials=0, now=NOW)
    assert ledger_faults(told, COIN, earlier_heads=[head]) == (0, "BTC-USDT: the ledger is as it was written")
    assert told.continues(COIN, told.head(COIN))
    assert not told.continues(COIN, f"4:{NO_ENTRY}")
    assert head_to_tell(told, COIN, earlier_head=head) == told.head(COIN)
    assert told.count(COIN) == told.trials(COIN).n_trials == 3, "what can still be read of it"
    [event] = told.events(COIN)
    assert (event.anew.reason, event.anew.heads, event.looks) == ("the disk was full", (head,), ())
    laid = told.root / COIN / event.anew.aside
    assert {path.name for path in laid.iterdir()} == {"trials.jsonl", "trials.head", "returns"}
    assert told.coins() == [COIN]
    tell(told, trial(seed=9))
    assert (told.count(COIN), told.trials(COIN).n_in_matrix) == (4, 1)
    told.verify(COIN)


def test_nothing_is_gained_by_losing_a_ledger(told):
    head = told.head(COIN)
    for part in ("trials.jsonl", "trials.head"):
        (told.root / COIN / part).unlink()
    shutil.rmtree(told.root / COIN / "returns")
    assert ledger_faults(told, COIN, earlier_heads=[head])[0] == 1
    told.start_anew(COIN, reason="lost", heads=[head], n_trials=40, now=NOW)
    assert told.count(COIN) == 40
    tell(told, trial(seed=9))
    told.start_anew(COIN, reason="lost again", heads=[told.head(COIN)], n_trials=0, now=NOW + timedelta(days=1))
    assert told.count(COIN) == 41
    path_of(told).unlink()
    told.start_anew(COIN, reason="and again", heads=[], n_trials=0, now=NOW + timedelta(days=2))
    assert told.count(COIN) == 41, "from those that were laid aside"


def test_a_ledger_is_not_begun_anew_without_a_reason(told):
    before = path_of(told).read_bytes()
    with pytest.raises(LedgerError, match="BTC-USDT: a ledger is begun anew for a reason"):
        told.start_anew(COIN, reason=" ", heads=[], n_trials=0, now=NOW)
    assert path_of(told).read_bytes() == before


def test_of_a_damaged_ledger_that_no_verdict_was_told_of_nothing_is_vouched_for(told):
    path_of(told).write_bytes(b"{}\n")
    assert head_to_tell(told, COIN, earlier_head=None) == f"0:{NO_ENTRY}"


@pytest.fixture
def asked(told, tmp_path, monkeypatch):
    """Ask `crp ledger` of the coin, with the head that the latest comparison was told."""
    (tmp_path / "comparison").mkdir()
    compared = pd.DataFrame({"candidate": ["tcn"]})
    compared.attrs["ledger"] = told.head(COIN)
    write_parquet(tmp_path / "comparison" / f"{COIN}.parquet", compared)
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path))
    return lambda *how: CliRunner().invoke(app, ["ledger", "--coin", COIN, *how])


def test_the_command_tells_a_whole_ledger_and_does_not_begin_it_anew(asked):
    assert "BTC-USDT: 4 trials, every line and file as it was written" in asked().output
    refused = asked("--start-anew", "--reason", "for fun")
    assert "nothing is wrong with the ledger" in str(refused.exception)


def test_the_command_prints_one_row_of_each_trial_as_it_came_out_last(asked, told):
    for n_days in (11, 12, 13):
        tell(told, trial(seed=0), trial("prior", made="p"), n_days=n_days, seed=n_days, occasion=f"night-{n_days}")
    tell(told, trial(seed=3), seed=99, occasion="again")
    printed = asked().output
    rows = [line.split() for line in printed.splitlines() if line.startswith("2024-05-01T")]
    assert f"BTC-USDT: {len(rows)} trials" in printed
    assert [words[1] for words in rows] == ["night-13", *["night"] * 3, "again", "night-13"]
    latest = {look.name: look.daily_sharpe for look in told.events(COIN)[-2].looks}
    sharpes = {words[2]: float(words[-1]) for words in rows if words[1] == "night-13"}
    assert sharpes == pytest.approx({name: sharpe * math.sqrt(365) for name, sharpe in latest.items()}, rel=1e-3)


def test_the_command_finds_a_ledger_that_was_deleted_or_cut_back_and_leads_out(asked, told):
    cut_back(told, 2)
    assert "once held 4 events, which the 2 that it holds do not continue" in str(asked().exception)
    shutil.rmtree(told.root)
    gone = asked()
    assert gone.exit_code == 1
    assert "once held 4 events, which the 0 that it holds do not continue" in str(gone.exception)
    assert "--start-anew" in str(gone.exception)
    begun = asked("--start-anew", "--reason", "moved to another disk")
    assert begun.exit_code == 0
    assert "after 0 trials: moved to another disk" in begun.output
    assert asked().exit_code == 0


@pytest.mark.parametrize("bad", ["[1]\n", "{}\n", "\n", '{"looks": 7}\n', '{"looks": [7]}\n', "null\n", '"looks"\n'])
def test_a_line_that_is_no_event_is_named(bad, told):
    path_of(told).write_text("".join([*lines(told), bad]))
    with pytest.raises(LedgerError, match="line 5 of the ledger cannot be read"):
        told.verify(COIN)


def test_a_ledger_of_another_coin_is_found(told):
    shutil.copytree(told.root / COIN, told.root / "ETH-USDT")
    with pytest.raises(LedgerError, match="ETH-USDT: line 1 of the ledger cannot be read: it is about BTC-USDT"):
        told.verify("ETH-USDT")


def test_nothing_is_written_onto_a_damaged_ledger(told):
    path_of(told).write_text("".join(lines(told)[:-1]))
    before = {path: path.read_bytes() for path in told.root.rglob("*.*")}
    with pytest.raises(LedgerError, match="the ledger ends after line 3"):
        tell(told, trial(seed=9))
    assert {path: path.read_bytes() for path in told.root.rglob("*.*")} == before


@pytest.fixture
def damaged(told):
    """A ledger of whose files one has another byte."""
    file = told.root / COIN / "returns" / f"{told.events(COIN)[1].returns}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    return told


def test_nothing_is_written_onto_a_ledger_with_an_altered_file(damaged):
    before = {path: path.read_bytes() for path in damaged.root.rglob("*.*")}
    with pytest.raises(LedgerError, match=r"\.parquet has been altered"):
        tell(damaged, trial(seed=9))
    assert {path: path.read_bytes() for path in damaged.root.rglob("*.*")} == before


def as_of_a_run(book, told, earned):
    """What a run's `append_trials` returns, and what it warns of."""
    warnings = []
    log, run = SimpleNamespace(warning=warnings.append), SimpleNamespace(tags={}, run_id="by hand")
    context, places = SimpleNamespace(log=log, run=run), SimpleNamespace(ledger=book.root)
    return append_trials(context, COIN, told, earned, PipelineSettings(), places), warnings


def test_a_run_goes_on_without_a_damaged_ledger_and_says_so(damaged):
    head, warnings = as_of_a_run(damaged, [trial(seed=9)], returns())
    assert head is None
    assert len(warnings) == 1
    assert "has been altered; nothing is written onto it" in warnings[0]


def test_a_run_stops_at_returns_that_are_none(told):
    with pytest.raises(LedgerError, match="is nan, not a finite number"):
        as_of_a_run(told, [trial(seed=9)], returns() * math.nan)


def test_a_run_appends_its_trials_and_tells_the_head(told):
    head, warnings = as_of_a_run(told, [trial(seed=9)], returns())
    assert (head, warnings) == (told.head(COIN), [])
    assert told.events(COIN)[-1].occasion == "by hand"


def evidence_of(book, *heads):
    return trial_evidence(book, COIN, returns()["tcn"], earlier_heads=heads, level=0.95)


QUESTIONS = {
    "trial_evidence": lambda book, heads: evidence_of(book, *heads),
    "ledger_faults": lambda book, heads: ledger_faults(book, COIN, earlier_heads=heads),
    "head_to_tell": lambda book, heads: head_to_tell(book, COIN, earlier_head=heads[0]),
    "a known trial": lambda book, _: as_of_a_run(book, [trial()], returns()),
    "another trial": lambda book, _: as_of_a_run(book, [trial(seed=10)], returns()),
}


@pytest.mark.parametrize("n_heads", [1, 2, 7])
@pytest.mark.parametrize("question", QUESTIONS)
def test_whoever_asks_reads_the_lines_once_however_many_heads_are_known(question, n_heads, told, monkeypatch):
    heads, readings, links = [told.head(COIN)] * n_heads, [], Chain.links
    monkeypatch.setattr(Chain, "links", lambda chain: readings.append(chain) or links(chain))
    QUESTIONS[question](told, heads)
    assert len(readings) == 1


def test_what_was_in_order_a_moment_ago_is_looked_at_again(told):
    head = told.head(COIN)
    sound, sentence = evidence_of(told, head)
    assert sound["ledger_faults"] == 0
    assert sentence == f"{COIN}: the ledger is as it was written"
    assert sound["trials"] == told.count(COIN)
    file = told.root / COIN / "returns" / f"{told.events(COIN)[-1].returns}.parquet"
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    assert evidence_of(told, head) == ({"ledger_faults": 1.0}, f"{COIN}: the ledger's {file.name} has been altered")
    file.write_bytes(content)
    assert evidence_of(told, head)[0]["ledger_faults"] == 0
    cut_back(told, 2)
    faults, sentence = evidence_of(told, head, head)
    assert faults == {"ledger_faults": 2.0}
    assert sentence.endswith("the 2 that it holds do not continue")
    assert head_to_tell(told, COIN, earlier_head=head) == head


def test_a_file_that_no_number_needs_any_more_is_checked_all_the_same(book):
    tell(book, n_days=10)
    tell(book, n_days=20)
    file = book.root / COIN / "returns" / f"{book.events(COIN)[0].returns}.parquet"
    file.write_bytes(file.read_bytes() + b" ")
    assert book.trials(COIN).n_trials == 1
    altered = f"{COIN}: the ledger's {file.name} has been altered"
    assert ledger_faults(book, COIN) == (1, altered)
    assert evidence_of(book, book.head(COIN)) == ({"ledger_faults": 1.0}, altered)


def test_nobody_writes_while_a_ledger_is_read(told):
    with told.reading(COIN) as book, (told.root / COIN / ".lock").open("w") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert (book.head, list(book.events), book.count) == (told.head(COIN), told.events(COIN), told.count(COIN))
    with (told.root / COIN / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def cut_back(book, n_lines):
    """Make the ledger what it was after so many events, head and all: no file can tell."""
    kept = lines(book)[:n_lines]
    path_of(book).write_text("".join(kept))
    (book.root / COIN / "trials.head").write_text(hashlib.sha256(kept[-1].rstrip("\n").encode()).hexdigest())


def test_a_ledger_continues_every_head_that_it_ever_had_and_no_other(book):
    heads = [book.head(COIN), *(tell(book, trial(seed=seed)) for seed in range(4))]
    assert all(book.continues(COIN, head) for head in heads)
    for wrong in (
        "",
        "5",
        "x:y",
        f"-1:{NO_ENTRY}",
        f"1:{NO_ENTRY}",
        heads[1].replace("1:", "2:"),
        heads[4].replace("4:", "5:"),
    ):
        assert not book.continues(COIN, wrong)


def test_a_ledger_that_was_cut_back_removed_or_written_anew_does_not_continue_what_it_was(told):
    head = told.head(COIN)
    cut_back(told, 3)
    told.verify(COIN)
    says = "BTC-USDT: the ledger once held 4 events, which the 3 that it holds do not continue"
    assert ledger_faults(told, COIN, earlier_heads=[head]) == (1, says)
    tell(told, trial(seed=8))
    assert ledger_faults(told, COIN, earlier_heads=[head])[0] == 1
    shutil.rmtree(told.root)
    told.verify(COIN)
    assert ledger_faults(told, COIN, earlier_heads=[head, head])[0] == 2
    assert ledger_faults(told, COIN, earlier_heads=[f"0:{NO_ENTRY}"])[0] == 0


def test_a_comparison_that_was_not_written_down_is_a_fault_of_a_ledger_however_whole(told):
    says = "BTC-USDT: the comparison was not written into the ledger; materialize `comparison` again"
    head = told.head(COIN)
    assert ledger_faults(told, COIN, earlier_heads=[head], is_written=False) == (1, says)
    cut_back(told, 3)
    faults, sentence = ledger_faults(told, COIN, earlier_heads=[head], is_written=False)
    assert (faults, sentence) == (2, ledger_faults(told, COIN, earlier_heads=[head])[1])


def test_the_head_that_a_verdict_tells_stays_the_earlier_one_until_the_ledger_continues_it(told):
    assert head_to_tell(told, COIN, earlier_head=None) == told.head(COIN)
    head = told.head(COIN)
    longer = tell(told, trial(seed=9))
    assert head_to_tell(told, COIN, earlier_head=head) == longer
    whole = path_of(told).read_bytes()
    cut_back(told, 3)
    assert head_to_tell(told, COIN, earlier_head=head) == head
    path_of(told).write_bytes(b"{}\n")
    assert head_to_tell(told, COIN, earlier_head=head) == head
    path_of(told).write_bytes(whole)
    (told.root / COIN / "trials.head").write_text(longer.partition(":")[2])
    assert head_to_tell(told, COIN, earlier_head=head) == longer


# power cuts

STEPS = {
    "the returns": "crp_pipeline.ledger.ledger.write_bytes",
    "the line": "crp_pipeline.chain.Chain.append",
    "the head": "crp_pipeline.ledger.ledger.write_text",
}


def cut_off(monkeypatch, step, act):
    """The power goes when `act` comes to `step`."""
    with monkeypatch.context() as power:
        power.setattr(STEPS[step], lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            act()


@pytest.mark.parametrize("step", STEPS)
def test_an_event_that_was_cut_off_is_there_whole_or_not_at_all_and_is_finished_by_the_next_try(step, told, monkeypatch):
    cut_off(monkeypatch, step, lambda: tell(told, trial(seed=9)))
    told.verify(COIN)
    assert told.count(COIN) == (5 if step == "the head" else 4)
    head = told.head(COIN)
    later = tell(told, trial(seed=9))
    assert (later == head) is (step == "the head")
    assert told.continues(COIN, head)
    told.verify(COIN)
    assert told.count(COIN) == len(lines(told)) == 5


@pytest.mark.parametrize("step", STEPS)
def test_another_event_follows_one_that_was_cut_off(step, told, monkeypatch):
    cut_off(monkeypatch, step, lambda: tell(told, trial(seed=9)))
    head = told.head(COIN)
    tell(told, trial(seed=10), seed=10)
    told.verify(COIN)
    assert told.continues(COIN, head)
    assert told.count(COIN) == (6 if step == "the head" else 5)


@pytest.mark.parametrize("torn", ["{", '{"at": "2024', '{"whole": 1}'])
def test_a_last_line_that_was_torn_is_passed_over_and_dropped_by_the_next_write(torn, told):
    whole = path_of(told).read_bytes()
    path_of(told).write_bytes(whole + torn.encode())
    told.verify(COIN)
    assert told.count(COIN) == 4
    assert path_of(told).read_bytes() == whole + torn.encode(), "a read repairs nothing"
    tell(told, trial(seed=9))
    assert path_of(told).read_bytes().startswith(whole)
    assert told.count(COIN) == 5


def write_in_turn(root, worker, n):
    """Append `n` events; the target of a process of its own."""
    for number in range(n):
        tell(Ledger(root), trial(worker=worker, number=number), seed=number)


@pytest.mark.slow
def test_processes_that_write_at_once_keep_the_ledger_whole(book):
    start = multiprocessing.get_context("spawn")
    writers = [start.Process(target=write_in_turn, args=(str(book.root), worker, 6)) for worker in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    book.verify(COIN)
    assert book.count(COIN) == len(lines(book)) == 18


# the numbers of the gate


def tried(sharpes, matrix=None):
    """Trials of these Sharpe ratios."""
    matrix = np.empty((0, 0)) if matrix is None else matrix
    days = pd.date_range("2024-01-01", periods=len(matrix), tz="UTC")
    told, names = np.array(sharpes, dtype=float), ("x",) * matrix.shape[1]
    is_baseline = np.zeros(matrix.shape[1], dtype=bool)
    return Trials(len(told), told, matrix, days, names, is_baseline)


def test_the_deflated_sharpe_ratio_is_what_its_formula_says_by_hand():
    daily = np.random.default_rng(1).normal(0.2, 1, 300)
    sharpe, centred = daily.mean() / daily.std(ddof=1), daily - daily.mean()
    skew, kurtosis = ((centred**power).mean() / daily.std() ** power for power in (3, 4))
    trials = tried([0.0, 0.1, -0.1, 0.05, math.nan])
    normal, gamma = statistics.NormalDist(), 0.5772156649015329
    luck = (1 - gamma) * normal.inv_cdf(1 - 1 / 5) + gamma * normal.inv_cdf(1 - 1 / (5 * math.e))
    luck /= math.sqrt(299)
    variance = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    found = ledger_evidence(trials, daily)
    assert found["trials"] == 5, "one that could not be measured is one more that was tried"
    assert found["deflated_sharpe_ratio"] == pytest.approx(normal.cdf((sharpe - luck) * math.sqrt(299 / variance)))
    assert found["probabilistic_sharpe_ratio"] == pytest.approx(normal.cdf(sharpe * math.sqrt(299 / variance)))
    needed = 1 + variance * (normal.inv_cdf(0.95) / sharpe) ** 2
    assert found["minimum_track_record_length"] == pytest.approx(needed)
    assert found["minimum_backtest_length"] == pytest.approx(299 * (luck / sharpe) ** 2)
    assert found["trial_sharpe_spread"] == pytest.approx(statistics.stdev([0.0, 0.1, -0.1, 0.05]))


def test_more_trials_on_the_ledger_leave_less_of_the_same_sharpe_ratio():
    daily = np.random.default_rng(2).normal(0.15, 1, 400)
    found = [ledger_evidence(tried([0.05, -0.05] * n), daily) for n in (1, 5, 50, 500)]
    for name, sign in (("deflated_sharpe_ratio", -1), ("minimum_backtest_length", 1), ("expected_maximum_sharpe", 1)):
        values = [sign * evidence[name] for evidence in found]
        assert values == sorted(values)
        assert values[0] < values[-1]


def test_a_single_trial_is_deflated_by_nothing():
    found = ledger_evidence(tried([0.1]), np.random.default_rng(3).normal(0.1, 1, 200))
    assert found["deflated_sharpe_ratio"] == found["probabilistic_sharpe_ratio"]
    assert math.isnan(found["trial_sharpe_spread"])


def test_without_trials_nothing_is_said_of_luck_and_those_that_could_not_be_measured_count():
    daily = np.random.default_rng(4).normal(0.1, 1, 200)
    none, unmeasured, measured = (ledger_evidence(tried(sharpes), daily) for sharpes in ([], [math.nan] * 2, [0.1, 0.2]))
    assert math.isnan(none["deflated_sharpe_ratio"])
    assert math.isfinite(none["probabilistic_sharpe_ratio"])
    assert unmeasured["deflated_sharpe_ratio"] == measured["deflated_sharpe_ratio"]


@pytest.mark.parametrize("n_trials", [5, 40])
def test_the_best_of_worthless_trials_passes_no_more_often_than_one_in_twenty(n_trials):
    """Returns with the tails of five degrees of freedom; trials that pay costs, or move together, pass less often."""
    rng = np.random.default_rng(11)

    def passes(mean, common):
        shared = rng.standard_t(5, (200, 1))
        daily = mean + np.sqrt(common) * shared + np.sqrt(1 - common) * rng.standard_t(5, (200, n_trials))
        sharpes = daily.mean(axis=0) / daily.std(axis=0, ddof=1)
        return ledger_evidence(tried(sharpes), daily[:, sharpes.argmax()])["deflated_sharpe_ratio"] >= 0.95

    for mean, common in ((0.0, 0.0), (-0.05, 0.0), (0.0, 0.5)):
        assert np.mean([passes(mean, common) for _ in range(400)]) <= 0.05
    # without the correction
    best = rng.standard_t(5, (200, n_trials))
    best = best[:, (best.mean(axis=0) / best.std(axis=0)).argmax()]
    assert ledger_evidence(tried([0.0]), best)["deflated_sharpe_ratio"] > 0.8


@pytest.mark.parametrize("losers", [[], [0.0], [-0.3], [0.0, -0.1, -0.5]])
@pytest.mark.parametrize("n_days", [300, 1_000])
def test_worthless_trials_beside_good_ones_hide_no_edge(losers, n_days):
    """However far the trials are apart: what skill adds to their spread is not luck."""
    edge = np.random.default_rng(12).normal(0.3, 1, n_days)
    found = ledger_evidence(tried([*[0.3] * 5, *losers, *[-0.1] * 5]), edge)
    assert found["deflated_sharpe_ratio"] > 0.95


@pytest.mark.parametrize("daily", [[], [0.01], [0.0] * 100])
def test_a_candidate_without_a_sharpe_ratio_has_none_of_these_numbers(daily):
    found = ledger_evidence(tried([0.1, 0.2]), daily)
    names = ("probabilistic", "deflated")
    assert all(math.isnan(found[f"{name}_sharpe_ratio"]) for name in names)
    assert math.isnan(found["minimum_track_record_length"])
    assert math.isnan(found["minimum_backtest_length"])


def test_a_candidate_that_lost_needs_forever():
    found = ledger_evidence(tried([0.1, 0.2]), np.random.default_rng(5).normal(-0.3, 1, 300))
    assert found["minimum_track_record_length"] == found["minimum_backtest_length"] == math.inf


def test_overfitting_is_told_from_thirty_days_on():
    matrix = np.random.default_rng(6).normal(0, 1, (200, 4))
    assert math.isnan(overfitting(matrix[:29]))
    for n_days in (30, 59, 79, 80, 200):
        assert 0 <= overfitting(matrix[:n_days]) <= 1
    matrix[:, 2] += 1
    assert overfitting(matrix) == 0
    assert overfitting(matrix[:, 2:3]) == 0, "it never loses"
    assert math.isnan(overfitting(matrix[:, :0])), "without a trial there is nothing to choose"


@pytest.mark.parametrize(("n_days", "n_blocks"), [(30, 6), (49, 8), (59, 10), (79, 14), (80, 16), (500, 16)])
def test_overfitting_uses_as_many_blocks_of_five_days_as_there_are(n_days, n_blocks, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "crp_pipeline.gate.trials.probability_of_backtest_overfitting",
        lambda _, *, n_blocks, **_how: asked.append(n_blocks) or 0.0,
    )
    overfitting(np.zeros((n_days, 2)))
    assert asked == [n_blocks]


def test_overfitting_of_a_ledger_is_that_of_its_matrix_by_hand(book):
    """Six blocks of five days: of the twenty halves, those in which the winner ends at or below the middle of the rest.

    Beside as many that do nothing the middle is doing nothing: those in which the winner loses.
    """
    from itertools import combinations

    daily = returns(30, names=("a", "b", "c", "d"), seed=3)
    book.append(COIN, "night", [trial(name) for name in daily], daily, now=NOW)
    blocks, below, lost = daily.to_numpy().reshape(6, 5, 4), [], []
    for half in combinations(range(6), 3):
        chosen = blocks[list(half)].reshape(15, 4)
        rest = blocks[[block for block in range(6) if block not in half]].reshape(15, 4)
        best = (chosen.mean(axis=0) / chosen.std(axis=0)).argmax()
        tested = rest.mean(axis=0) / rest.std(axis=0)
        below.append((tested < tested[best]).sum() + 1 <= 2)
        lost.append(tested[best] < 0)
    evidence = ledger_evidence(book.trials(COIN), daily["a"])
    assert evidence["overfitting_among_contenders"] == pytest.approx(np.mean(below))
    assert evidence["probability_of_backtest_overfitting"] == pytest.approx(np.mean(lost))
    assert 0 < np.mean(below) < 1
    assert 0 < np.mean(lost) < 1


def test_losing_trials_make_nobody_look_less_overfitted(book):
    """Neither as baselines nor as contenders."""
    names = tuple("abcdef")
    daily = returns(180, names=names, seed=9)
    book.append(COIN, "night", [trial(name) for name in names], daily, now=NOW)
    alone = ledger_evidence(book.trials(COIN), daily["a"])["probability_of_backtest_overfitting"]
    worse = [f"worse {number}" for number in range(12)]
    losing = returns(180, names=worse, seed=4) - 0.01
    trials = [Trial(name, {"candidate": name}, is_baseline=number < 5) for number, name in enumerate(worse)]
    book.append(COIN, "night", trials, losing, now=NOW)
    beside = ledger_evidence(book.trials(COIN), daily["a"])
    assert alone > 0.3
    assert beside["probability_of_backtest_overfitting"] == alone
    assert beside["distinct_trials"] == 13, "six, and seven that could have been chosen"
    assert overfitting(book.trials(COIN).returns) == alone


def test_an_honest_roster_of_equally_good_choices_is_not_overfitted_and_a_worthless_one_is():
    def told(edge, n):
        matrices = [np.random.default_rng(seed).normal(edge, 1, (180, n)) for seed in range(12)]
        return np.mean([overfitting(distinct_choices(matrix)) for matrix in matrices])

    for n in (1, 2, 4):
        assert told(0.3, n) < 0.1
        assert told(0.0, n) == pytest.approx(0.5, abs=0.2)


def test_copies_of_a_trial_leave_less_of_a_sharpe_ratio():
    daily = np.random.default_rng(7).normal(0.1, 1, (250, 20))
    sharpes = daily.mean(axis=0) / daily.std(axis=0, ddof=1)
    best = daily[:, sharpes.argmax()]
    few, many = (
        ledger_evidence(tried([*sharpes, *[sharpes.max()] * n_copies]), best)["deflated_sharpe_ratio"] for n_copies in (0, 500)
    )
    assert many < few < 0.95


def test_variants_of_one_edge_are_one_choice_and_do_not_call_it_overfitted():
    rng = np.random.default_rng(3)
    edge = rng.normal(0.004, 0.01, 400)
    variants = edge[:, None] + rng.normal(0, 0.002, (400, 12))
    worthless = rng.normal(0, 0.01, (400, 4))
    returns = np.column_stack([variants, worthless])
    ranked = probability_of_backtest_overfitting(returns)
    assert ranked > 0.2, "twelve that are as good as each other: each is as often last as first"
    choices = distinct_choices(returns)
    assert choices.shape == (400, 5)
    assert overfitting(choices) == 0.0


def test_strategies_that_toss_coins_of_their_own_stay_as_many_choices():
    returns = np.random.default_rng(4).normal(0, 0.01, (400, 30))
    assert distinct_choices(returns).shape == (400, 30)
    assert overfitting(distinct_choices(returns)) == pytest.approx(0.5, abs=0.25)


def test_a_copy_is_no_choice_and_a_trial_that_never_moves_is_one():
    rng = np.random.default_rng(5)
    one, other = rng.normal(0, 0.01, (2, 60))
    choices = distinct_choices(np.column_stack([one, other, one, np.zeros(60), np.full(60, 0.001)]))
    assert choices.shape == (60, 4)
    assert any(np.allclose(choices[:, place], one) for place in range(4))
    assert distinct_choices(np.empty((0, 0))).shape == (0, 0)
    assert distinct_choices(one[:, None]).shape == (60, 1)
