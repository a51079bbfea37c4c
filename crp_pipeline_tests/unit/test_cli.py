"""`crp`: champions, journals, rollbacks and datasets from the shell; what is wrong is one sentence and exit code 1."""

import re
import sys
from datetime import UTC, datetime

import pytest

from crp_pipeline.cli import main
from crp_pipeline.features import CATALOG
from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.registry import Registry
from crp_pipeline.storage import write_text

NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
PROMOTED = judge({"trades": 300.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),))
COINS = ("BTC-USDT", "ETH-USDT")


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setenv("CRP_DATA_DIR", str(tmp_path / "data"))
    return Registry(tmp_path / "data" / "registry")


@pytest.fixture
def champions(book):
    """Two coins, each with two champions one after the other."""
    return {coin: [crown(book, coin, content) for content in ("first", "second")] for coin in COINS}


@pytest.fixture
def crp(monkeypatch, capsys):
    """Run `crp` with some words: (exit code, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["crp", *words])
        with pytest.raises(SystemExit) as end:
            main()
        told = capsys.readouterr()
        return end.value.code, told.out, told.err

    return run


def crown(book, coin, content):
    bundle = book.root.parent / "candidate"
    write_text(bundle / "model.txt", content)
    version = book.register(bundle, {"coin": coin, "verdict": PROMOTED.to_dict()}, now=NOW)
    book.promote(coin, version, PROMOTED, now=NOW)
    return version


def spoil(book, coin, version):
    (book.folder(coin, version) / "model.txt").write_text("altered")


def rows(table):
    return [line.split() for line in table.splitlines()[2:]]


def test_the_champion_of_every_coin_is_listed(crp, champions):
    code, out, err = crp("registry", "list")
    assert (code, err) == (0, "")
    assert rows(out) == [[coin, champions[coin][1], "4"] for coin in COINS]


def test_the_list_of_an_empty_registry_has_no_rows(crp, book):
    code, out, _ = crp("registry", "list")
    assert (code, rows(out)) == (0, [])
    assert not book.root.exists()


def test_the_journal_of_a_coin_is_shown_oldest_first(crp, champions):
    code, out, _ = crp("registry", "history", "--coin", "BTC-USDT")
    first, second = champions["BTC-USDT"]
    told = [(action, version) for _, action, version, *_ in rows(out)]
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
    code, _, err = crp("registry", "rollback", "--coin", "BTC-USDT")
    assert (code, err) == (1, "crp: BTC-USDT: there is no earlier champion to go back to\n")


@pytest.mark.parametrize("command", ["history", "verify", "rollback"])
@pytest.mark.parametrize("coin", ["NOPE", "../outside", ""])
def test_an_unknown_coin_is_one_sentence_and_leaves_nothing_behind(command, coin, crp, book, champions, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    code, out, err = crp("registry", command, "--coin", coin)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"crp: (NOPE has no versions|'.*' is not the name of a coin.*)\n", err)
    assert sorted(tmp_path.rglob("*")) == before


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
