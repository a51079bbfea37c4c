"""`crp`: champions, journals, rollbacks and datasets from the shell; what is wrong is one sentence and exit code 1."""

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from crp_pipeline.candles import demo_candles
from crp_pipeline.depot import Depot
from crp_pipeline.features import CATALOG
from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.models import MODEL_TYPES, OnnxModel, create_model, samples_of, save_bundle
from crp_pipeline.places import Places
from crp_pipeline.predictor import load_predictor
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import Registry
from crp_pipeline.registry.ingredients import TableStore
from crp_pipeline.registry.mirror import Mirrored
from crp_pipeline.settings import DemoConfig
from crp_pipeline.storage import write_parquet, write_text
from crp_pipeline_tests.forecasts import guesses, stacking_problem
from crp_pipeline_tests.recording import learnable_history

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
PROMOTED = judge({"trades": 300.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),))
SHADOW = judge({"margin": -1.0}, (Criterion("margin", ">", 0, Stage.CHAMPION),))
REJECTED = judge({"gain": -1.0}, (Criterion("gain", ">", 0, Stage.SKILL),))
COINS = ("BTC-USDT", "ETH-USDT")


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path / "data"))
    return Registry(tmp_path / "data" / "registry")


@pytest.fixture
def champions(book):
    """Two coins, each with two champions one after the other."""
    return {coin: [crown(book, coin, content) for content in ("first", "second")] for coin in COINS}


def register(book, coin, content, verdict=PROMOTED, now=NOW, **card):
    bundle = book.root.parent / "candidate"
    write_text(bundle / "model.txt", content)
    return book.register(bundle, {"coin": coin, "verdict": verdict.to_dict(), "recipe": content, **card}, now=now)


def crown(book, coin, content, now=NOW, **card):
    version = register(book, coin, content, now=now, **card)
    book.promote(coin, version, PROMOTED, now=now)
    return version


def spoil(book, coin, version):
    (book.folder(coin, version) / "model.txt").write_text("altered")


def rows(table):
    return [line.split() for line in table.splitlines()[2:]]


def test_every_role_of_every_coin_is_listed_and_since_when_the_champion_reigns(crp, book, champions):
    shadow = register(book, "ETH-USDT", "third", SHADOW)
    code, out, err = crp("registry", "list")
    assert (code, err) == (0, "")
    since = "2024-05-01T00:15:00+00:00"
    assert rows(out) == [
        ["BTC-USDT", champions["BTC-USDT"][1], "none", "none", since],
        ["ETH-USDT", champions["ETH-USDT"][1], shadow, shadow, since],
    ]


def test_the_list_of_an_empty_registry_has_no_rows(crp, book):
    code, out, _ = crp("registry", "list")
    assert (code, rows(out)) == (0, [])
    assert not book.root.exists()


def test_the_journal_of_a_coin_is_shown_oldest_first(crp, champions):
    code, out, _ = crp("registry", "history", "--coin", "BTC-USDT")
    first, second = champions["BTC-USDT"]
    told = [(action, version) for _, action, version, *_ in rows(out)]
    assert [line.split()[-2:] for line in out.splitlines()[2:]] == [
        [first, "none"],
        ["none"] * 2,
        [second, second],
        ["none"] * 2,
    ]
    assert (code, told) == (0, [("register", first), ("promote", first), ("register", second), ("promote", second)])


def test_a_coin_is_verified(crp, champions):
    assert crp("registry", "verify", "--coin", "BTC-USDT") == (
        0,
        "BTC-USDT: every version and the journal are as they were written\n",
        "",
    )


def test_every_coin_is_verified_when_none_is_named(crp, champions):
    code, out, err = crp("registry", "verify")
    assert (code, [line.split(":")[0] for line in out.splitlines()], err) == (0, list(COINS), "")


def test_a_fault_of_one_coin_does_not_hide_the_others(crp, book, champions):
    spoil(book, "BTC-USDT", champions["BTC-USDT"][0])
    code, out, err = crp("registry", "verify")
    assert (code, out.split(":")[0]) == (1, "ETH-USDT")
    assert re.fullmatch(r"crp: .*model\.txt has been altered since the manifest was made\n", err)


def test_verifying_an_empty_registry_says_so(crp, book):
    assert crp("registry", "verify") == (0, "the registry has no coins\n", "")


