"""One coin through the corridor by calling the domain, without Dagster: the other side of the ratio in `corridor`.

What an asset computes is computed here, from the raw candles to the registered version and the report page. What only Dagster
needs is not: no tables between the stages are stored, no metadata and no pictures of it are made.
"""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from crp_pipeline.backtest import BacktestResult, CostData, exit_table, run_backtest
from crp_pipeline.backtest.files import save_result
from crp_pipeline.candles import (
    align_feeds,
    market_closes,
    read_feeds,
    read_source,
    repair_candles,
    source_name,
    validate_candles,
)
from crp_pipeline.contracts import DecisionSchema, LabelSchema, check_frame
from crp_pipeline.ensemble import fit_stack
from crp_pipeline.features import (
    CATALOG,
    alignment_cuts,
    compute_features,
    feature_set_id,
    prove_feed_alignment,
    prove_nightly,
    ready_rows,
)
from crp_pipeline.gate import Outcome, Verdict, criteria, judge
from crp_pipeline.gate.challenge import Contender, challenge_evidence
from crp_pipeline.gate.comparison import compare, daily_net_returns, plain_decisions, rules, with_exits
from crp_pipeline.gate.evidence import Candidate, measure
from crp_pipeline.gate.feasibility import feasibility, feasibility_table
from crp_pipeline.gate.sentinels import Watched, keep_watch, sentinel_evidence, sentinel_table
from crp_pipeline.gate.trials import trial_evidence
from crp_pipeline.labels import make_labels
from crp_pipeline.ledger import Ledger, Trial
from crp_pipeline.metrics import daily_returns
from crp_pipeline.models import (
    MODEL_CLASSES,
    measure_latency,
    recipe_of,
    samples_of,
    save_bundle,
    select_features,
    train,
)
from crp_pipeline.places import Places
from crp_pipeline.provenance import code_revision, feeds_recipe, library_versions, lineage_of, recipe_hash, stamp
from crp_pipeline.registry import Registry, fingerprint, gather
from crp_pipeline.reporting.report import write_coin_report
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.splits import fold_table, folds_of, overlaps
from crp_pipeline.storage import MANIFEST, read_parquet, sha256, write_json, write_parquet
from crp_pipeline_tests.benchmarks.cases import settings_of
from crp_pipeline_tests.benchmarks.timing import Laps

BASELINE, BASELINES, GOLDEN_ROWS = "prior", ("prior", "persistence", "logistic"), 32


def corridor(coin: str, data_dir: str, quick: bool) -> dict[str, object]:
    """Seconds of each stage and the verdict."""
    lap, settings, folder = Laps(), settings_of(Path(data_dir), quick=quick), Path(data_dir)
    now = datetime.now(UTC)
    candles = _candles(settings, coin, now)
    lap("candles")
    market = _market(folder, coin, candles)
    lap("market")
    feeds = _feeds(candles, coin, settings)
    lap("feeds")
    features = _features(candles, market, feeds, settings)
    lap("features")
    labels = check_frame(make_labels(candles, settings.labels, feeds=feeds), LabelSchema, what=coin)
    stamp(labels, "labels", behind=[candles, feeds], files={"settings": recipe_hash(settings, coin)})
    lap("labels")
    roles = _roles(candles, labels, settings)
    lap("splits")
    ceilings = _ceilings(candles, labels, settings)
    lap("feasibility")
    selection = _selection(features, labels, roles, settings)
    lap("models/selection")
    forecasts, tables = {}, (features, labels, roles, selection)
    for name in (*BASELINES, *settings.roster):
        forecasts[name] = _forecast(name, *tables, settings, folder / "models" / f"{name}.bundle")
        lap(f"models/{name}")
    known = {name: forecasts.pop(name) for name in BASELINES}
    prior = known[BASELINE]
    stack = fit_stack(forecasts, labels, folds_of(roles), seed=settings.seed, config=settings.ensemble)
    decisions = check_frame(stack.decide(forecasts), DecisionSchema, what=coin)
    stack.save(folder / "stack.json")
    stamp(decisions, "ensemble", behind=[labels, roles, *forecasts.values()], files=_stack_file(folder))
    lap("ensemble")
    exits = exit_table(labels["volatility"], settings.horizon, settings.exits)
    result = run_backtest(candles, with_exits(decisions, exits), execution=settings.execution, sizing=settings.sizing)
    stamp(result.trades, "backtest", behind=[candles, labels, decisions], files={"settings": recipe_hash(settings, coin)})
    lap("backtest")
    candidates = _candidates(candles, known, forecasts, decisions, settings)
    compared = _comparison(candidates, candles, labels, exits, settings, folder)
    stamp(compared, "comparison", behind=[candles, labels, *known.values(), *forecasts.values(), decisions])
    lap("comparison")
    watched = Watched(candles, features, labels, roles, selection, decisions, costs=CostData())
    sentinels = sentinel_table(keep_watch(watched, settings), settings.sentinels)
    lap("sentinels")
    models = {key: it for name in settings.roster for key, it in _model_file(folder, name).items()}
    files = {**_stack_file(folder), **models, **feeds_recipe(settings)}
    measured = {"costs": CostData(), "latency_p90_ms": 5.0, "files": files}
    candidate = Candidate(candles, *tables, prior, decisions, stack, result, compared, **measured)
    verdict = _verdict(candidate, sentinels, settings, coin, folder)
    lap("gate")
    _register(verdict, coin, settings, folder, now)
    lap("registry")
    _store(
        Places(folder / "stored"),
        coin,
        {
            "candles": candles,
            "features": features,
            "labels": labels,
            "splits": roles,
            "ensemble": decisions,
            "comparison": compared,
            "sentinels": sentinels,
            "feasibility": ceilings,
            "models/selection": selection,
            **{f"models/{name}": forecast for name, forecast in {**known, **forecasts}.items()},
        },
        result,
        verdict,
    )
    write_coin_report(Places(folder / "stored"), coin)
    lap("report")
    return {"stages": lap.wall_s, "processor": lap.processor_s, "verdict": f"{verdict.outcome}: {verdict.reason}"}


