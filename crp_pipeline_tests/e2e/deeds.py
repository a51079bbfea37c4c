"""What a night writes, deed by deed, small enough to be killed at each of its moments."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.backtest.files import load_result, save_result
from crp_pipeline.backtest.result import BacktestResult
from crp_pipeline.candles.archive import Archive
from crp_pipeline.contracts import CHAMPION, OHLCV, PROBABILITIES
from crp_pipeline.controls.report import keep_report, read_report
from crp_pipeline.dataset import export_dataset
from crp_pipeline.errors import LedgerError
from crp_pipeline.gate import Outcome
from crp_pipeline.ledger import Ledger, Trial
from crp_pipeline.models import MODEL_CLASSES, create_model, load_bundle, samples_of, save_bundle
from crp_pipeline.models.record import Record
from crp_pipeline.places import Places
from crp_pipeline.provenance import stamp
from crp_pipeline.registry import Registry, gather
from crp_pipeline.reporting.document import Headline, Page, Section, Table, write_page
from crp_pipeline.shadow import ShadowLog, fresh_frame
from crp_pipeline.storage import read_parquet, verify, write_json, write_parquet
from crp_pipeline_tests import tuning
from crp_pipeline_tests.e2e.corridor import green_report
from crp_pipeline_tests.e2e.kill_points import Deed
from crp_pipeline_tests.recording import learnable_history
from crp_pipeline_tests.shadows import verdict
from crp_pipeline_tests.slope import Slope

COIN = "BTC-USDT"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
DAY = timedelta(days=1)
FEATURES, LABELS = learnable_history(300)
ROWS = np.arange(290)


def hours(n: int, *, start: str = "2024-01-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq="h", tz="UTC", name="open_time", unit="ns")


# a table, a folder of tables, a sealed folder


def write_frame(root: Path, *, value: float = 2.0) -> None:
    write_parquet(root / "labels" / f"{COIN}.parquet", pd.DataFrame({"x": value}, index=hours(500)))


def first_frame(root: Path) -> None:
    write_frame(root, value=1.0)


def check_frame(root: Path) -> None:
    assert len(read_parquet(root / "labels" / f"{COIN}.parquet")) == 500


def write_backtest(root: Path, *, value: float = 2.0) -> None:
    table = pd.DataFrame({"x": [value]})
    curve = pd.Series(value, index=hours(5))
    result = BacktestResult(table, curve.rename("equity"), curve.rename("worst_equity"), {"trades": value}, table, table)
    save_result(result, root / "backtest" / COIN)


def first_backtest(root: Path) -> None:
    write_backtest(root, value=1.0)


def check_backtest(root: Path) -> None:
    found = load_result(root / "backtest" / COIN)
    assert {found.metrics["trades"], found.trades.x[0], found.equity.iloc[0]} in ({1.0}, {2.0})


def bundle_of(root: Path, *, n_rows: int = 290) -> Path:
    samples, model = samples_of(FEATURES), create_model("logistic")
    model.fit(samples.take(ROWS[:n_rows]), LABELS["signal"].to_numpy()[:n_rows])
    card = {"feature_set_id": "fs1", "made_from": str(n_rows)}
    return save_bundle(model, Places(root).bundle(COIN, "logistic"), card=card, golden=samples.take(ROWS[-8:]))


def first_bundle(root: Path) -> None:
    bundle_of(root, n_rows=200)


def check_bundle(root: Path) -> None:
    load_bundle(Places(root).bundle(COIN, "logistic"))


def fill(folder: Path) -> None:
    write_parquet(folder / "forecasts.parquet", pd.DataFrame({"p": 0.5}, index=hours(50)))
    (folder / "model").mkdir()
    (folder / "model" / "trees.txt").write_text("trees" * 1_000)


def entry_in(root: Path, seed: int = 0):
    return Record(folder=root / "record", feature_set_id="fs1", label_settings={}).entry({"seed": seed})


def write_entry(root: Path) -> None:
    entry_in(root).write(fill)


def first_entries(root: Path) -> None:
    """Another entry, and the very one, damaged."""
    entry_in(root, 1).write(fill)
    entry_in(root).write(fill)
    (entry_in(root).folder / "forecasts.parquet").write_bytes(b"")


def check_entries(root: Path) -> None:
    verify(entry_in(root, 1).folder)


def tables(root: Path) -> None:
    candles = stamp(pd.DataFrame({"x": 1.0}, index=hours(50)), "candles", coin=COIN)
    write_parquet(root / "candles" / f"{COIN}.parquet", candles)
    for name in ("features", "labels", "splits"):
        table = pd.DataFrame({"x": 2.0}, index=hours(50))
        write_parquet(
            root / name / f"{COIN}.parquet",
            stamp(table, name, behind=[candles], **({"feature_set_id": "0a"} if name == "features" else {})),
        )


def exported_tables(root: Path) -> None:
    tables(root)
    export(root)
    tables(root)


def export(root: Path) -> None:
    export_dataset(root, COIN, root / "exported")


def check_export(root: Path) -> None:
    verify(root / "exported")


# chains


def tell(root: Path, name: str, *, now: datetime = NOW) -> None:
    days = pd.date_range("2024-01-01", periods=20, tz="UTC", name="day")
    earned = pd.DataFrame({name: np.random.default_rng(0).normal(0, 0.01, 20)}, index=days)
    Ledger(root / "ledger").append(COIN, "night", [Trial(name, {"candidate": name}, name)], earned, now=now)


def first_trials(root: Path) -> None:
    tell(root, "prior")
    tell(root, "logistic")


def next_trial(root: Path) -> None:
    tell(root, "lightgbm", now=NOW + DAY)


def check_ledger(root: Path) -> None:
    book = Ledger(root / "ledger")
    book.verify(COIN)
    assert 2 <= book.count(COIN) <= 3


def damaged_ledger(root: Path) -> None:
    first_trials(root)
    lines = root / "ledger" / COIN / "trials.jsonl"
    lines.write_bytes(lines.read_bytes().replace(b"prior", b"priox"))


def begin_anew(root: Path) -> None:
    """By hand, again where it was cut off, and then the next night."""
    book = Ledger(root / "ledger")
    try:
        is_begun = book.events(COIN)[:1] != [] and book.events(COIN)[0].anew is not None
    except LedgerError:
        is_begun = False
    if not is_begun:
        book.start_anew(COIN, reason="a line was altered", heads=(), n_trials=2, now=NOW)
    next_trial(root)


def check_anew(root: Path) -> None:
    """Every file of returns is somewhere."""
    assert len(list((root / "ledger").rglob("returns/[0-9a-f]*.parquet"))) >= 2


def decided(n_hours: int) -> pd.DataFrame:
    seats = {"role": CHAMPION, "recipe": "a", "version": "v", "reign": 2, "signal": 1, "confidence": None}
    return fresh_frame(
        {"open_time": time, **seats, **dict.fromkeys(PROBABILITIES)} for time in hours(n_hours, start="2024-06-01")
    )


def first_night(root: Path) -> None:
    ShadowLog(root / "shadow" / COIN).append(2, decided(24), now=NOW)


def next_night(root: Path) -> None:
    ShadowLog(root / "shadow" / COIN).append(2, decided(48), now=NOW + DAY)


def check_log(root: Path) -> None:
    assert len(ShadowLog(root / "shadow" / COIN).decisions(2)) in (24, 48)


# the registry


def candidate(root: Path, name: str) -> Path:
    write_json(root / "stack" / "stack.json", {"name": name})
    return gather({"logistic": Places(root).bundle(COIN, "logistic")}, root / "stack" / "stack.json", root / "candidate")


def registered(root: Path, name: str, outcome: Outcome = Outcome.PROMOTE) -> str:
    card = {"coin": COIN, "verdict": verdict(outcome).to_dict(), "recipe": name}
    return Registry(root / "registry").register(candidate(root, name), card, now=NOW)


def crowned(root: Path, name: str) -> None:
    version = registered(root, name)
    book = Registry(root / "registry")
    if version != book.champion(COIN):
        book.promote(COIN, version, verdict(Outcome.PROMOTE), now=NOW)


def first_champion(root: Path) -> None:
    bundle_of(root)
    crowned(root, "first")


def next_champion(root: Path) -> None:
    crowned(root, "second")


def rejected(root: Path) -> None:
    registered(root, "third", Outcome.REJECT)


def two_champions(root: Path) -> None:
    first_champion(root)
    next_champion(root)


def back(root: Path) -> None:
    """By hand, unless it is done, and then the next night, which finishes what was cut off."""
    book = Registry(root / "registry")
    if "rollback" not in {entry.action for entry in book.history(COIN)}:
        book.rollback(COIN, now=NOW + DAY)
    rejected(root)


def check_registry(root: Path) -> None:
    """A version that was cut off on its way in is staged; the next write puts it in its place."""
    book = Registry(root / "registry")
    champion, history = book.champion(COIN), book.history(COIN)
    assert champion is not None
    registered_before = {entry.version for entry in history if entry.action == "promote"} | {champion}
    for version in registered_before:
        book.verify(COIN, version)


# a study, an exchange's months, the pages


def with_slope() -> Places:
    MODEL_CLASSES["slope"] = Slope


def first_study(root: Path) -> None:
    with_slope()
    settings = tuning.settings_of(root)
    tuning.tuned(tuning.store(root, tuning.tables_of(settings)), settings, n_trials=2)


def next_trials(root: Path) -> None:
    with_slope()
    tuning.tuned(Places(root), tuning.settings_of(root), n_trials=4)


def check_study(root: Path) -> None:
    Ledger(root / "ledger").verify(COIN)
    stored = json.loads((root / "tuning" / COIN / "slope.json").read_text())
    assert stored["trials"]["complete"] + stored["trials"]["pruned"] in (2, 4)


def months(n_days: int) -> pd.DataFrame:
    index = pd.date_range("2024-01-20", periods=n_days, freq="1D", tz="UTC", name="open_time", unit="ns")
    return pd.DataFrame(dict.fromkeys(OHLCV, 100.0) | {"volume": np.arange(1.0, n_days + 1)}, index=index)


def download(root: Path, n_days: int = 90) -> None:
    archive, bars = Archive(root / "raw" / "1d", COIN), months(n_days)
    with archive.locked():
        for month, part in bars.groupby(bars.index.tz_localize(None).to_period("M")):
            archive.add(month, part)


def first_download(root: Path) -> None:
    download(root, 20)


def check_archive(root: Path) -> None:
    found = Archive(root / "raw" / "1d", COIN).read()
    pd.testing.assert_frame_equal(found, months(90).iloc[: len(found)], check_freq=False)
    assert len(found) >= 20


def control(root: Path, seconds: float = 2.0) -> None:
    report = green_report()
    keep_report(type(report)("0a", NOW.isoformat(), seconds, report.outcomes), root, tell=str)


def first_control(root: Path) -> None:
    control(root, 0.0)


def next_control(root: Path) -> None:
    """A run that takes no time, so that it may be added twice."""
    control(root, 0.0)


def check_control(root: Path) -> None:
    assert read_report(root, "0a") is not None


def page(root: Path, names: tuple[str, ...] = ("trades", "findings")) -> None:
    shown = [Table(name, name, pd.DataFrame({"x": [1.0]})) for name in names]
    head = Headline(COIN, "REJECT", "REJECT", ("nothing",), (), "a night")
    places = Places(root)
    write_page(Page(head, [Section("all", "All", shown)]), places.report(COIN), places.report_tables(COIN))


def first_page(root: Path) -> None:
    page(root, ("trades", "lags"))


def check_page(root: Path) -> None:
    assert Places(root).report(COIN).read_text().rstrip().endswith("</html>")
    json.loads((Places(root).report_tables(COIN) / "tables.json").read_text())


DEEDS = {
    deed.name: deed
    for deed in (
        Deed("a table is stored", first_frame, write_frame, check_frame),
        Deed("a backtest is stored", first_backtest, write_backtest, check_backtest),
        Deed("a bundle is saved", first_bundle, bundle_of, check_bundle),
        Deed("a fold's model goes into the record", first_entries, write_entry, check_entries),
        Deed("a data set is exported", exported_tables, export, check_export),
        Deed("a trial goes into the ledger", first_trials, next_trial, check_ledger),
        Deed("a damaged ledger is begun anew", damaged_ledger, begin_anew, check_anew),
        Deed("a night goes into the shadow log", first_night, next_night, check_log),
        Deed("a candidate is gathered, registered and promoted", first_champion, next_champion, check_registry),
        Deed("a candidate is registered and rejected", two_champions, rejected, check_registry),
        Deed("a champion is rolled back", two_champions, back, check_registry),
        Deed("a study goes on", first_study, next_trials, check_study),
        Deed("months of an exchange are stored", first_download, download, check_archive),
        Deed("a control run is added", first_control, next_control, check_control),
        Deed("a report is written", first_page, page, check_page),
    )
}
