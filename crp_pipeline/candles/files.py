"""Candles from files: the column spellings, time formats and row orders of the usual exports, brought to one frame.

The frame has float64 columns open, high, low, close and volume and the UTC index `open_time`. Values are taken as they
are: what they break is counted by `validate_candles`. Only a table that cannot be understood is an error. Rows in
messages are counted from 1, the first row below the header.
"""

import gzip
import re
import warnings
import zlib
from collections.abc import Hashable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.contracts import OHLCV, Bools, Floats, Ints
from crp_pipeline.errors import DataContractError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
COIN_NAME = re.compile("[A-Z0-9]+([-_][A-Z0-9]+)*")

# names as `plain_name` leaves them; an epoch column comes first: its text says exactly one moment
TIME_SPELLINGS = (
    *("unix", "unixtime", "unixtimestamp", "epoch"),
    *("opentime", "opentimems", "timestamp", "timestampms", "ts", "gmttime", "datetime", "date", "time", "t"),
    *("fundingtime", "calctime", "createtime"),  # of funding and open interest at the exchanges
)
PRICE_SPELLINGS = {
    "open": ("open", "o", "openprice"),
    "high": ("high", "h", "highprice", "max"),
    "low": ("low", "l", "lowprice", "min"),
    "close": ("close", "c", "closeprice"),
}
VOLUME_SPELLINGS = ("volume", "vol", "v", "basevolume", "volumebase", "baseassetvolume", "volumefrom")
QUOTE_VOLUME = re.compile(r"volume(usd\w*|busd|tusd|fdusd|dai|eur|gbp|jpy|krw|try|quote|to)|quote(asset)?volume")

TEXT_FORMATS = (
    "ISO8601",
    "%Y-%m-%d %I-%p",  # CryptoDataDownload: 2020-01-31 05-PM
    "%d.%m.%Y %H:%M:%S.%f",  # Dukascopy: 31.01.2020 17:00:00.000
    "%d.%m.%Y %H:%M:%S.%f GMT%z",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y.%m.%d %H:%M",  # MetaTrader: 2020.01.31 17:00
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d %H:%M:%S.%f",
)
COMPACT_DIGITS = (8, 12, 14)
"""Digits of YYYYMMDD, YYYYMMDDhhmm and YYYYMMDDhhmmss. As unix times those would lie before 1977 or after 2500."""
DAY = re.compile(r"\d{4}\D?\d\d\D?\d\d")
ZONE = re.compile(r"(?:Z|UTC|GMT|:\d\d[.\d]*\s*(?:GMT)?[+-]\d\d(?::?\d\d)?)\s*$")
CLOCK = re.compile(r"\d{1,2}:\d\d")
BARE_CLOCK = re.compile(r"\d{1,6}")
"""hhmm, or hhmmss where any row has more than four digits; leading zeros are lost where it was read as a number."""
EPOCH_BOUNDS = (1e8, 1e11, 1e14, 1e17, 1e20)
"""Where s, ms, us and ns part; neighbours differ 1000-fold, so that each unit covers 1973 to 5138."""
N_EPOCH_UNITS = len(EPOCH_BOUNDS) - 1

_FIRST, _LAST = pd.Timestamp.min.tz_localize("UTC"), pd.Timestamp.max.tz_localize("UTC")
_ENCODING = "utf-8-sig"  # with or without the byte order mark that spreadsheets put first


def read_candles(path: str | PathLike[str], *, source: str | None = None) -> pd.DataFrame:
    """Candles of a parquet, CSV or gzipped CSV file, in the file's own row order.

    A CSV header may follow one line of comment. Raises `DataContractError` naming file, row, value and rule, which begins
    with `source`, by default the path.
    """
    source = str(path) if source is None else source
    return to_candles(read_table(Path(path), source=source), source=source)


def load_candles(path: str | PathLike[str]) -> pd.DataFrame:
    """Candles of a file in time order; rows of one time are all kept, in the file's order, to be counted."""
    return read_candles(path).sort_index(kind="stable")


