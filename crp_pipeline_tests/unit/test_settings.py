"""Where a setting comes from, who wins, and what a wrong one says."""

import json
import os
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

import crp_pipeline
from crp_pipeline.errors import CrpError
from crp_pipeline.settings import FeedConfig, LabelConfig, PipelineSettings, SettingsError, load_settings

FOLLOWERS = {("labels", "horizon"), ("labels", "round_trip_cost_bps"), ("execution", "horizon")}
"""What other settings decide."""


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A folder without pyproject.toml and an environment without settings."""
    for variable in [name for name in os.environ if name.upper().startswith("CRP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_pyproject(folder, text):
    (folder / "pyproject.toml").write_text(text)


def leaves(tree, path=()):
    """(path, value) of every setting that is not a section."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


DEFAULTS = dict(leaves(PipelineSettings.model_construct().model_dump(mode="json")))
SAMPLE = str(Path(crp_pipeline.__file__).parents[1] / "crp_pipeline_tests/golden/data/slippage_sample.csv")
HIDDEN = "*" * 10
WORDS = {
    ("source",): ("files", "files"),
    ("interval",): ("4h", "4h"),
    ("coins",): ('["BTC-USDT"]', ["BTC-USDT"]),
    ("roster",): ('["catboost"]', ["catboost"]),
    ("data_dir",): ("/elsewhere", "/elsewhere"),
    ("files_dir",): ("/candles", "/candles"),
    ("ensemble", "tier_quantiles"): ("[0.2, 0.9]", [0.2, 0.9]),
    ("finer_dir",): ("/finer", "/finer"),
    ("execution", "gap_through_target"): ("open", "open"),
    ("sentinels", "released"): ('["log_return_1"]', ["log_return_1"]),
    ("sentinels", "plausibility_horizon"): ("2h", "2h"),
    ("execution", "maker_fee_bps"): ("2.5", 2.5),
    ("execution", "max_participation"): ("0.1", 0.1),
    ("execution", "slippage_file"): (SAMPLE, SAMPLE),
    ("gate", "stress_cost_factor"): ("2", 2.0),
    ("gate", "win_rate_of"): ("all", "all"),
    ("gate", "win_rate_bound"): ("lower", "lower"),
    ("prop_firm", "timezone"): ("America/New_York", "America/New_York"),
    ("prop_firm", "profit_targets"): ("[0.08]", [0.08]),
    ("exchange", "name"): ("kraken", "kraken"),
    ("exchange", "market"): ("swap", "swap"),
    ("exchange", "start"): ("2020-02-29", "2020-02-29"),
    ("exchange", "rate_limit_ms"): ("12.5", 12.5),
    ("retired",): ('["DOGE-USDT"]', ["DOGE-USDT"]),
    ("clock",): ("2024-06-03T00:15:00Z", "2024-06-03T00:15:00Z"),
    ("storage",): ("s3://bucket/prefix", "s3://bucket/prefix"),
    ("online_store",): ("redis://:secret@127.0.0.1:6379/0", HIDDEN),
    ("mlflow",): ("http://127.0.0.1:5000", HIDDEN),
    ("automation", "begins"): ("by_hand", "by_hand"),
    ("notify", "on"): ('["failure"]', ["failure"]),
    ("notify", "webhook"): ("https://example.org/secret", HIDDEN),
    ("notify", "email_to"): ('["desk@example.org"]', ["desk@example.org"]),
    ("notify", "email_from"): ("night@example.org", "night@example.org"),
    ("notify", "smtp_host"): ("mail.example.org", "mail.example.org"),
    ("notify", "smtp_user"): ("night", "night"),
    ("notify", "smtp_password"): ("secret", HIDDEN),
}
"""Another value for what is not a number: as a variable and as a setting."""


def another(path, default):
    if path in WORDS:
        return WORDS[path]
    if isinstance(default, bool):
        return str(not default).lower(), not default
    value = default + 1 if isinstance(default, int) else default * 0.9 or 0.5
    return str(value), value


@pytest.mark.parametrize("path", sorted(set(DEFAULTS) - FOLLOWERS), ids=".".join)
def test_every_setting_has_a_variable_that_changes_it_and_nothing_else(path, monkeypatch):
    text, value = another(path, DEFAULTS[path])
    monkeypatch.setenv("CRP_" + "__".join(path).upper(), text)
    found = dict(leaves(load_settings().model_dump(mode="json")))
    assert found[path] == value != DEFAULTS[path]
    assert {name for name in found if found[name] != DEFAULTS[name]} - FOLLOWERS == {path}


