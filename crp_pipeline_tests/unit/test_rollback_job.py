"""The job `rollback`: one coin, one reason, any earlier champion; the asset's page tells it."""

from datetime import UTC, datetime
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.execution.retries import auto_reexecution_should_retry_run

from crp_pipeline.defs.registry import rollback_job
from crp_pipeline.defs.sharing import stage_io_manager
from crp_pipeline.depot import Depot
from crp_pipeline.depot.store import Store
from crp_pipeline.errors import RegistryError, StorageError
from crp_pipeline.gate import Criterion, Stage, judge
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.registry.mirror import Mirrored
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import write_text

COIN = "EDGE-DEMO"
NOW = datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
PROMOTED = judge({"trades": 300.0}, (Criterion("trades", ">=", 200, Stage.EVIDENCE),))


@pytest.fixture
def three(tmp_path):
    """(places, versions of three champions)."""
    places, versions = Places(tmp_path), []
    book = Registry(places.registry)
    for content in ("first", "second", "third"):
        write_text(tmp_path / "bundle" / "a.txt", content)
        versions.append(book.register(tmp_path / "bundle", {"coin": COIN, "verdict": PROMOTED.to_dict()}, now=NOW))
        book.promote(COIN, versions[-1], PROMOTED, now=NOW)
    return places, versions


def asked(places, instance=None, storage=None, raise_on_error=True, **config):
    settings = PipelineSettings(data_dir=places.root, clock="2024-06-03T00:15:00Z", storage=storage)
    return rollback_job(settings, places).execute_in_process(
        run_config={"ops": {"restore_champion": {"config": config}}},
        instance=instance,
        resources={"io_manager": stage_io_manager(settings, places)},
        raise_on_error=raise_on_error,
    )


def test_the_champion_before_is_brought_back_for_a_reason_at_the_pipelines_own_time(three):
    places, versions = three
    assert asked(places, coin=COIN, reason="spread doubled").success
    last = Registry(places.registry).history(COIN)[-1]
    assert (last.action, last.version, last.reason, last.at) == (
        "rollback",
        versions[1],
        "spread doubled",
        "2024-06-03T00:15:00+00:00",
    )


def test_any_earlier_champion_is_brought_back_by_name_and_the_asset_tells_it(three):
    places, versions = three
    with dg.DagsterInstance.ephemeral() as instance:
        assert asked(places, instance, coin=COIN, reason="since March", to=versions[0]).success
        (told,) = instance.fetch_observations(dg.AssetKey("registry"), limit=9).records
    assert told.partition_key == COIN
    assert {name: value.value for name, value in told.asset_observation.metadata.items()} == {
        "reason": "since March",
        "champion": versions[0],
        "challenger": "none",
        "shadow": "none",
    }


def test_of_two_runs_that_name_the_champion_that_is_to_go_only_one_moves_anything(three):
    places, versions = three
    assert asked(places, coin=COIN, reason="why", expected=versions[2]).success
    with pytest.raises(RegistryError, match=f"the champion was expected to be {versions[2]} and is {versions[1]}"):
        asked(places, coin=COIN, reason="why", expected=versions[2])
    assert Registry(places.registry).champion(COIN) == versions[1]


def test_a_run_that_crashed_is_not_begun_again_by_itself(three):
    """With the retries of `dagster.yaml`, by which any other job is."""
    job = rollback_job(PipelineSettings(data_dir=three[0].root), three[0])
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 1}}) as instance:

        def is_begun_again(tags):
            asked_for = {"ops": {"restore_champion": {"config": {"coin": COIN, "reason": "why"}}}}
            run = instance.create_run_for_job(job, run_config=asked_for, tags=tags)
            instance.report_run_failed(run, "its process is gone")
            return auto_reexecution_should_retry_run(instance, instance.get_run_by_id(run.run_id), None)

        assert (is_begun_again(job.tags), is_begun_again({})) == (False, True)


def test_the_mirror_follows_at_once(three, monkeypatch):
    places, versions = three
    seen = []

    def mirrored(book, coin, uri):
        seen.append(book.champion(coin))
        return Mirrored((), "the mirror sleeps")

    monkeypatch.setattr("crp_pipeline.defs.registry.mirror", mirrored)
    monkeypatch.setenv("CRP_MLFLOW", "http://mlflow")
    assert asked(places, coin=COIN, reason="why").success
    assert seen == [versions[1]]


def test_a_rollback_that_other_machines_cannot_be_told_of_fails_and_says_why(three, monkeypatch):
    places, _ = three
    storage = f"memory://{uuid4().hex}"
    monkeypatch.setattr(Store, "publish", lambda *_: _gone())
    result = asked(places, coin=COIN, reason="spread doubled", storage=storage, raise_on_error=False)
    [failure] = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert "the storage is gone" in (failure.cause or failure).message
    assert not result.success


def test_a_rollback_is_told_to_the_other_machines(three, tmp_path_factory):
    places, versions = three
    storage = f"memory://{uuid4().hex}"
    assert asked(places, coin=COIN, reason="spread doubled", storage=storage).success
    elsewhere = Places(tmp_path_factory.mktemp("elsewhere"))
    Depot(storage).pull(elsewhere, COIN)
    assert Registry(elsewhere.registry).champion(COIN) == versions[1]


def _gone():
    raise StorageError("the storage is gone")


@pytest.mark.parametrize("config", [{"coin": COIN}, {"coin": COIN, "reason": ""}, {"reason": "why"}])
def test_without_a_coin_and_a_reason_nothing_is_rolled_back(config, three):
    places, versions = three
    with pytest.raises((dg.DagsterInvalidConfigError, ValueError)):
        asked(places, **config)
    assert Registry(places.registry).champion(COIN) == versions[2]