def test_a_rollback_brings_back_the_champion_before(crp, book, champions):
    first = champions["BTC-USDT"][0]
    code, out, _ = crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "spread doubled")
    assert (code, out) == (0, f"BTC-USDT: champion is {first} again\n")
    assert book.champion("BTC-USDT") == first
    assert book.history("BTC-USDT")[-1].reason == "spread doubled"
    assert datetime.fromisoformat(book.history("BTC-USDT")[-1].at) > NOW
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "once more")
    assert (code, err) == (1, "crp: BTC-USDT: there is no earlier champion to go back to\n")


def test_a_rollback_of_a_champion_that_does_not_reign_moves_nothing(crp, book, champions):
    first, second = champions["BTC-USDT"]
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "why", "--expected", first)
    assert (code, err) == (1, f"crp: BTC-USDT: the champion was expected to be {first} and is {second}\n")
    assert book.champion("BTC-USDT") == second


def test_a_rollback_without_a_reason_is_no_command(crp, champions):
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT")
    assert (code, "--reason" in err) == (2, True)


def test_any_earlier_champion_is_brought_back_by_name(crp, book, champions):
    first, second = champions["BTC-USDT"]
    crown(book, "BTC-USDT", "third")
    assert crp("registry", "rollback", "--coin", "BTC-USDT", "--to", first, "--reason", "since March")[0] == 0
    assert book.champion("BTC-USDT") == first
    assert crp("registry", "rollback", "--coin", "BTC-USDT", "--to", second, "--reason", "or not")[0] == 0
    assert (book.champion("BTC-USDT"), book.is_rolled_back("BTC-USDT", first)) == (second, True)
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT", "--to", "0" * 16, "--reason", "")
    assert (code, f"{'0' * 16} never was champion; the earlier ones are " in err) == (1, True)


def test_who_was_live_at_a_moment_and_trained_on_what_has_an_exact_answer(crp, book):
    for day, content in enumerate(("first", "second"), start=3):
        crown(
            book,
            "BTC-USDT",
            content,
            now=datetime(2026, 3, day, 0, 15, tzinfo=UTC),
            data_hash=f"data{day}",
            libraries={"numpy": "2.0"},
        )
    live = book.history("BTC-USDT")[0].version
    for at in ("2026-03-03T14:00", "2026-03-03T15:00+01:00"):
        code, out, _ = crp("registry", "history", "--coin", "BTC-USDT", "--at", at)
        told = dict(line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(("asked", "data")))
        assert (code, told["champion"], told["recipe"], told["libraries"]) == (0, live, "first", "numpy 2.0")
        assert (told["since"], "data hash" in out, "data3" in out) == (
            "2026-03-03T00:15:00+00:00 (promote: all 1 criteria hold)",
            True,
            True,
        )
    code, out, _ = crp("registry", "history", "--coin", "BTC-USDT", "--at", "2026-03-02")
    assert (code, out) == (0, "BTC-USDT: nobody was champion at 2026-03-02T00:00:00+00:00\n")


def test_a_version_is_shown_with_its_roles_and_its_size(crp, book, champions):
    version = register(book, "BTC-USDT", "third", SHADOW)
    code, out, _ = crp("registry", "show", "--coin", "BTC-USDT", "--version", version)
    assert (code, "challenger, shadow" in out, "SHADOW: margin is -1" in out, "MB in 2 files" in out) == (0, True, True, True)
    code, out, _ = crp("registry", "show", "--coin", "BTC-USDT")
    assert (code, champions["BTC-USDT"][1] in out, "roles       champion\n" in out) == (0, True, True)


def test_a_version_is_promoted_by_hand_only_on_a_promote_verdict_and_with_the_reason_kept(crp, book, champions):
    good, bad = register(book, "BTC-USDT", "third"), register(book, "BTC-USDT", "fourth", REJECTED)
    code, _, err = crp("registry", "promote", "--coin", "BTC-USDT", "--version", bad, "--reason", "I like it")
    assert (code, "cannot be promoted on a verdict of REJECT" in err) == (1, True)
    assert crp("registry", "promote", "--coin", "BTC-USDT", "--version", good, "--reason", "I like it")[0] == 0
    assert (book.champion("BTC-USDT"), book.history("BTC-USDT")[-1].reason) == (good, "I like it")
    crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "spread doubled")
    again = ("registry", "promote", "--coin", "BTC-USDT", "--version", good, "--reason", "better now")
    assert (crp(*again)[0], crp(*again, "--again")[0], book.champion("BTC-USDT")) == (1, 0, good)


