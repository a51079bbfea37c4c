"""A coin's prepared tables as one folder that shows whether a byte of it has changed: to keep, to send, to bring back.

<folder>/candles.parquet, features.parquet, labels.parquet, splits.parquet
<folder>/manifest.json      coin, feature set, lineage and the SHA-256 of each file
"""

import shutil
from os import PathLike
from pathlib import Path

import pandas as pd

from crp_pipeline.errors import DataContractError
from crp_pipeline.provenance import Lineage, conflicts, lineage_of, merged
from crp_pipeline.storage import read_parquet, seal, staged, verify, write_parquet

TABLES = ("candles", "features", "labels", "splits")


def export_dataset(data_dir: str | PathLike[str], coin: str, folder: str | PathLike[str]) -> Path:
    """Copy a coin's tables into a folder, which is replaced when it exists, and seal it.

    Raises `DataContractError` when a table is missing or they were not all made from one another.
    """
    target = Path(folder)
    tables = {name: read_parquet(_place(Path(data_dir), name, coin)) for name in TABLES}
    lineage = _lineage(tables, source=f"{coin} in {data_dir}")
    with staged(target) as staging:
        for name in TABLES:
            shutil.copy(_place(Path(data_dir), name, coin), staging / f"{name}.parquet")
        seal(staging, {"coin": coin, "feature_set_id": tables["features"].attrs["feature_set_id"], "lineage": lineage})
    return target


def import_dataset(folder: str | PathLike[str], data_dir: str | PathLike[str], *, feature_set_id: str) -> str:
    """Put an exported folder's tables in their places and return the coin; nothing is written unless all of it is sound.

    `feature_set_id` is that of the catalogue at hand. Raises `BundleError` for a changed, missing or additional file and
    `DataContractError` for a table of another feature set or tables that do not belong together.
    """
    manifest = verify(Path(folder))
    coin, found = manifest.get("coin"), manifest.get("feature_set_id")
    if not isinstance(coin, str) or found != feature_set_id:
        raise DataContractError(f"{folder} holds feature set {found} of {coin}, the catalogue at hand is {feature_set_id}")
    tables = {name: read_parquet(Path(folder) / f"{name}.parquet") for name in TABLES}
    told = {"coin": tables["candles"].attrs.get("coin"), "lineage": _lineage(tables, source=str(folder))}
    if told != {name: manifest.get(name) for name in told} or tables["features"].attrs.get("feature_set_id") != found:
        raise DataContractError(f"{folder}: the tables are not the ones that its manifest describes")
    for name, table in tables.items():
        write_parquet(_place(Path(data_dir), name, coin), table)
    return coin


def _lineage(tables: dict[str, pd.DataFrame], *, source: str) -> Lineage:
    unstamped = [name for name, table in tables.items() if "lineage" not in table.attrs]
    if unstamped:
        raise DataContractError(f"{source}: the table {unstamped[0]} does not say what it was made from")
    lineage = merged(*map(lineage_of, tables.values()))
    if conflicts(lineage):
        raise DataContractError(f"{source}: the tables were made from different versions of {', '.join(conflicts(lineage))}")
    return lineage


def _place(data_dir: Path, name: str, coin: str) -> Path:
    return data_dir / name / f"{coin}.parquet"