def test_pyproject_of_the_working_directory_is_read(nowhere):
    write_pyproject(
        nowhere,
        '[tool.crp_pipeline]\nsource = "files"\ncoins = ["BTC-USDT", "ETH-USDT"]\n'
        "[tool.crp_pipeline.walk_forward]\ntest_size = 500\nexpanding = false\n",
    )
    found = load_settings()
    assert (found.source, found.coins) == ("files", ("BTC-USDT", "ETH-USDT"))
    assert (found.walk_forward.test_size, found.walk_forward.expanding) == (500, False)
    assert found.walk_forward.train_size == 8_760, "what a section does not name keeps its default"


def test_a_variable_wins_over_pyproject_and_an_argument_over_both(nowhere, monkeypatch):
    write_pyproject(nowhere, "[tool.crp_pipeline]\nseed = 1\n[tool.crp_pipeline.gate]\nmin_trades = 1\nlevel = 0.8\n")
    assert load_settings().seed == 1
    monkeypatch.setenv("CRP_SEED", "2")
    monkeypatch.setenv("CRP_GATE__MIN_TRADES", "2")
    assert load_settings().seed == 2
    assert (load_settings().gate.min_trades, load_settings().gate.level) == (2, 0.8), "a section is merged by key"
    assert load_settings(seed=3).seed == 3


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CRP_HORIZON", "0", r"^horizon = '0' is not allowed: .*greater than or equal to 1$"),
        ("CRP_HORIZON", "a day", r"^horizon = 'a day' is not allowed: .*valid integer"),
        ("CRP_SOURCE", "moon", r"^source = 'moon' is not allowed: .*'demo', 'files' or 'exchange'$"),
        ("CRP_INTERVAL", "2h", r"^interval = '2h' is not allowed: .*'1h', '4h' or '1d'$"),
        ("CRP_EXECUTION__FEE_BPS", "900", r"^execution\.fee_bps = '900' is not allowed: .*less than or equal to 500$"),
        ("CRP_GATE__LEVEL", "1.5", r"^gate\.level = '1.5' is not allowed: .*less than 1$"),
        ("CRP_COINS", '["btc/usdt"]', r"^coins\.0 = 'btc/usdt' is not allowed: .*pattern"),
        ("CRP_COINS", "BTC,ETH", r"^CRP_COINS = 'BTC,ETH' is not allowed: write a list as JSON, such as \[\"A\""),
        (
            "CRP_LABELS",
            "wide",
            r"^CRP_LABELS = 'wide' is not allowed: write JSON, such as {\"horizon\": 24}, or .* CRP_LABELS__HORIZON$",
        ),
        (
            "CRP_EXECUTION",
            '{"fee_bps": 4',
            r"^CRP_EXECUTION = .* write JSON, such as {\"fee_bps\": 5.0}, .* CRP_EXECUTION__FEE_BPS$",
        ),
        ("CRP_COINS", '["A", "B", "A"]', r"^coins names A more than once$"),
        (
            "CRP_HORIZON",
            "9000",
            r"^walk_forward\.train_size = 8760 is not allowed: .* keep 9025 bars .* free, so it must be larger$",
        ),
        ("CRP_WALK_FORWARD__EMBARGO", "8735", r"^walk_forward\.train_size = 8760 is not allowed"),
        ("CRP_GATE__FLEET_MIN_PROMOTED", "4", r"^gate = .*fleet_min_promoted = 4 must not exceed fleet_of = 3$"),
        ("CRP_GATE__MIN_EFFECTIVE_N", "inf", r"^gate\.min_effective_n = 'inf' is not allowed: .*finite"),
        ("CRP_DEMO__N_BARS", "100000000", r"^demo\.n_bars = '100000000' is not allowed"),
        ("CRP_ROSTER", '["oracle"]', r"^roster = \('oracle',\) is not allowed: name xgboost, lightgbm, catboost"),
        ("CRP_ROSTER", "[]", r"^roster = \(\) is not allowed"),
        ("CRP_ROSTER", '["xgboost", "xgboost"]', "each at most once$"),
        ("CRP_ENSEMBLE__TIER_QUANTILES", "[0.7, 0.2]", r"^ensemble = .*\[0.7, 0.2\].* is not allowed: .* must rise"),
        ("CRP_LABELS__HORIZN", "12", r"^labels\.horizn is not a setting"),
        ("CRP_LABELS__HORIZON", "12", r"^labels\.horizon = 12 is not allowed: it follows horizon and is 24$"),
        ("CRP_EXECUTION__HORIZON", "12", r"^execution\.horizon = 12 is not allowed: it follows horizon and is 24$"),
        ("CRP_LABELS__ROUND_TRIP_COST_BPS", "3", r"^labels\.round_trip_cost_bps = 3.0 .* costs in execution and is 14"),
    ],
)
def test_a_wrong_value_names_the_key_the_value_and_what_is_allowed(variable, value, message, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.parametrize(("interval", "most"), [("1m", 59), ("5m", 240), ("30m", 1_740), ("1h", 3_540), ("1d", 3_540)])
def test_a_bar_settles_before_the_next_one_is_decided(interval, most):
    assert load_settings(interval=interval, exchange={"settle_s": most}).exchange.settle_s == most
    with pytest.raises(SettingsError, match=r"settle_s = .* is not allowed: .* (be at most|or equal to) " + str(most)):
        load_settings(interval=interval, exchange={"settle_s": most + 0.5})


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "CRP_NOTIFY__WEBHOOK",
            "ftp://hooks/SECRET",
            "^notify.webhook = what was given is not allowed: it must begin with http",
        ),
        ("CRP_NOTIFY__WEBHOOK", "https:///SECRET", "and name a host$"),
        ("CRP_NOTIFY__EMAIL_TO", '["desk"]', "'desk' must be one mailbox"),
        ("CRP_NOTIFY__EMAIL_FROM", "a@b.org\nBcc: c@d.org", "must be one mailbox"),
    ],
)
def test_who_is_told_is_checked_when_settings_are_loaded_and_no_secret_is_repeated(variable, value, message, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings()
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CRP_NOTIFY", '{"webhook": "http://x/SECRET"', "^CRP_NOTIFY = what was given is not allowed: write JSON"),
        ("CRP_EXCHANGE", '{"client_options": {"secret": "SECRET"}', "^CRP_EXCHANGE = what was given is not allowed"),
        ("CRP_EXCHANGE", '["SECRET"]', "^exchange = what was given is not allowed"),
        ("CRP_STORAGE", "s3://key:SECRET@bucket", "^storage = what was given is not allowed: it must name no user and no pass"),
        ("CRP_EXCHANGE__CLIENT_OPTIONS", '["SECRET"]', r"^exchange\.client_options = what was given is not allowed"),
    ],
)
def test_neither_sentence_nor_traceback_repeats_what_may_hold_a_secret(variable, value, message, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings()
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


def test_the_options_of_a_library_are_written_down_by_their_names_alone(monkeypatch):
    monkeypatch.setenv("CRP_EXCHANGE__CLIENT_OPTIONS", '{"httpsProxy": "http://night:SECRET@proxy"}')
    found = load_settings()
    assert found.exchange.client_options == {"httpsProxy": "http://night:SECRET@proxy"}
    assert found.model_dump(mode="json")["exchange"]["client_options"] == {"httpsProxy": HIDDEN}
    assert "SECRET" not in found.model_dump_json()


FUNDING = {"path": "funding.csv", "available_after": "1D"}


def test_feeds_come_from_pyproject_and_from_a_variable(nowhere, monkeypatch):
    write_pyproject(
        nowhere,
        '[tool.crp_pipeline.feeds.funding]\npath = "funding.csv"\navailable_after = "1D"\n'
        '[tool.crp_pipeline.feeds.interest]\npath = "{base}.csv"\navailable_after = "5min"\nmax_age = "2h"\n'
        'symbol = "{base}USDT"\ncoins = ["BTC-USDT"]\ncolumns = { open_interest = "sumOpenInterest" }\n',
    )
    assert load_settings().feeds == {
        "funding": FeedConfig(**FUNDING),
        "interest": FeedConfig(
            path="{base}.csv",
            available_after="5min",
            max_age="2h",
            symbol="{base}USDT",
            coins=("BTC-USDT",),
            columns={"open_interest": "sumOpenInterest"},
        ),
    }
    monkeypatch.setenv("CRP_FEEDS", json.dumps({"funding": {**FUNDING, "available_after": "25h"}}))
    found = load_settings().feeds
    assert found["funding"] == FeedConfig(path="funding.csv", available_after="25h")
    assert list(found) == ["funding", "interest"], "a section is merged by key"


def test_the_feeds_of_the_readme_are_settings(nowhere):
    readme = (Path(crp_pipeline.__file__).parents[1] / "README.md").read_text()
    [example] = [block for block in readme.split("```") if "[tool.crp_pipeline.feeds." in block]
    write_pyproject(nowhere, example.removeprefix("toml"))
    assert len(load_settings().feeds) == 2


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"funding": {"path": "x"}}, r"^feeds\.funding\.available_after must be set: it has no default$"),
        ({"funding": {"available_after": "1D"}}, r"^feeds\.funding\.path must be set: it has no default$"),
        ({"funding": FUNDING | {"available_after": "a day"}}, r"^feeds\.funding\.available_after = 'a day' is not allowed: "),
        ({"funding": FUNDING | {"available_after": "-1D"}}, r"^feeds\.funding\.available_after = '-1D' is not allowed: "),
        ({"funding": FUNDING | {"available_after": 3600}}, r"^feeds\.funding\.available_after = 3600 is not allowed: "),
        ({"funding": FUNDING | {"max_age": "1y"}}, r"^feeds\.funding\.max_age = '1y' is not allowed: "),
        ({"funding": FUNDING | {"path": ""}}, r"^feeds\.funding\.path = '' is not allowed: "),
        ({"funding": FUNDING | {"coins": ["btc"]}}, r"^feeds\.funding\.coins\.0 = 'btc' is not allowed: "),
        ({"funding": FUNDING | {"columns": {"Rate": "r"}}}, r"^feeds\.funding\.columns\.Rate = 'Rate' is not allowed: "),
        ({"funding": FUNDING | {"columns": ["r"]}}, r"^feeds\.funding\.columns = \['r'\] is not allowed: "),
        ({"funding": FUNDING | {"delay": "1D"}}, r"^feeds\.funding\.delay is not a setting"),
        ({"8h": FUNDING}, r"^feeds\.8h = '8h' is not allowed: "),
        ({"funding": "funding.csv"}, r"^feeds\.funding = 'funding.csv' is not allowed: "),
    ],
)
def test_a_wrong_feed_is_one_sentence(feeds, message, monkeypatch):
    monkeypatch.setenv("CRP_FEEDS", json.dumps(feeds))
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings()
    assert ";" not in str(caught.value)