def any_candles(history: str | PathLike[str] | pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Candles of a file or of a table, in the order given, with `is_repaired` and `segment` where an earlier repair left them.

    Unlike `read_candles` it raises `DataContractError` for a value that is missing or infinite, naming row and column.
    """
    table = history if isinstance(history, pd.DataFrame) else read_table(Path(history), source=str(history))
    candles = to_candles(table, source=source)
    values = candles.to_numpy()
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        where = f"row {row + 1}, at {candles.index[row]}: {candles.columns[column]}"
        raise DataContractError(f"{source}: {where} = {values[row, column]} must be finite")
    return candles.assign(**{name: table[name].to_numpy() for name in ("is_repaired", "segment") if name in table})


def coin_files(folder: str | PathLike[str]) -> dict[str, Path]:
    """Candle file of each coin in a folder, as `coin_of` reads it from the file's name.

    Raises `DataContractError` when the folder is missing, a name cannot be that of a coin or two files claim one coin.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataContractError(f"{folder} is not a folder of candle files")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if _suffix(path) is None or path.name.startswith(".") or not path.is_file():
            continue
        coin = coin_of(path)
        if not COIN_NAME.fullmatch(coin):
            raise DataContractError(f"{folder}: {path.name} does not name a coin: letters and digits, parted by single - or _")
        if coin in found:
            raise DataContractError(f"{folder}: {found[coin].name} and {path.name} both claim the coin {coin}")
        found[coin] = path
    return found


def coin_of(path: str | PathLike[str]) -> str:
    """The coin that a candle file is named after, if its name is that of a coin: its stem in upper case.

    >>> coin_of("raw/btc-usdt.csv.gz")
    'BTC-USDT'
    """
    name = Path(path).name
    return name[: len(name) - len(_suffix(Path(path)) or "")].upper()


def to_candles(table: pd.DataFrame, *, source: str) -> pd.DataFrame:
    """Candles of a table with any of the usual column spellings, in the table's row order.

    Times without a zone are UTC; epochs are seconds to nanoseconds, told apart row by row by their size. An index with
    the name of a time is a time column. A quote volume is taken only where there is no other, and stays in quote units.
    Raises `DataContractError`: one sentence that begins with
    `source`.
    """
    if table.empty:
        raise DataContractError(f"{source} has no rows")
    table = with_time_column(table)
    open_time = parsed_times(time_cells(table, source), source).rename("open_time")
    columns = {name: _column(table, spellings, name, source) for name, spellings in PRICE_SPELLINGS.items()}
    columns["volume"] = _volume_column(table, source)
    values = {name: to_numbers(table[columns[name]], source) for name in OHLCV}
    return pd.DataFrame(values, index=open_time)


def _suffix(path: Path) -> str | None:
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def read_table(path: Path, *, source: str, kind: str = "candle") -> pd.DataFrame:
    """Table of a parquet, CSV or gzipped CSV file as it stands there; `DataContractError` where it cannot be read."""
    suffix = _suffix(path)
    if suffix is None:
        raise DataContractError(f"{source} is not a {kind} file: the name must end in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataContractError(f"{source} does not exist")
    if path.stat().st_size == 0:
        raise DataContractError(f"{source} is empty")
    try:
        return pd.read_parquet(path) if suffix == ".parquet" else _read_csv(path)
    except (OSError, EOFError, ValueError, NotImplementedError, zlib.error, pd.errors.ParserWarning) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataContractError(f"{source} cannot be read as {suffix[1:]}: {reason}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    with gzip.open(path, "rt", encoding=_ENCODING) if _suffix(path) == ".csv.gz" else path.open(encoding=_ENCODING) as file:
        head = [file.readline() for _ in range(2)]
    above = next((row for row, line in enumerate(head) if _looks_like_header(line)), 0)
    with warnings.catch_warnings():
        # rows with more cells than the header would otherwise be cut, or shifted by one column
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            skiprows=above,
            sep=_separator(head[above]),
            index_col=False,
            encoding=_ENCODING,
            low_memory=False,
        )


def _separator(line: str) -> str:
    return max(",;\t", key=line.count)


def _looks_like_header(line: str) -> bool:
    names = {plain_name(cell) for cell in line.split(_separator(line))}
    return not names.isdisjoint(TIME_SPELLINGS) and not names.isdisjoint(PRICE_SPELLINGS["close"])


def plain_name(name: Hashable) -> str:
    """Name without case and punctuation: `Open time (UTC)` and `open_time` are one."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower()).removesuffix("utc")


def _find(table: pd.DataFrame, spellings: Sequence[str]) -> Hashable | None:
    names = {plain_name(column): column for column in reversed(table.columns.tolist())}
    return next((names[spelling] for spelling in spellings if spelling in names), None)


def _column(table: pd.DataFrame, spellings: Sequence[str], what: str, source: str) -> Hashable:
    column = _find(table, spellings)
    if column is None:
        found = ", ".join(str(name) for name in table.columns)
        raise DataContractError(f"{source} has no {what} column, found: {found}")
    return column


def _volume_column(table: pd.DataFrame, source: str) -> Hashable:
    plain = [plain_name(column) for column in table.columns]
    base = [name for name in plain if name.startswith("volume") and not QUOTE_VOLUME.fullmatch(name)]
    quote = [name for name in plain if QUOTE_VOLUME.fullmatch(name)]
    return _column(table, (*VOLUME_SPELLINGS, *base, *quote), "volume", source)


def to_numbers(cells: pd.Series, source: str) -> Floats:
    """(n,) the numbers of a column, as such or as text, NaN where a cell is missing."""
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    wrong = np.isnan(numbers) & cells.notna().to_numpy()
    if wrong.any():
        raise DataContractError(f"{_cell(cells, int(wrong.argmax()), source)} is not a number")
    return numbers


def _cell(cells: pd.Series, position: int, source: str) -> str:
    return f"{source}: row {position + 1}, column {cells.name}: {str(cells.iloc[position])!r}"


def with_time_column(table: pd.DataFrame) -> pd.DataFrame:
    """Table whose index, where it has the name of a time but holds no times, has become a column."""
    index = table.index
    if isinstance(index, pd.DatetimeIndex) or plain_name(index.name) not in TIME_SPELLINGS or index.name in table:
        return table
    return table.reset_index()


def time_cells(table: pd.DataFrame, source: str) -> pd.Series:
    """(n,) what tells each row's time: an index of times, else the column of the first known spelling, with its clock."""
    if isinstance(table.index, pd.DatetimeIndex):
        return table.index.to_series(name=table.index.name or "index")
    column = _column(table, TIME_SPELLINGS, "time", source)
    clock = _find(table, ("time",))
    if plain_name(column) != "date" or clock is None:
        return table[column]
    day, hour = table[column].astype("str"), table[clock].astype("str")
    if CLOCK.match(hour.iloc[0]):
        return (day + " " + hour).rename(f"{column} {clock}")
    if DAY.fullmatch(day.iloc[0]) and hour.str.fullmatch(BARE_CLOCK).all():
        digits = hour.str.zfill(6 if hour.str.len().max() > 4 else 4)
        return (day.str.replace(r"\D", "", regex=True) + digits).rename(f"{column} {clock}")
    return table[column]


def parsed_times(cells: pd.Series, source: str) -> pd.DatetimeIndex:
    """(n,) UTC times of cells; `DataContractError` names the first that is none."""
    if pd.api.types.is_datetime64_any_dtype(cells):
        return _from_datetimes(cells, source)
    numbers = pd.to_numeric(cells, errors="coerce")
    if pd.api.types.is_numeric_dtype(cells) or pd.notna(numbers.iloc[0]):
        values = np.nan_to_num(numbers.to_numpy(dtype="float64", na_value=np.nan))
        stamps = _compact_stamps(values)
        return _from_stamps(cells, stamps, source) if stamps[0] else _from_epochs(cells, values, source)
    return _from_datetimes(_from_text(cells, source), source)


def _from_datetimes(cells: pd.Series, source: str) -> pd.DatetimeIndex:
    times = pd.DatetimeIndex(cells)
    refuse_first(np.asarray(times.isna()), cells, source, "is not a time")
    times = times.tz_localize("UTC") if times.tz is None else times.tz_convert("UTC")
    refuse_first(np.asarray((times < _FIRST) | (times > _LAST)), cells, source, "is not a time from 1678 to 2261")
    return times.as_unit("ns")


def _compact_stamps(values: Floats) -> Floats:
    """(n,) YYYYMMDDhhmmss of the dates written without punctuation, 0 for other numbers."""
    stamps = np.zeros(len(values))
    for digits in COMPACT_DIGITS:
        is_compact = np.isin(values // 10.0 ** (digits - 2), (19, 20))
        stamps[is_compact] = values[is_compact] * 10.0 ** (COMPACT_DIGITS[-1] - digits)
    return stamps


def _from_stamps(cells: pd.Series, stamps: Floats, source: str) -> pd.DatetimeIndex:
    text = pd.Series(stamps.astype("int64").astype("str"), index=cells.index)
    times = _to_datetime(text, "%Y%m%d%H%M%S")
    refuse_first(times.isna().to_numpy(), cells, source, "is not a date of the form YYYYMMDD, YYYYMMDDhhmm or YYYYMMDDhhmmss")
    return pd.DatetimeIndex(times).as_unit("ns")


def _from_epochs(cells: pd.Series, epochs: Floats, source: str) -> pd.DatetimeIndex:
    """Each row by its own unit: exchanges' dumps change theirs from one month to the next, though never back again."""
    thousands: Ints = np.digitize(epochs, EPOCH_BOUNDS) - 1
    refuse_first((thousands < 0) | (thousands == N_EPOCH_UNITS), cells, source, "is not a unix time after 1973")
    refuse_first(_returns(thousands), cells, source, "is in an earlier row's unit again, after rows in another")
    milliseconds = np.rint(epochs * 10.0 ** (3 * (1 - thousands)))
    refuse_first(milliseconds > _LAST.timestamp() * 1_000, cells, source, "is not a unix time before 2262")
    return pd.DatetimeIndex(milliseconds.astype("int64").astype("datetime64[ms]"), tz="UTC").as_unit("ns")


def _returns(units: Ints) -> Bools:
    """(n,) True where a row has another unit than the one before it, and one that an earlier row had."""
    is_change = np.diff(units, prepend=units[:1]) != 0
    _, first_row, unit = np.unique(units, return_index=True, return_inverse=True)
    return np.asarray(is_change & (first_row[unit] < np.arange(len(units))))


def _refuse_mixed_zones(cells: pd.Series, source: str) -> None:
    """Offsets may differ, since each says its moment; times with and without a zone may not meet."""
    has_zone = cells.astype("str").str.contains(ZONE).to_numpy(dtype=bool)
    rule = "has no time zone, the first row has one" if has_zone[0] else "has a time zone, the first row has none"
    refuse_first(has_zone != has_zone[0], cells, source, rule)


def _from_text(cells: pd.Series, source: str) -> pd.Series:
    text = cells.astype("str").str.strip().str.replace(r"\s*(UTC|GMT)$", "", regex=True)
    first = text.iloc[[0]]
    known = (known for known in TEXT_FORMATS if _to_datetime(first, known).notna().all())
    times = _to_datetime(text, next(known, TEXT_FORMATS[0]))
    refuse_first(times.isna().to_numpy(), cells, source, "is not a time in any known format")
    _refuse_mixed_zones(cells, source)
    return times


def _to_datetime(text: pd.Series, known: str) -> pd.Series:
    return pd.to_datetime(text, format=known, utc=True, errors="coerce")


def refuse_first(wrong: Bools, cells: pd.Series, source: str, rule: str) -> None:
    """Raise `DataContractError` with row, column and value of the first wrong cell, and the rule that it breaks."""
    if wrong.any():
        raise DataContractError(f"{_cell(cells, int(wrong.argmax()), source)} {rule}")
