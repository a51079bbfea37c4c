"""Room 9 in Dagster: versions and champions per coin, the report, and the summary over all coins."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg
import pandas as pd
from pydantic import Field

from crp_pipeline.defs.models import BASELINE, BASELINES, SELECTION
from crp_pipeline.defs.partitions import coin_partitions
from crp_pipeline.defs.pictures import picture, table
from crp_pipeline.defs.standing import failed_assets
from crp_pipeline.defs.turn import BESIDE
from crp_pipeline.defs.versions import version_from
from crp_pipeline.errors import RegistryError
from crp_pipeline.gate import Outcome, Verdict, is_in_force
from crp_pipeline.gate.verdict import read_verdict
from crp_pipeline.places import Places
from crp_pipeline.provenance import PLACES, library_versions, recipe_hash, source_hash
from crp_pipeline.registry import Registry, gather, version_judged
from crp_pipeline.registry.card import check_subject
from crp_pipeline.registry.ingredients import cards_kept, ingredients_told, keep_ingredients, prune_ingredients
from crp_pipeline.registry.mirror import mirror
from crp_pipeline.reporting.drift import fleet_drift
from crp_pipeline.reporting.fleet import write_fleet_report
from crp_pipeline.reporting.gate import fleet_figure
from crp_pipeline.reporting.report import write_coin_report
from crp_pipeline.reporting.results import FRAMES
from crp_pipeline.reporting.results_document import write_results_document
from crp_pipeline.reporting.verdicts import champion_phrase, fleet_sentence, verdict_table
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.shadow import columns_id
from crp_pipeline.storage import frame_hash, sha256


def assets(settings: PipelineSettings, places: Places) -> list[dg.AssetsDefinition]:
    """`registry` and `report` per coin, `summary` over all coins."""
    return [_registry(settings, places), _report(settings, places), _summary(settings, places)]


def _registry(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    # tonight's version is registered after yesterday's have decided today's bars
    @dg.asset(
        group_name="registry",
        kinds={"json"},
        partitions_def=coin_partitions(settings),
        deps=["shadow"],
        required_resource_keys={"io_manager"},
    )
    def registry(context: dg.AssetExecutionContext, gate: Verdict) -> dg.MaterializeResult[None]:
        """Tonight's version, champion only if the stored verdict is PROMOTE and about these very models; old ones pruned."""
        coin, book = context.partition_key, Registry(places.registry)
        _require_in_force(coin, gate, settings)
        models = {name: places.bundle(coin, name) for name in settings.roster}
        candidate = gather(models, places.stack(coin), places.candidate(coin), decisions=places.decisions(coin))
        card = {
            "coin": coin,
            "verdict": gate.to_dict(),
            "settings": settings.model_dump(mode="json", exclude=PLACES),
            "libraries": library_versions(),
            "columns_id": columns_id(candidate),
            "ingredients": ingredients_told(places, coin, settings),
            **{name: gate.subject[name] for name in ("data_hash", "feature_set_id", "recipe", "code")},
        }
        check_subject(candidate, gate)
        version = version_judged(book, coin, gate) or book.register(candidate, card, now=settings.present())
        for name in keep_ingredients(places, coin, card, settings):
            context.log.warning(f"{coin}: {name} changed since the gate judged: version {version} cannot be made again from it")
        rolled_back = book.is_rolled_back(coin, version)
        if gate.outcome is Outcome.PROMOTE and not rolled_back and version != book.champion(coin):
            book.promote(coin, version, gate, now=settings.present())
        pruned = _pruned(book, coin, settings, places)
        context.resources.io_manager.settled(coin)
        mirrored = _mirrored(book, coin, settings, tell=context.log.warning)
        roles = _roles(book, coin)
        return dg.MaterializeResult(
            data_version=version_from(version, roles["champion"], str(gate.outcome)),
            metadata={
                "version": version,
                **roles,
                "verdict": str(gate.outcome),
                "reason": gate.reason,
                "rolled_back_before": rolled_back,
                "pruned": ", ".join(pruned) or "none",
                "mirror": mirrored,
                "journal": table(pd.DataFrame([vars(entry) for entry in book.history(coin)[-10:]]).drop(columns="previous")),
            },
        )

    return registry