def _store(places: Places, coin: str, frames: dict[str, pd.DataFrame], result: BacktestResult, verdict: Verdict) -> None:
    """The tables that a report is written from."""
    for key, frame in frames.items():
        write_parquet(places.frame(*key.split("/"), coin=coin), frame)
    save_result(result, places.value("backtest", coin=coin))
    write_json(places.verdict(coin), verdict.to_dict())


def _candles(settings: PipelineSettings, coin: str, now: datetime) -> pd.DataFrame:
    raw, moment, source = read_source(settings, coin), pd.Timestamp(now), source_name(settings, coin)
    bars, _ = repair_candles(raw, settings.interval, max_gap=settings.max_gap, now=moment, source=source)
    validate_candles(bars, settings.interval, now=moment)
    return stamp(bars, "candles", coin=coin, interval=settings.interval)


def _market(folder: Path, coin: str, candles: pd.DataFrame) -> pd.DataFrame:
    others = {path.stem: read_parquet(path) for path in (folder / "candles").glob("*.parquet") if path.stem != coin}
    return stamp(market_closes({coin: candles, **others}), "market")


def _feeds(candles: pd.DataFrame, coin: str, settings: PipelineSettings) -> pd.DataFrame:
    found, interval, seed = read_feeds(settings.feeds, coin), settings.interval, settings.seed
    made, _ = align_feeds(candles, found, interval=interval)
    cuts = alignment_cuts(candles, found, interval=interval, seed=seed)
    prove_feed_alignment(made, candles, found, interval=interval, cuts=cuts, seed=seed)
    return stamp(made, "feeds", behind=[candles], files=feeds_recipe(settings))


