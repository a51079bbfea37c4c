"""The bars of one coin as an exchange served them: one parquet file per month, in one folder.

    data/raw/exchange/<exchange>/<market>/<coin>/<interval>/2022-03.parquet

Every month from the first bar to the last has a file, an empty one where the exchange had nothing. A month is stored whole or
not at all, and a stored bar is never replaced: where the exchange later says something else, `restated.json` tells. To take
its present word instead, delete that month's file and every later one; the next download fetches them anew.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from crp_pipeline.candles.contract import require_candles
from crp_pipeline.chain import only_writer
from crp_pipeline.contracts import OHLCV, OPEN_TIME_DTYPE, Bools
from crp_pipeline.errors import DataContractError
from crp_pipeline.storage import read_parquet, write_json, write_parquet

Bar = tuple[float, ...]
"""Open, high, low, close and volume."""

RESTATED = "restated.json"
MONTH_FILE = re.compile(r"\d{4}-(0[1-9]|1[0-2])\.parquet")
LEVEL_FACTOR = 2.0
"""Stored bars whose closes are served this many times higher or lower are bars of another market."""
MIN_BARS_TO_JUDGE_LEVEL = 3


@dataclass(frozen=True)
class Restatement:
    """A bar of the stored past of which the exchange says something else now; what is stored stays."""

    open_time: pd.Timestamp
    stored: Bar | None
    """None: the bar was missing and has been added."""
    served: Bar | None
    """None: the exchange no longer has the bar."""

    def __str__(self) -> str:
        if self.stored is None:
            return f"{self.open_time}: served late, {_text(self.served)}"
        return f"{self.open_time}: stored {_text(self.stored)}, now served {_text(self.served)}"


@dataclass(frozen=True)
class Archive:
    """The stored bars of one coin from one market; `source` begins every message."""

    folder: Path
    source: str

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The archive to oneself; another process that wants it waits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self.folder / ".lock"):
            yield

    def months(self) -> list[pd.Period]:
        """Every stored month; raises `DataContractError` where one between two others is missing."""
        names = (path.name for path in self.folder.glob("*.parquet") if MONTH_FILE.fullmatch(path.name))
        months = sorted(pd.Period(name.removesuffix(".parquet"), freq="M") for name in names)
        for month, following in pairwise(months):
            if following != month + 1:
                rule = f"put its file back, or delete every later one in {self.folder} to download them anew"
                raise DataContractError(f"{self.source}: the stored month {month + 1} is missing: {rule}")
        return months

    def last_open_time(self) -> pd.Timestamp | None:
        """Open time of the last stored bar; None where there is none."""
        for month in reversed(self.months()):
            bars = self._read_month(month)
            if len(bars):
                return pd.Timestamp(bars.index[-1])
        return None

    def read(self, *, since: pd.Timestamp | None = None) -> pd.DataFrame:
        """All stored bars in time order, or those from `since` on, with their `restatements` in `attrs["restated"]`."""
        months = self.months()
        if not months:
            raise DataContractError(f"{self.source} has no stored bars in {self.folder}")
        asked = [month for month in months if since is None or month.end_time.tz_localize("UTC") >= since]
        bars = pd.concat([self._read_month(month) for month in asked or months[-1:]]).loc[since:]
        bars.attrs["restated"] = self._read_restated()
        return bars

    def add(self, month: pd.Period, served: pd.DataFrame) -> int:
        """Store the bars of one month that are not stored yet, and return how many.

        `served` are bars in time order, each time once. What they say differently of stored bars is added to
        `restated.json`. Raises `DataContractError`, and stores nothing, where they are those of another market.
        """
        stored, last = self._read_month(month), self.last_open_time()
        self._require_same_market(stored, served)
        self._note(compare(stored, served, last=last))
        new = served[~served.index.isin(stored.index)]
        if len(new):
            self._bridge_to(month)
            write_parquet(self._path(month), pd.concat([stored, new]).sort_index())
        return len(new)

    def forget_restatements_after(self, last: pd.Timestamp | None) -> None:
        """Drop the notes on months that were deleted to be fetched anew."""
        noted = self._read_restated()
        kept = [note for note in noted if last is not None and pd.Timestamp(note["open_time"]) <= last]
        if len(kept) < len(noted):
            write_json(self.folder / RESTATED, kept)

    def _bridge_to(self, month: pd.Period) -> None:
        """Give the months without a bar before this one their empty files."""
        for known in self.months()[-1:]:
            for gap in pd.period_range(known + 1, month - 1, freq="M"):
                write_parquet(self._path(gap), _no_bars())

    def _note(self, found: list[Restatement]) -> None:
        noted = self._read_restated()
        # as text: a bar with NaN does not equal itself
        known = {json.dumps(note, sort_keys=True) for note in noted}
        new = [note for note in map(_as_json, found) if json.dumps(note, sort_keys=True) not in known]
        if new:
            write_json(self.folder / RESTATED, sorted(noted + new, key=lambda note: str(note["open_time"])))

    def _read_restated(self) -> list[dict[str, Any]]:
        path = self.folder / RESTATED
        if not path.exists():
            return []
        try:
            return list(json.loads(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataContractError(f"{self.source}: {path} cannot be read: {error}") from error

    def _require_same_market(self, stored: pd.DataFrame, served: pd.DataFrame) -> None:
        both = served.index.intersection(stored.index)
        if len(both) < MIN_BARS_TO_JUDGE_LEVEL:
            return
        ratio = float((served.close[both] / stored.close[both]).median())
        if ratio > LEVEL_FACTOR or ratio < 1 / LEVEL_FACTOR:
            was, now = stored.close[both].iloc[0], served.close[both].iloc[0]
            raise DataContractError(
                f"{self.source}: {both[0]}: close is stored as {was} and now served as {now}, and {len(both)} bars differ by "
                f"a factor of {ratio:.3g}: {self.folder} holds the bars of another market"
            )

    def _read_month(self, month: pd.Period) -> pd.DataFrame:
        path = self._path(month)
        if not path.exists():
            return _no_bars()
        bars = require_candles(read_parquet(path), source=str(path))[list(OHLCV)]
        first, beyond = (edge.to_timestamp().tz_localize("UTC") for edge in (month, month + 1))
        wrong = (bars.index < first) | (bars.index >= beyond)
        wrong[1:] |= bars.index[1:] <= bars.index[:-1]
        if wrong.any():
            row = int(wrong.argmax())
            rule = f"open times must rise and lie in {month}"
            raise DataContractError(f"{path}: row {row + 1}, column open_time: {bars.index[row]}: {rule}")
        return bars

    def _path(self, month: pd.Period) -> Path:
        return self.folder / f"{month}.parquet"


def compare(stored: pd.DataFrame, served: pd.DataFrame, *, last: pd.Timestamp | None) -> list[Restatement]:
    """Where bars of one stretch of time differ: changed, gone, or served for the first time although not after `last`."""
    if served.empty or last is None:
        return []
    both = served.index.intersection(stored.index)
    changed = both[_differs(stored.loc[both], served.loc[both])]
    covered = stored.index[(stored.index >= served.index[0]) & (stored.index <= served.index[-1])]
    gone = covered.difference(served.index)
    late = served.index.difference(stored.index)
    times = changed.union(gone).union(late[late <= last])
    return [Restatement(time, _bar(stored, time), _bar(served, time)) for time in times]


def restatements(bars: pd.DataFrame) -> list[Restatement]:
    """What an exchange restated of these bars, as `read_source` gave them; none for bars of another source."""
    return [_from_json(note) for note in bars.attrs.get("restated", [])]


def _differs(one: pd.DataFrame, other: pd.DataFrame) -> Bools:
    """(n,) True where two frames of the same times hold other values; NaN equals NaN."""
    same = (one == other) | (one.isna() & other.isna())
    return ~same.all(axis=1).to_numpy(dtype=bool)


def _bar(bars: pd.DataFrame, time: pd.Timestamp) -> Bar | None:
    [row] = bars.index.get_indexer(pd.DatetimeIndex([time]))
    return None if row < 0 else tuple(bars.to_numpy()[row].tolist())


def _no_bars() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype="float64") for name in OHLCV}).set_axis(
        pd.DatetimeIndex([], dtype=OPEN_TIME_DTYPE, name="open_time")
    )


def _as_json(found: Restatement) -> dict[str, Any]:
    stored, served = (None if bar is None else list(bar) for bar in (found.stored, found.served))
    return {"open_time": found.open_time.isoformat(), "stored": stored, "served": served}


def _from_json(note: dict[str, Any]) -> Restatement:
    stored, served = (tuple(note[name]) if note[name] is not None else None for name in ("stored", "served"))
    return Restatement(pd.Timestamp(note["open_time"]), stored, served)


def _text(bar: Bar | None) -> str:
    return "nothing" if bar is None else " ".join(f"{name} {value:.12g}" for name, value in zip(OHLCV, bar, strict=True))