def test_a_pinned_version_keeps_the_shadows_seat_until_it_is_unpinned(crp, book, champions):
    older, newer = (register(book, "BTC-USDT", content, SHADOW) for content in ("third", "fourth"))
    assert crp("registry", "pin", "--coin", "BTC-USDT", "--version", older, "--reason", "watch it")[0] == 0
    assert book.pointers("BTC-USDT").shadow == older
    code, out, _ = crp("registry", "unpin", "--coin", "BTC-USDT", "--reason", "seen enough")
    assert (code, out, book.pointers("BTC-USDT").shadow) == (0, f"BTC-USDT: {newer} decides in the champion's shadow\n", newer)


def test_pruning_is_told_before_it_is_done(crp, book, champions, monkeypatch):
    monkeypatch.setenv("CRP_RETENTION__KEEP_VERSIONS", "1")
    old, _ = (register(book, "BTC-USDT", content, REJECTED) for content in ("third", "fourth"))
    assert crp("registry", "prune", "--dry-run")[1] == f"BTC-USDT: 1 would be pruned: {old}\nETH-USDT: 0 would be pruned\n"
    assert book.card("BTC-USDT", old)
    assert crp("registry", "prune", "--coin", "BTC-USDT") == (0, f"BTC-USDT: 1 pruned: {old}\n", "")
    assert crp("registry", "verify")[0] == 0
    assert "size        pruned" in crp("registry", "show", "--coin", "BTC-USDT", "--version", old)[1]


@pytest.mark.parametrize("command", ["history", "verify", "rollback"])
@pytest.mark.parametrize("coin", ["NOPE", "../outside", ""])
def test_an_unknown_coin_is_one_sentence_and_leaves_nothing_behind(command, coin, crp, book, champions, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = crp("registry", command, "--coin", coin, *(("--reason", "why") if command == "rollback" else ()))
    assert (code, out) == (1, "")
    assert re.fullmatch(r"crp: (NOPE has no versions|'.*' is not the name of a coin.*)\n", err)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_coin_that_nobody_registered_is_not_pruned_in_silence(how, crp, book, champions):
    code, out, err = crp("registry", "prune", "--coin", "NOPE", *how)
    assert (code, out, err) == (1, "", "crp: NOPE has no versions\n")


def test_pruning_by_hand_removes_the_tables_that_no_version_needs_any_more(crp, book, champions):
    store = TableStore(book.root / "BTC-USDT" / "ingredients")
    store.keep(demo_candles("EDGE-DEMO", DemoConfig(n_bars=500), "1h"))
    assert crp("registry", "prune", "--coin", "BTC-USDT") == (0, "BTC-USDT: 0 pruned\n", "")
    assert [path for path in store.folder.iterdir() if path.suffix in {".json", ".parquet"}] == []


@pytest.fixture
def there(champions, book, tmp_path, monkeypatch):
    """The registry of another machine with which this one shares a depot, and which has gone on to a third champion."""
    url, places = f"file://{tmp_path}/bucket", Places(tmp_path / "there")
    Depot(url, machine="here").push(Places(book.root.parent), "BTC-USDT")
    depot = Depot(url, machine="there")
    depot.pull(places, "BTC-USDT")
    crown(Registry(places.registry), "BTC-USDT", "third")
    depot.push(places, "BTC-USDT")
    monkeypatch.setenv("CRP_STORAGE", url)

    def champion():
        depot.pull(places, "BTC-USDT")
        Registry(places.registry).verify("BTC-USDT")
        return Registry(places.registry).champion("BTC-USDT")

    return champion


def test_what_is_moved_by_hand_is_moved_on_every_machine(crp, champions, there):
    first, second = champions["BTC-USDT"]
    assert there() not in champions["BTC-USDT"]
    assert crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "why") == (
        0,
        f"BTC-USDT: champion is {second} again\n",
        "",
    )
    assert there() == second
    crp("registry", "promote", "--coin", "BTC-USDT", "--version", first, "--reason", "why")
    assert there() == first


