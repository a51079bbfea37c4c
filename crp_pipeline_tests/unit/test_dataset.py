"""Prepared tables on their way from one machine to another."""

import json

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crp_pipeline.dataset import TABLES, export_dataset, import_dataset
from crp_pipeline.errors import BundleError, DataContractError
from crp_pipeline.provenance import stamp
from crp_pipeline.storage import MANIFEST, read_parquet, write_parquet

COIN, SET = "BTC-USDT", "fs1"


def table(seed):
    index = pd.date_range("2024-01-01", periods=50, freq="h", tz="UTC", name="open_time", unit="ns")
    return pd.DataFrame({"value": np.random.default_rng(seed).normal(size=50)}, index=index)


def store(root, *, candles_of_features=0):
    """Four tables as the rooms leave them; features may come from other candles."""
    candles = stamp(table(0), "candles", coin=COIN)
    older = stamp(table(candles_of_features), "candles", coin=COIN)
    tables = {"candles": candles, "features": stamp(table(1), "features", behind=[older], feature_set_id=SET)}
    tables["labels"] = stamp(table(2), "labels", behind=[candles])
    tables["splits"] = stamp(table(3), "splits", behind=[candles, tables["labels"]])
    for name, frame in tables.items():
        write_parquet(root / name / f"{COIN}.parquet", frame)
    return tables


@pytest.fixture
def exported(tmp_path):
    tables = store(tmp_path / "here")
    return export_dataset(tmp_path / "here", COIN, tmp_path / "dataset"), tables


def test_what_is_exported_comes_back_as_it_was(exported, tmp_path):
    folder, tables = exported
    assert import_dataset(folder, tmp_path / "there", feature_set_id=SET) == COIN
    for name in TABLES:
        found = read_parquet(tmp_path / "there" / name / f"{COIN}.parquet")
        assert_frame_equal(found, tables[name], check_freq=False)
        assert found.attrs == tables[name].attrs


@pytest.mark.parametrize("name", [f"{name}.parquet" for name in TABLES])
def test_a_changed_byte_is_refused_and_nothing_is_written(exported, tmp_path, name):
    folder, _ = exported
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} has been altered"):
        import_dataset(folder, tmp_path / "there", feature_set_id=SET)
    assert not (tmp_path / "there").exists()


def test_any_changed_byte_of_the_manifest_is_refused(exported, tmp_path):
    folder, _ = exported
    original = (folder / MANIFEST).read_bytes()
    for place in range(len(original)):
        if original[place : place + 1].isspace():
            continue
        (folder / MANIFEST).write_bytes(original[:place] + bytes([original[place] ^ 1]) + original[place + 1 :])
        with pytest.raises((BundleError, DataContractError)):
            import_dataset(folder, tmp_path / "there", feature_set_id=SET)
    assert not (tmp_path / "there").exists()


def test_a_missing_file_is_named(exported, tmp_path):
    folder, _ = exported
    (folder / "labels.parquet").unlink()
    with pytest.raises(BundleError, match=r"labels.parquet is missing"):
        import_dataset(folder, tmp_path / "there", feature_set_id=SET)


def test_tables_of_another_feature_set_are_refused_in_one_sentence(exported, tmp_path):
    folder, _ = exported
    with pytest.raises(DataContractError, match="holds feature set fs1 of BTC-USDT, the catalogue at hand is fs2"):
        import_dataset(folder, tmp_path / "there", feature_set_id="fs2")
    assert not (tmp_path / "there").exists()


def test_tables_that_do_not_belong_together_are_not_exported(tmp_path):
    store(tmp_path, candles_of_features=9)
    with pytest.raises(DataContractError, match=r"BTC-USDT in .* were made from different versions of candles"):
        export_dataset(tmp_path, COIN, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_table_without_lineage_is_not_exported(tmp_path):
    store(tmp_path)
    write_parquet(tmp_path / "labels" / f"{COIN}.parquet", table(2))
    with pytest.raises(DataContractError, match="the table labels does not say what it was made from"):
        export_dataset(tmp_path, COIN, tmp_path / "dataset")


def test_a_coin_that_was_never_prepared_is_named(tmp_path):
    with pytest.raises(DataContractError, match=r"candles/BTC-USDT.parquet cannot be read"):
        export_dataset(tmp_path, COIN, tmp_path / "dataset")


def test_an_earlier_export_is_replaced(exported, tmp_path):
    folder, _ = exported
    assert export_dataset(tmp_path / "here", COIN, folder) == folder
    assert json.loads((folder / MANIFEST).read_text())["coin"] == COIN
