"""Feeds from files: any columns of numbers beside a time, of all coins or of one."""

from collections.abc import Hashable, Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.candles.files import (
    TIME_SPELLINGS,
    parsed_times,
    plain_name,
    read_table,
    refuse_first,
    time_cells,
    to_numbers,
    with_time_column,
)
from crp_pipeline.contracts import Bools, Floats
from crp_pipeline.errors import DataContractError

COIN_SPELLINGS = ("coin", "symbol", "pair", "ticker")


def read_feed(
    path: str | PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    coin: str | None = None,
    source: str | None = None,
) -> pd.DataFrame:
    """Feed of a parquet, CSV or gzipped CSV file: float64 columns on the UTC index `timestamp`, in time order.

    Times and units are understood as in candle files. `columns` are those to take, by default all but times and coin; a
    file of several coins needs `coin`. Missing values stay, as do rows of one stamp, in the file's order. Raises
    `DataContractError`: one sentence that begins with `source`, by default the path.
    """
    source = str(path) if source is None else source
    table = read_table(Path(path), source=source, kind="feed")
    if table.empty:
        raise DataContractError(f"{source} has no rows")
    table = with_time_column(table)
    stamps = parsed_times(time_cells(table, source), source).rename("timestamp")
    is_wanted = _rows_of_coin(table, coin, source)
    values = {name: finite_numbers(table[name], source) for name in _value_columns(table, columns, source)}
    return pd.DataFrame(values, index=stamps)[is_wanted].sort_index(kind="stable")


def finite_numbers(cells: pd.Series, source: str) -> Floats:
    """(rows,) numbers, as such or as text, NaN where one is missing; times and infinite values are refused."""
    is_time = pd.api.types.is_datetime64_any_dtype(cells) or pd.api.types.is_timedelta64_dtype(cells)
    refuse_first(np.full(len(cells), is_time), cells, source, "is not a number")
    numbers = to_numbers(cells, source)
    refuse_first(np.isinf(numbers), cells, source, "is not finite")
    return numbers


def _rows_of_coin(table: pd.DataFrame, coin: str | None, source: str) -> Bools:
    column = next((name for name in table if plain_name(name) in COIN_SPELLINGS), None)
    if column is None:
        if coin is not None:
            raise DataContractError(f"{source} has no coin column to find {coin} in, found: {_listed(table)}")
        return np.ones(len(table), dtype=bool)
    refuse_first(table[column].isna().to_numpy(), table[column], source, "is not a coin")
    coins = table[column].astype("str").str.upper()
    found = coins.unique()
    if coin is None and len(found) > 1:
        raise DataContractError(f"{source} holds {len(found)} coins, say which: {_listed(found)}")
    is_wanted = (coins == (found[0] if coin is None else coin.upper())).to_numpy(dtype=bool)
    if not is_wanted.any():
        raise DataContractError(f"{source} has no rows of {coin}, found: {_listed(found)}")
    return is_wanted


def _value_columns(table: pd.DataFrame, columns: Sequence[str] | None, source: str) -> Sequence[Hashable]:
    others = [name for name in table if plain_name(name) not in (*TIME_SPELLINGS, *COIN_SPELLINGS)]
    wanted = others if columns is None else columns
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataContractError(f"{source} has no column {missing[0]}, found: {_listed(table)}")
    if not wanted:
        raise DataContractError(f"{source} has no column of values, found: {_listed(table)}")
    return wanted


def _listed(names: Iterable[Hashable]) -> str:
    return ", ".join(map(str, names))