def test_a_look_at_a_shared_registry_says_whose_it_is(crp, champions, there):
    code, out, err = crp("registry", "list")
    assert (code, champions["BTC-USDT"][1] in out) == (0, True)
    assert err == "crp: this is what this machine has; `crp depot status` tells whether others have gone on\n"


def test_a_mirror_follows_what_is_moved_by_hand_and_its_problem_is_told(crp, book, champions, monkeypatch):
    seen = []

    def mirrored(book, coin, uri):
        seen.append((book.champion(coin), uri.get_secret_value()))
        return Mirrored((), "the mirror sleeps")

    monkeypatch.setattr("crp_pipeline.cli.registry.mirror", mirrored)
    monkeypatch.setenv("CRP_MLFLOW", "http://mlflow")
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT", "--reason", "why")
    assert (code, err, seen) == (0, "crp: the mirror sleeps\n", [(champions["BTC-USDT"][0], "http://mlflow")])


def test_settings_and_features_are_shown(crp, book):
    code, out, _ = crp("settings")
    assert (code, str(book.root.parent) in out) == (0, True)
    code, out, _ = crp("features")
    assert (code, out.splitlines()[0]) == (0, f"# {len(CATALOG)} features in 8 families")


def test_a_dataset_of_a_coin_that_was_never_prepared_is_one_sentence(book, crp, tmp_path):
    code, _, told = crp("dataset", "export", "--coin", "BTC-USDT", "--to", str(tmp_path / "dataset"))
    assert code == 1
    assert re.fullmatch(r"crp: .*candles/BTC-USDT.parquet cannot be read: .*\n", told)


def test_a_folder_that_is_no_dataset_is_one_sentence(book, crp, tmp_path):
    code, _, told = crp("dataset", "import", "--from", str(tmp_path / "nowhere"))
    assert code == 1
    assert re.fullmatch(r"crp: .*nowhere has no readable manifest.json: .*\n", told)


# models


@pytest.fixture(scope="module")
def candles(tmp_path_factory):
    path = tmp_path_factory.mktemp("candles") / "EDGE.csv"
    demo_candles("EDGE-DEMO", DemoConfig(n_bars=1_000), "1h").to_csv(path)
    return path


QUICKLY = ("--model", "lightgbm", "--variant", "lightweight", "--horizon", "6", "--param", "n_rounds=8")


def test_every_type_of_model_is_listed(crp, book):
    code, out, _ = crp("models")
    assert code == 0
    assert [words[0] for words in rows(out)] == list(MODEL_TYPES)
    assert re.search(r"lightgbm +default, lightweight, deep +signal +short, neutral, long", out)


def test_a_model_is_trained_saved_and_asked(crp, book, candles, tmp_path):
    folder = tmp_path / "model"
    code, out, err = crp("train", "--csv", str(candles), *QUICKLY, "--to", str(folder), "--seed", "3")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "1000 bars of 1h" in lines[0]
    assert any(line.startswith("lightgbm: fold 5 of 5") for line in lines)
    table = lines[next(row for row, line in enumerate(lines) if line.startswith("model ")) :]
    assert table[2].startswith("prior ")
    assert [line.split()[0] for line in table[2:] if line].index("lightgbm") > 0
    assert lines[-1] == f"saved in {folder}"
    card = load_predictor(folder).card
    assert (card["variant"], card["params"], card["seed"], card["horizon"]) == ("lightweight", {"n_rounds": 8}, 3, 6)
    code, out, err = crp("predict", "--from", str(folder), "--csv", str(candles), "--last", "3")
    assert (code, err) == (0, "")
    assert out.startswith("lightgbm of 1,000 bars of 1h, horizon 6; out of fold on ")
    decisions = out.splitlines()[-3:]
    assert [line[:16] for line in decisions] == ["2022-02-11 13:00", "2022-02-11 14:00", "2022-02-11 15:00"]
    assert all(line.split()[2] in {"BUY", "SELL", "HOLD"} for line in decisions)


def test_a_model_may_be_trained_without_being_saved(crp, book, candles, tmp_path):
    code, out, _ = crp("train", "--csv", str(candles), "--model", "prior", "--horizon", "6", "--interval", "1h")
    assert (code, out.splitlines()[-1]) == (0, "not saved: name a folder with --to")
    assert list(tmp_path.iterdir()) == []


OVERRIDES = '{"BTC-USDT": {"execution": {"fee_bps": 50.0}}}'
"""A round trip of 104 bps."""