def test_feeds_that_are_no_json_are_told_what_to_write(monkeypatch):
    monkeypatch.setenv("CRP_FEEDS", "funding.csv")
    with pytest.raises(SettingsError, match=r"^CRP_FEEDS = 'funding.csv' is not allowed: write JSON, such as {\"funding\": {"):
        load_settings()


def test_every_wrong_value_of_pyproject_is_named_at_once(nowhere):
    write_pyproject(nowhere, "[tool.crp_pipeline]\nhorizon = 'x'\ncolour = 1\n[tool.crp_pipeline.sizing]\nmax_leverage = -2\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "horizon = 'x'" in str(caught.value)
    assert "colour is not a setting" in str(caught.value)
    assert "sizing.max_leverage = -2" in str(caught.value)


def test_a_pyproject_that_is_no_toml_is_a_settings_error(nowhere):
    write_pyproject(nowhere, "[tool.crp_pipeline\n")
    with pytest.raises(SettingsError, match=r"pyproject\.toml is not TOML: .*line 1"):
        load_settings()


def test_labels_and_execution_follow_the_one_horizon(monkeypatch):
    monkeypatch.setenv("CRP_HORIZON", "6")
    found = load_settings()
    assert (found.horizon, found.labels.horizon, found.execution.horizon) == (6, 6, 6)


@pytest.mark.parametrize("labels", [{"horizon": 24}, LabelConfig(horizon=6)])
def test_a_horizon_that_contradicts_another_is_refused_even_where_it_is_the_default(labels):
    with pytest.raises(SettingsError, match=r"labels.horizon = .* follows horizon and is 12"):
        load_settings(horizon=12, labels=labels)


def test_the_neutral_band_covers_the_costs_in_force(monkeypatch):
    for name, value in {"FEE_BPS": 4, "SPREAD_BPS": 3, "SLIPPAGE_BPS": 2, "SLIPPAGE_NOISE_BPS": 0.5}.items():
        monkeypatch.setenv(f"CRP_EXECUTION__{name}", str(value))
    # per side 4 + 3 / 2 + 2 + 0.5 = 8, and there are two sides
    assert load_settings().labels.round_trip_cost_bps == 16


def test_settings_survive_a_dump():
    found = load_settings(horizon=7, execution={"fee_bps": 2}, feeds={"funding": FUNDING})
    assert PipelineSettings(**found.model_dump(mode="json")) == found


def test_settings_do_not_change_once_loaded():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().seed = 3


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("CRP_HORIZN", "CRP_HORIZN is not a setting and is ignored; did you mean CRP_HORIZON"),
        ("CRP_LABEL__HORIZON", "CRP_LABEL__HORIZON is not a setting and is ignored; did you mean CRP_LABELS"),
        ("CRP_ZZZ", "CRP_ZZZ is not a setting and is ignored$"),
    ],
)
def test_an_unknown_variable_warns_and_suggests(variable, message, monkeypatch):
    monkeypatch.setenv(variable, "12")
    with pytest.warns(UserWarning, match=message):
        assert load_settings().horizon == 24


def test_the_variable_of_the_tests_is_known(monkeypatch):
    monkeypatch.setenv("CRP_MARKET_DATA", "/candles")
    load_settings()  # a warning would be an error here


def test_a_settings_error_belongs_to_the_error_tree():
    assert issubclass(SettingsError, CrpError)


def test_controls_cannot_be_asked_to_be_younger_than_a_day_that_has_begun():
    assert load_settings(gate={"max_control_age_days": 1}).gate.max_control_age_days == 1
    with pytest.raises(SettingsError, match=r"gate\.max_control_age_days = 0\.5 is not allowed: Input should be greater than"):
        load_settings(gate={"max_control_age_days": 0.5})
