"""Room 5 in Dagster, once for all coins: the transformer that they share."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd

from crp_pipeline.contracts import interval_length
from crp_pipeline.defs.models import BASELINE, POOLED, SELECTION, TrainingConfig, save_final, spec_of
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.pools import pool_of
from crp_pipeline.defs.standing import failed_assets
from crp_pipeline.defs.trials import append_model
from crp_pipeline.defs.versions import version_from
from crp_pipeline.gate.scores import log_loss_by_fold
from crp_pipeline.models import Trained, quarantined_in, recipe_facts, without
from crp_pipeline.models.pooled import PoolMember, train_pool
from crp_pipeline.places import Places
from crp_pipeline.provenance import lineage_of, made_by, merged, stamp
from crp_pipeline.reporting.figures import training_figure
from crp_pipeline.rooms import roles_since
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import MANIFEST, read_parquet, sha256, write_parquet

CANDLES = "candles"
MADE_OF = {
    name: dg.AssetKey(path)
    for name, path in (
        (CANDLES, ["candles"]),
        ("features", ["features"]),
        ("labels", ["labels"]),
        ("splits", ["splits"]),
        (SELECTION, ["models", SELECTION]),
        (BASELINE, ["models", BASELINE]),
    )
}
Tables = Mapping[str, pd.DataFrame]


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`models/pooled_transformer`, over all coins that have features, labels, splits and a selection."""
    coins = coin_partitions(settings)

    @dg.asset(
        key=["models", POOLED],
        group_name="models",
        kinds={POOLED},
        pool=pool_of(POOLED, settings.limits),
        deps=[dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping()) for key in MADE_OF.values()],
    )
    def pooled_transformer(context: dg.AssetExecutionContext, config: TrainingConfig) -> dg.MaterializeResult[pd.DataFrame]:
        """One transformer trained over all coins, each on its own scale: every coin's out-of-fold forecasts and final model."""
        failed = failed_assets(context.instance, list(MADE_OF.values()), coins)
        tables = {coin: _tables(places, coin) for coin in coins.get_partition_keys() if coin not in failed}
        standing = {coin: found for coin, found in tables.items() if found is not None}
        seed, spec = settings.seed if config.seed is None else config.seed, spec_of(POOLED, config, settings)
        trained = train_pool(
            spec,
            _members(standing, config, settings),
            seed=seed,
            embargo=settings.walk_forward.embargo * interval_length(settings.interval),
            validation_share=settings.walk_forward.validation_share,
            progress=context.log.info,
        )
        pool = {coin: merged(*map(lineage_of, found.values())) for coin, found in standing.items()}
        asked = {"days_of_history": config.days_of_history, "all_features": config.all_features}
        facts = {**recipe_facts(spec), "seed": seed, **asked, "pool": pool}
        for coin, result in trained.items():
            card = _keep(result, standing[coin], places, coin, facts, made_by(settings, coin))
            own = (standing[coin][CANDLES], standing[coin]["labels"])
            append_model(context, POOLED, result.predictions, card, *own, settings, places)
        summary = _summary(trained, standing)
        return dg.MaterializeResult(
            value=summary,
            data_version=version_from(*(sha256(places.bundle(coin, POOLED) / MANIFEST) for coin in trained)),
            metadata={
                "coins": ", ".join(standing),
                "missing_coins": ", ".join(coin for coin in coins.get_partition_keys() if coin not in standing) or "none",
                "by_coin": table(summary),
                "picture": picture(training_figure(_histories(trained), model=POOLED)),
            },
        )

    return [pooled_transformer]


def _tables(places: Places, coin: str) -> Tables | None:
    """What the pool is made of, of one coin; None where something is not there."""
    files = {name: places.frame(*key.path, coin=coin) for name, key in MADE_OF.items()}
    if not all(file.exists() for file in files.values()):
        return None
    return {name: read_parquet(file) for name, file in files.items()}


def _members(tables: Mapping[str, Tables], config: TrainingConfig, settings: PipelineSettings) -> dict[str, PoolMember]:
    """What each coin brings; where all features are asked for, those that no coin has quarantined."""
    hidden = sorted({name for found in tables.values() for name in quarantined_in(found[SELECTION])})
    return {coin: _member(found, hidden, config, settings) for coin, found in tables.items()}


def _member(tables: Tables, hidden: list[str], config: TrainingConfig, settings: PipelineSettings) -> PoolMember:
    labels, roles = tables["labels"], roles_since(tables["splits"], config.days_of_history, settings)
    if config.all_features:
        return PoolMember(without(tables["features"], hidden), labels, roles)
    return PoolMember(tables["features"], labels, roles, tables[SELECTION])


def _keep(
    trained: Trained, tables: Tables, places: Places, coin: str, facts: Mapping[str, Any], makers: Mapping[str, str]
) -> Mapping[str, Any]:
    """Store a coin's forecasts and final model where those of its other models lie, and return the model's card."""
    behind = [table for name, table in tables.items() if name not in {BASELINE, CANDLES}]
    lineage = merged(*map(lineage_of, behind))
    card = save_final(trained, tables["features"], places.bundle(coin, POOLED), lineage=lineage, coin=coin, **facts)
    stamp(trained.predictions, f"models/{POOLED}", behind=behind, files={**places.model_file(coin, POOLED), **makers})
    write_parquet(places.frame("models", POOLED, coin=coin), trained.predictions)
    return card


def _summary(trained: Mapping[str, Trained], tables: Mapping[str, Tables]) -> pd.DataFrame:
    """One row per coin: log-loss of the pool and of the class prior, and labelled bars."""
    losses = {
        coin: log_loss_by_fold(result.predictions, tables[coin][BASELINE], tables[coin]["labels"])
        for coin, result in trained.items()
    }
    rows = [
        {"coin": coin, "log_loss": it["log_loss"].mean(), "prior": it["prior"].mean(), "n": int(it["n"].sum())}
        for coin, it in losses.items()
    ]
    return pd.DataFrame(rows)


def _histories(trained: Mapping[str, Trained]) -> dict[str, pd.DataFrame]:
    """The pool's epochs, fold by fold: those of the coin with most folds, since all coins share them."""
    longest = max((result.folds for result in trained.values()), key=len)
    return {f"fold {it.fold.number}": it.history for it in longest}