def test_a_model_is_trained_on_labels_with_the_costs_of_the_coin_that_the_file_is_named_after(
    crp, book, candles, tmp_path, monkeypatch
):
    monkeypatch.setenv("CRP_COIN_OVERRIDES", OVERRIDES)
    named, found = tmp_path / "btc-usdt.csv", {}
    named.write_bytes(candles.read_bytes())
    for path in (named, candles):
        folder = tmp_path / "model" / path.stem
        code, _, _ = crp("train", "--csv", str(path), "--model", "prior", "--horizon", "6", "--to", str(folder))
        assert code == 0
        found[path] = load_predictor(folder).card["labels"]["round_trip_cost_bps"]
    assert found == {named: 104, candles: 14}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "oracle"), "model_type = 'oracle' does not exist"),
        (("--model", "lightgbm", "--variant", "huge"), "variant = 'huge' does not exist"),
        (("--model", "lightgbm", "--param", "rounds=3"), "parameter 'rounds' does not exist"),
        (("--model", "lightgbm", "--param", "n_rounds"), "--param n_rounds must be NAME=VALUE"),
        (("--model", "lightgbm", "--param", "n_rounds=many"), "n_rounds = 'many' is not allowed"),
    ],
)
def test_a_model_that_does_not_exist_is_refused_with_what_does(words, sentence, crp, book, candles):
    code, _, err = crp("train", "--csv", str(candles), *words)
    assert code == 2
    assert sentence in re.sub(r"[\s│]+", " ", err)


def test_candles_that_cannot_be_used_are_one_sentence(crp, book, tmp_path):
    code, _, err = crp("train", "--csv", str(tmp_path / "nowhere.csv"), *QUICKLY)
    assert (code, err) == (1, f"crp: {tmp_path / 'nowhere.csv'} does not exist\n")
    code, _, err = crp("predict", "--from", str(tmp_path / "nowhere"), "--csv", str(tmp_path / "nowhere.csv"))
    assert code == 1
    assert re.fullmatch(r"crp: .*nowhere has no readable manifest.json: .*\n", err)


MODELS = {
    "prior": lambda p: np.tile(p.mean(axis=0), (len(p), 1)),
    "lightgbm": lambda p: p,
    "noise": lambda p: guesses(len(p), seed=5),
}


@pytest.fixture
def stored(book, monkeypatch):
    """Predictions and labels of two coins as a night leaves them."""
    monkeypatch.setenv("CRP_HORIZON", "6")
    frames, labels, _ = stacking_problem(6_000, train_size=600, test_size=900, models=MODELS, strength=2.0)
    data = book.root.parent
    for coin in COINS:
        stamp(labels, "labels", coin=coin)
        write_parquet(data / "labels" / f"{coin}.parquet", labels)
        for name, frame in frames.items():
            write_parquet(data / "models" / coin / f"{name}.parquet", stamp(frame, f"models/{name}", behind=[labels]))
    return data


def evaluate(crp, model, win_rate="0.6", error="0.05"):
    named = ("--coin", "BTC-USDT", "--model", model)
    return crp("evaluate", *named, "--min-win-rate", win_rate, "--max-calibration-error", error)


def test_a_model_that_passes_every_criterion_is_shown_with_exit_code_0(crp, stored):
    code, out, err = evaluate(crp, "lightgbm")
    assert (code, err) == (0, "")
    assert out.startswith("BTC-USDT lightgbm\n")
    assert re.search(r"win_rate +0\.\d+ +>= 0\.6 +yes", out)
    assert re.search(r"calibration_error +0\.\d+ +<= 0\.05 +yes", out)
    assert re.search(r"win rate of calls .*% \(.*% to .*%, n .*independent\); zero skill .*payoff .*coverage", out)
    assert "criteria hold" in out


@pytest.mark.parametrize(
    ("model", "win_rate", "error", "failed"),
    [
        ("noise", "0.6", "0.05", "log_loss_gain_low"),
        ("prior", "0.6", "0.05", "worse_than_prior"),
        ("lightgbm", "0.98", "0.05", "win_rate"),
        ("lightgbm", "0.6", "0.001", "calibration_error"),
    ],
)
def test_a_criterion_that_fails_is_named_and_gives_exit_code_1(model, win_rate, error, failed, crp, stored):
    code, out, err = evaluate(crp, model, win_rate, error)
    assert (code, err) == (1, "")
    assert re.search(rf"{failed} +[-0-9.]+ +[<>]=? [-0-9.]+ +no", out)
    assert "criteria fail" in out