def _pruned(book: Registry, coin: str, settings: PipelineSettings, places: Places) -> list[str]:
    """Versions whose files retention has removed, and with them the tables that no other version is made from."""
    pruned = book.prune(coin, settings.retention, now=settings.present())
    prune_ingredients(places, coin, cards_kept(book, coin))
    return pruned


def _roles(book: Registry, coin: str) -> dict[str, str]:
    """Champion, challenger and shadow, every byte of the champion checked."""
    book.champion(coin)
    return book.pointers(coin).by_role()


ONLY_ONCE = {"dagster/max_retries": "0"}
"""Tag of a run that Dagster does not begin again when its process is gone."""
FIRST = {"dagster/priority": "100"}
"""Tag of a run that goes before all others that wait in the queue."""


class RollbackConfig(dg.Config):
    """What an operator asks for."""

    coin: str
    reason: str = Field(min_length=1, description="Kept in the journal.")
    to: str | None = Field(default=None, description="Any earlier champion; the one before, when none is named.")
    expected: str | None = Field(
        default=None, description="The champion that is to go: where another reigns, nothing moves. Makes a second try safe."
    )


def rollback_job(settings: PipelineSettings, places: Places) -> dg.JobDefinition:
    """`rollback`: brings back an earlier champion of the coin that is asked for; the page of the asset `registry` tells it.

    A run that crashed is not begun again by itself: it may have done everything, and a second rollback goes one champion
    further. It waits for no night, since the registry has locks of its own; but on shared storage, where two runs would move
    the same files.
    """
    beside = {BESIDE: "yes"} if settings.storage is None else {}

    @dg.op(
        name="restore_champion",
        description="Bring back an earlier champion of a coin, for a reason.",
        required_resource_keys={"io_manager"},
    )
    def rollback(context: dg.OpExecutionContext, config: RollbackConfig) -> None:
        book = Registry(places.registry)
        version = book.rollback(
            config.coin, to=config.to, expected=config.expected, reason=config.reason, now=settings.present()
        )
        context.resources.io_manager.settled(config.coin)
        told = {"reason": config.reason, **_roles(book, config.coin)}
        context.log.info(f"{config.coin}: champion is {version} again: {config.reason}")
        context.log_event(dg.AssetObservation("registry", partition=config.coin, metadata=told))
        context.add_output_metadata(told)
        _mirrored(book, config.coin, settings, tell=context.log.warning)

    @dg.job(
        name="rollback",
        executor_def=dg.in_process_executor,
        description="Bring back an earlier champion of a coin.",
        tags={**ONLY_ONCE, **FIRST, **beside},
    )
    def job() -> None:
        rollback()

    return job


def _mirrored(book: Registry, coin: str, settings: PipelineSettings, *, tell: Callable[[str], object]) -> str:
    """What became of the mirror: a problem with it is told and stops nobody."""
    if settings.mlflow is None:
        return "none"
    done = mirror(book, coin, settings.mlflow)
    if done.problem:
        tell(done.problem)
    return done.problem or f"{len(done.versions)} versions written"


def _require_in_force(coin: str, gate: Verdict, settings: PipelineSettings) -> None:
    """Raises `RegistryError` where the verdict was reached by other code, other settings or other thresholds."""
    anew = "since the gate judged it; materialize the coin again from `labels` on"
    if gate.subject["source"] != source_hash():
        raise RegistryError(f"{coin}: the code has changed {anew}")
    if gate.subject["settings"] != recipe_hash(settings, coin):
        raise RegistryError(f"{coin}: the settings have changed {anew}")
    if not is_in_force(gate, settings.gate):
        raise RegistryError(f"{coin}: the gate's settings have changed since it judged; materialize `gate` again")