def _features(candles: pd.DataFrame, market: pd.DataFrame, feeds: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    others = market.drop(columns=candles.attrs["coin"])
    made = compute_features(candles, CATALOG, market=others, feeds=feeds)
    leaks = prove_nightly(CATALOG, candles, market=others, feeds=feeds, seed=settings.seed)
    leaking = len({leak.feature for leak in leaks})
    behind = [candles, market, feeds]
    return stamp(made, "features", behind=behind, feature_set_id=feature_set_id(CATALOG), leaking_features=leaking)


def _roles(candles: pd.DataFrame, labels: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    roles = fold_table(labels, ready_rows(candles) & ~candles["is_repaired"].to_numpy(), settings.walk_forward)
    stamp(roles, "splits", behind=[candles, labels])
    overlaps(folds_of(roles), labels.index, labels["label_end"])
    return roles


def _selection(features: pd.DataFrame, labels: pd.DataFrame, roles: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    told = {"config": settings.selection, "seed": settings.seed, "n_threads": settings.threads}
    found = select_features(features, labels, roles, **told, validation_share=settings.walk_forward.validation_share)
    return stamp(found, "models/selection", behind=[features, labels, roles])


def _forecast(
    name: str,
    features: pd.DataFrame,
    labels: pd.DataFrame,
    roles: pd.DataFrame,
    selection: pd.DataFrame,
    settings: PipelineSettings,
    bundle: Path,
) -> pd.DataFrame:
    spec = recipe_of(name, asked={}, params={}, n_threads=settings.threads)
    seen = {} if name == BASELINE or MODEL_CLASSES[name].reads_every_feature else {"selection": selection}
    share = settings.walk_forward.validation_share
    trained = train(spec, features, labels, roles, seed=settings.seed, validation_share=share, **seen)
    columns = list(trained.features)
    rows = np.flatnonzero(trained.predictions["p_long"].notna())[-GOLDEN_ROWS:]
    golden = samples_of(features[columns]).take(rows)
    speed = [latency.row() for latency in measure_latency(trained.model, golden, n_calls=100)]
    save_bundle(trained.model, bundle, card={**features.attrs, "features": columns, "latency": speed}, golden=golden)
    files = _model_file(bundle.parent.parent, name)
    return stamp(trained.predictions, f"models/{name}", behind=[features, labels, roles, *seen.values()], files=files)


def _ceilings(candles: pd.DataFrame, labels: pd.DataFrame, settings: PipelineSettings) -> pd.DataFrame:
    told = {"costs": settings.execution, "exits": settings.exits, "volatility": labels["volatility"]}
    feasibility(candles, horizon=settings.horizon, **told)
    return feasibility_table(candles, horizons=sorted({1, settings.horizon // 4, settings.horizon}), **told)


def _candidates(
    candles: pd.DataFrame,
    known: dict[str, pd.DataFrame],
    forecasts: dict[str, pd.DataFrame],
    decisions: pd.DataFrame,
    settings: PipelineSettings,
) -> dict[str, pd.DataFrame]:
    return {
        **{name: plain_decisions(forecast) for name, forecast in known.items()},
        **rules(candles, horizon=settings.horizon),
        **{name: plain_decisions(forecast) for name, forecast in forecasts.items()},
        "ensemble": decisions,
    }


def _comparison(
    candidates: dict[str, pd.DataFrame],
    candles: pd.DataFrame,
    labels: pd.DataFrame,
    exits: pd.DataFrame,
    settings: PipelineSettings,
    folder: Path,
) -> pd.DataFrame:
    costs = {"execution": settings.execution, "sizing": settings.sizing}
    compared = compare(candidates, candles, labels, exits, **costs, config=settings.gate, seed=settings.seed)
    earned = daily_net_returns(candidates, candles, exits, **costs)
    trials = [Trial(name, {"candidate": name}) for name in earned]
    Ledger(folder / "ledger").append(candles.attrs["coin"], "benchmark", trials, earned, now=datetime.now(UTC))
    return compared


def _verdict(candidate: Candidate, sentinels: pd.DataFrame, settings: PipelineSettings, coin: str, folder: Path):
    subject = {
        "coin": coin,
        "data_hash": lineage_of(candidate.candles)["candles"][0],
        "feature_set_id": candidate.features.attrs["feature_set_id"],
        "candidate": fingerprint(_bundles(folder, settings), folder / "stack.json"),
        "code": code_revision(),
    }
    daily = daily_returns(candidate.result.equity, initial=settings.sizing.initial_equity)
    tried, _ = trial_evidence(Ledger(folder / "ledger"), coin, daily, earlier_heads=(), level=settings.gate.level)
    nobody = challenge_evidence(Contender("", None), None, pd.DataFrame(), candidate.candles, candidate.labels, settings)
    beside = {**sentinel_evidence(sentinels), **tried, **nobody, "control_failures": 0.0, "control_age_days": 0.0}
    return judge(measure(candidate, settings, beside=beside), criteria(settings.gate), subject=subject)


def _register(verdict, coin: str, settings: PipelineSettings, folder: Path, now: datetime) -> None:
    book, candidate = Registry(folder / "registry"), folder / "registry" / coin / ".candidate"
    card = {"coin": coin, "verdict": verdict.to_dict(), "libraries": library_versions(), **verdict.subject}
    version = book.register(gather(_bundles(folder, settings), folder / "stack.json", candidate), card, now=now)
    if verdict.outcome is Outcome.PROMOTE:
        book.promote(coin, version, verdict, now=now)
    book.champion(coin)


def _stack_file(folder: Path) -> dict[str, str]:
    return {"ensemble.stack": sha256(folder / "stack.json")}


def _model_file(folder: Path, name: str) -> dict[str, str]:
    return {f"models/{name}.bundle": sha256(folder / "models" / f"{name}.bundle" / MANIFEST)}


def _bundles(folder: Path, settings: PipelineSettings) -> dict[str, Path]:
    return {name: folder / "models" / f"{name}.bundle" for name in settings.roster}