def test_calls_are_asked_to_pay_the_costs_of_their_own_coin(crp, stored, monkeypatch):
    def win_rate():
        return float(re.search(r"win_rate +(0\.\d+) +>=", evaluate(crp, "lightgbm")[1])[1])

    shared = win_rate()
    monkeypatch.setenv("CRP_COIN_OVERRIDES", OVERRIDES.replace("BTC", "ETH"))
    assert win_rate() == shared
    monkeypatch.setenv("CRP_COIN_OVERRIDES", OVERRIDES)
    own = win_rate()
    monkeypatch.delenv("CRP_COIN_OVERRIDES")
    monkeypatch.setenv("CRP_EXECUTION__FEE_BPS", "50")
    assert own == win_rate() < shared


def test_a_model_that_was_never_trained_cannot_be_evaluated(crp, stored):
    for words in (("--coin", "BTC-USDT", "--model", "catboost"), ("--coin", "XRP-USDT", "--model", "prior")):
        code, out, err = crp("evaluate", *words)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"crp: .*parquet cannot be read: .*\n", err)
    assert crp("evaluate", "--coin", "../BTC-USDT", "--model", "prior")[0] == 1


def test_tables_of_different_nights_are_not_held_against_each_other(crp, stored):
    _, labels, _ = stacking_problem(6_000, train_size=600, test_size=900, seed=1)
    write_parquet(stored / "labels" / "BTC-USDT.parquet", stamp(labels, "labels", coin="BTC-USDT"))
    for code, _, err in (evaluate(crp, "lightgbm"), crp("compare")):
        assert (code, err.split(" was made")[0]) == (1, "crp: BTC-USDT: lightgbm")
        assert err.endswith("was made from another version of the labels than the stored one: train it anew\n")


def test_all_stored_models_are_compared_baselines_on_top(crp, stored):
    code, out, err = crp("compare")
    assert (code, err) == (0, "")
    assert [tuple(words[:2]) for words in rows(out)] == [
        (coin, name) for coin in COINS for name in ("prior", "lightgbm", "noise")
    ]
    code, out, _ = crp("compare", "--coin", "ETH-USDT", "--markdown")
    assert (code, out.splitlines()[1][:9]) == (0, "| --- | -")
    assert [line.split(" | ")[1] for line in out.splitlines()[2:]] == ["prior", "lightgbm", "noise"]
    code, _, err = crp("compare", "--coin", "XRP-USDT")
    assert code == 1
    assert re.fullmatch(r"crp: XRP-USDT has no stored predictions in .*\n", err)


def test_a_stored_model_is_exported_to_onnx_and_answers_as_it_does(crp, book, tmp_path):
    features, labels = learnable_history(600)
    samples, y = samples_of(features), labels["signal"].to_numpy()
    for name in ("logistic", "tcn"):
        model = create_model(name, **({"levels": 1, "width": 8, "epochs": 1} if name == "tcn" else {}))
        model.fit(samples.take(np.arange(50, 400)), y[50:400])
        folder = book.root.parent / "models" / "BTC-USDT" / f"{name}.bundle"
        save_bundle(model, folder, card={}, golden=samples.take(np.arange(500, 510)))
        path = tmp_path / f"{name}.onnx"
        code, out, err = crp("export", "--coin", "BTC-USDT", "--model", name, "--to", str(path))
        assert (code, err) == (0, "")
        assert f"in   history  (n, {model.reach}, 3) float32: x0, noise, scale" in out
        asked = samples.take(np.arange(520, 530))
        answers = OnnxModel(path).predict(asked.windows(model.reach).astype(np.float32))
        np.testing.assert_allclose(answers, model.predict(asked), atol=1e-5)


def test_a_model_that_was_never_stored_cannot_be_exported(crp, book, tmp_path):
    code, _, err = crp("export", "--coin", "BTC-USDT", "--model", "tcn", "--to", str(tmp_path / "model.onnx"))
    assert (code, err.count("\n")) == (1, 1)
    assert "tcn.bundle has no readable manifest.json" in err
    assert not (tmp_path / "model.onnx").exists()