def _report(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    models = [["models", name] for name in (SELECTION, *BASELINES, *settings.roster)]
    told = [dg.AssetKey(room) for room in (*FRAMES, "backtest", "explanation", "gate", "registry", "drift", *models)]

    @dg.asset(
        group_name="registry",
        kinds={"html"},
        partitions_def=coin_partitions(settings),
        deps=told,
        required_resource_keys={"io_manager"},
    )
    def report(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        """One self-contained page: the verdict first, then everything behind it, and each table beside it."""
        path = write_coin_report(places, context.partition_key)
        context.resources.io_manager.settled(context.partition_key)
        return dg.MaterializeResult(
            data_version=version_from(sha256(path)),
            metadata={
                "page": dg.MetadataValue.path(str(path)),
                "tables": dg.MetadataValue.path(str(places.report_tables(context.partition_key))),
                "bytes": path.stat().st_size,
            },
        )

    return report


def _summary(settings: PipelineSettings, places: Places) -> dg.AssetsDefinition:
    coins = coin_partitions(settings)
    models = [["models", name] for name in (BASELINE, SELECTION, *settings.roster)]
    rooms = ["candles", "feeds", "features", "labels", "splits", "feasibility", *models]
    ends = [dg.AssetKey(room) for room in ("registry", "report", "sentinels", *(["models", name] for name in BASELINES))]
    corridor = [
        dg.AssetKey(room) for room in (*rooms, "ensemble", "backtest", "comparison", "sentinels", "shadow", "gate", "registry")
    ]

    @dg.asset(
        group_name="registry",
        kinds={"pandas", "parquet"},
        deps=[dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping()) for key in ends],
    )
    def summary(context: dg.AssetExecutionContext) -> dg.MaterializeResult[pd.DataFrame]:
        """The verdict on every coin, side by side, and whether the night is good as a whole; a coin that failed has none."""
        failed = failed_assets(context.instance, corridor, coins)
        judged = [coin for coin in coins.get_partition_keys() if coin not in failed and places.verdict(coin).exists()]
        verdicts = {coin: read_verdict(places.verdict(coin)) for coin in judged}
        book = Registry(places.registry)
        champions = {coin: champion_phrase(book, coin) for coin in {*verdicts, *failed}}
        verdicts_by_coin = verdict_table(verdicts, champions, failed)
        sentence = fleet_sentence(list(verdicts.values()), settings.gate, n_coins=len(coins.get_partition_keys()))
        results = write_results_document(places, coins.get_partition_keys(), settings.gate, failed=failed)
        context.log.info(sentence)
        page = _fleet_page(settings, places, coins.get_partition_keys(), failed) if verdicts else "none"
        return dg.MaterializeResult(
            value=verdicts_by_coin,
            data_version=version_from(frame_hash(verdicts_by_coin)),
            metadata={
                "page": page,
                "fleet": sentence,
                **({"picture": picture(fleet_figure(verdicts, settings.gate))} if verdicts else {}),
                "promoted": sum(verdict.outcome is Outcome.PROMOTE for verdict in verdicts.values()),
                "coins": len(verdicts),
                "without_verdict": ", ".join(coin for coin in coins.get_partition_keys() if coin not in verdicts) or "none",
                "retired": ", ".join(settings.retired) or "none",
                "drift": fleet_drift(places, coins.get_partition_keys()),
                "verdicts": table(verdicts_by_coin),
                "results": dg.MetadataValue.md(results.read_text(encoding="utf-8")),
            },
        )

    return summary


def _fleet_page(
    settings: PipelineSettings, places: Places, coins: Sequence[str], failed: Mapping[str, str]
) -> dg.MetadataValue[str | None]:
    """Write the page of all coins, and tell where it lies."""
    page = write_fleet_report(places, coins, config=settings.gate, failed=failed, retired=settings.retired)
    return dg.MetadataValue.path(str(page))
