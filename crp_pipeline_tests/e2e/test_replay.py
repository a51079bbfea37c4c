"""Two nights of Dagster, and both of their versions made again long after."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import pytest
from typer.testing import CliRunner

from crp_pipeline.cli import app
from crp_pipeline.definitions import floor_plan
from crp_pipeline.nightly import run_night
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline_tests.e2e.corridor import green_report, small_settings
from crp_pipeline_tests.mlflow_server import free_port

pytestmark = pytest.mark.slow

COIN = "EDGE-DEMO"
NIGHTS = (datetime(2022, 4, 30, 0, 15, tzinfo=UTC), datetime(2022, 5, 3, 0, 15, tzinfo=UTC))
SECRET = "xyzzy-hunter2"


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """The data of two nights, an MLflow mirror that is never there, and what the second night's registry said."""
    root = tmp_path_factory.mktemp("nights") / "data"
    address = f"http://user:{SECRET}@127.0.0.1:{free_port()}"
    told = {}
    for now in NIGHTS:
        settings = small_settings(root, clock=now, coins=(COIN,), mlflow=address)
        with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            report = replace(green_report(), at=now.isoformat())
            patch.setattr("crp_pipeline.defs.controls.run_suite", lambda report=report, **_: report)
            assert run_night(floor_plan(settings), [COIN], instance) == []
            event = instance.get_latest_materialization_event(dg.AssetKey("registry"))
            told = event.asset_materialization.metadata
    return Places(root), told


def hashes(root):
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("night", [0, 1])
def test_the_version_of_either_night_is_the_same_to_the_bit(night, nights, monkeypatch):
    places, _ = nights
    registered = [entry.version for entry in Registry(places.registry).history(COIN) if entry.action == "register"]
    assert len(registered) == 2
    monkeypatch.setenv("CRP_DATA_DIR", str(places.root))
    monkeypatch.setenv("CRP_SEED", "5")
    before = hashes(places.root)
    done = CliRunner().invoke(app, ["replay", "--coin", COIN, "--version", registered[night]])
    assert done.exit_code == 0, done.output
    assert "NO" not in {line.split()[-1] for line in done.stdout.splitlines() if line}
    assert hashes(places.root) == before


def test_what_a_champion_was_made_from_is_kept(nights):
    places, _ = nights
    assert Registry(places.registry).champion(COIN) is not None
    assert len(list(places.ingredients(COIN).glob("*.parquet"))) > 0


def test_a_mirror_that_is_not_there_holds_up_no_night(nights):
    _, told = nights
    assert told["mirror"].text == f"{COIN}: the MLflow mirror is left as it is (MlflowException); the next night catches up"
    assert SECRET not in str(told)
