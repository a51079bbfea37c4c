"""Two machines and one real S3 server: a night that one begins and the other ends, races, kills and a server that is gone."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from crp_pipeline.definitions import floor_plan
from crp_pipeline.depot import Depot, Generation
from crp_pipeline.depot.contents import paths_of
from crp_pipeline.depot.generation import stamp_of
from crp_pipeline.depot.store import Store
from crp_pipeline.errors import StorageError
from crp_pipeline.explanation.coin import explain_coin
from crp_pipeline.models.latency import measure_latency
from crp_pipeline.places import Places
from crp_pipeline.registry import Registry
from crp_pipeline.signals.log import SignalLog
from crp_pipeline_tests.e2e.corridor import corridor_of, small_settings
from crp_pipeline_tests.e2e.s3_server import BUCKET, KEY, SECRET, s3_server

PROJECT = Path(__file__).parents[2]
COIN = "EDGE-DEMO"
CLOCK = "2024-06-03T00:15:00Z"
LATER_ROOMS = ("backtest", "comparison", "explanation", "sentinels", "shadow", "gate", "registry", "drift", "signals", "report")


@pytest.fixture(scope="module")
def server():
    for name in ("moto", "s3fs", "boto3"):
        pytest.importorskip(name, reason=f"{name} is missing: pip install '.[dev]'")
    with s3_server() as it:
        yield it


@pytest.fixture
def url(server, monkeypatch, tmp_path):
    url, variables = server
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return f"{url}/{tmp_path.name}"


@pytest.fixture(scope="module")
def nothing_of_its_own():
    """Every night measures 0 seconds and is one occasion, so that all else can be held against one another byte for byte."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cross_fit", "training"):
            patch.setattr(import_module(f"crp_pipeline.models.{name}"), "perf_counter", float)
        for function in (measure_latency, explain_coin):
            patch.setitem(function.__kwdefaults__, "clock", float)
        patch.setattr("crp_pipeline.defs.trials.occasion_of", lambda _: "the night")
        yield


@pytest.fixture(scope="module")
def nights(server, nothing_of_its_own, tmp_path_factory):
    """Folders of one night: on a machine alone; begun on the first of two; ended on the second."""
    url, variables = server
    home = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        alone = _rooms(home / "alone", None, lambda _: True)
        first = _rooms(home / "first", f"{url}/night", lambda name: name not in LATER_ROOMS)
        second = _rooms(home / "second", f"{url}/night", lambda name: name in LATER_ROOMS)
    return alone, first, second


def write(places: Places, files: dict[str, str]) -> None:
    for path, text in files.items():
        (places.root / path).parent.mkdir(parents=True, exist_ok=True)
        (places.root / path).write_text(text)


@pytest.mark.slow
class TestARealServer:
    def test_of_many_creations_of_one_generation_exactly_one_wins(self, url):
        def publish(name: int) -> bool:
            return Store(url).publish(Generation(subject=COIN, number=1, at="", by=str(name), files={}))

        with ThreadPoolExecutor(8) as at_once:
            won = list(at_once.map(publish, range(8)))
        assert won.count(True) == 1
        assert Store(url).newest(COIN).by == str(won.index(True))

    def test_what_one_machine_pushes_another_pulls(self, url, tmp_path):
        mine, theirs = Places(tmp_path / "mine"), Places(tmp_path / "theirs")
        write(mine, {f"candles/{COIN}.parquet": "candles", f"models/{COIN}/a/b": "model"})
        Depot(url).push(mine, COIN)
        assert Depot(url).pull(theirs, COIN).n_files == 2
        assert (theirs.root / f"models/{COIN}/a/b").read_text() == "model"
        write(mine, {f"candles/{COIN}.parquet": "more"})
        assert Depot(url).push(mine, COIN).generation == 2
        assert Depot(url).pull(theirs, COIN).n_files == 1
        assert Depot(url).prune(keep=1) == (0, 0)

    def test_a_corrupted_object_is_refused_by_its_hash(self, url, tmp_path):
        import boto3

        mine, theirs = Places(tmp_path / "mine"), Places(tmp_path / "theirs")
        write(mine, {f"candles/{COIN}.parquet": "candles"})
        Depot(url).push(mine, COIN)
        digest = stamp_of(b"candles").sha256
        key = f"{url.removeprefix(f's3://{BUCKET}/')}/objects/{digest[:2]}/{digest[2:]}"
        boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"candle5")
        with pytest.raises(StorageError, match=rf"^candles/{COIN}.parquet: its object .* has been altered"):
            Depot(url).pull(theirs, COIN)
        assert not list(paths_of(theirs.root, COIN))

    @pytest.mark.usefixtures("url")
    def test_a_bucket_that_is_none_is_one_sentence_without_credentials(self, tmp_path):
        mine = Places(tmp_path)
        write(mine, {f"candles/{COIN}.parquet": "candles"})
        with pytest.raises(
            StorageError, match=r"^the storage s3://no-such-bucket/x does not answer as it should: [^\n]*$"
        ) as told:
            Depot("s3://no-such-bucket/x").push(mine, COIN)
        assert KEY not in str(told.value)
        assert SECRET not in str(told.value)

    def test_a_process_killed_in_a_push_leaves_only_objects_that_nobody_names(self, url, tmp_path):
        mine = Places(tmp_path / "mine")
        write(mine, {f"models/{COIN}/{n}/m": str(n) * 1_000 for n in range(60)})
        code = (
            "import sys; from crp_pipeline.depot import Depot; from crp_pipeline.places import Places; from pathlib import Path\n"
            "from crp_pipeline.depot.store import Store\n"
            "put = Store.put\n"
            "def told(self, stamp, content): put(self, stamp, content); print('put', flush=True)\n"
            "Store.put = told\n"
            f"Depot({url!r}).push(Places(Path({str(mine.root)!r})), {COIN!r})"
        )
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(10):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        process.stdout.close()
        store = Store(url)
        assert store.newest(COIN) is None
        assert 10 <= len(store.objects()) < 60
        assert Depot(url).push(mine, COIN).n_files == 60
        theirs = Places(tmp_path / "theirs")
        assert Depot(url).pull(theirs, COIN).n_files == 60


@pytest.mark.slow
class TestANightOnTwoMachines:
    def test_the_second_machine_ends_the_night_as_one_machine_alone_would_have(self, nights):
        alone, _, second = nights
        ours, theirs = _contents(second), _contents(alone)
        assert sorted(ours) == sorted(theirs)
        assert [path for path in ours if ours[path] != theirs[path]] == []

    @pytest.mark.usefixtures("url")
    def test_both_machines_hold_the_same_version_and_a_registry_in_order(self, nights):
        alone, first, second = nights
        Depot(json.loads((first / ".depot" / f"{COIN}.json").read_text())["url"]).pull(Places(first), COIN)
        for place in (alone, first, second):
            Registry(place / "registry").verify(COIN)
        assert _contents(first) == _contents(second)
        assert Registry(second / "registry").history(COIN) == Registry(alone / "registry").history(COIN)


@pytest.mark.slow
class TestARunOnAMachineThatHasNothing:
    """... beside the same run on the machine that has everything."""

    @pytest.fixture
    def both(self, nights, tmp_path):
        """Settings of a machine alone with all files of a night but those that these runs make, and of one that can fetch them."""
        full, url = shutil.copytree(nights[2], tmp_path / "full"), f"memory://{uuid4().hex}"
        for subject in (COIN, None):
            Depot(url).push(Places(full), subject)
        return [
            small_settings(folder, storage=storage, clock=CLOCK) for folder, storage in ((full, None), (tmp_path / "bare", url))
        ]

    def test_the_summary_says_the_same(self, both):
        pages = []
        for settings in both:
            assert _done(settings, "nightly_summary", None).success
            places = Places(settings.data_dir)
            pages.append((places.fleet_report.read_text(), (places.root / "reports" / "results.md").read_text()))
        assert pages[0] == pages[1]
        assert not Places(both[1].data_dir).features(COIN).exists()

    def test_the_decision_is_the_same(self, both):
        lines = []
        for settings in both:
            assert _done(settings, "after_each_bar", COIN).success
            [signal] = SignalLog(Places(settings.data_dir).signals(COIN)).read()
            lines.append({name: value for name, value in signal.to_dict().items() if not name.endswith("_ms")})
        assert lines[0] == lines[1]
        assert lines[0]["version"]
        assert not Places(both[1].data_dir).features(COIN).exists()


@pytest.mark.slow
class TestAServerThatIsGone:
    @pytest.mark.parametrize("asset", ["registry", "drift", "signals", "report"])
    def test_what_is_written_beside_the_values_fails_the_run_where_it_cannot_be_pushed(
        self, asset, nights, tmp_path, monkeypatch
    ):
        settings = small_settings(shutil.copytree(nights[2], tmp_path / "data"), storage=f"memory://{uuid4().hex}", clock=CLOCK)
        job = floor_plan(settings).resolve_implicit_global_asset_job_def()
        monkeypatch.setattr(Store, "publish", lambda *_: _gone())
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                asset_selection=[dg.AssetKey(asset)], partition_key=COIN, instance=instance, raise_on_error=False
            )
        assert not result.success
        failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
        assert "does not answer as it should: it is gone" in (failure.cause or failure).message

    @pytest.fixture
    def candles(self, url, tmp_path):
        return floor_plan(small_settings(tmp_path / "data", storage=url, clock=CLOCK)).resolve_job_def("nightly_candles")

    def test_before_the_first_step_no_step_is_run_and_the_terminal_says_why(self, candles, tmp_path, monkeypatch, capfd):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        with dg.DagsterInstance.ephemeral() as instance:
            assert not candles.execute_in_process(partition_key=COIN, instance=instance, raise_on_error=False).success
        told = capfd.readouterr().err
        assert "does not answer as it should: Could not connect to the endpoint URL" in told
        assert SECRET not in told
        assert not Places(tmp_path / "data").candles(COIN).exists()

    def test_after_a_step_its_result_stays_and_is_pushed_by_the_next_run(self, candles, url, tmp_path, monkeypatch, capfd):
        with monkeypatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
            patch.setattr(Store, "publish", lambda *_: _gone())
            result = candles.execute_in_process(partition_key=COIN, instance=instance, raise_on_error=False)
        failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
        assert "does not answer as it should: it is gone" in (failure.cause or failure).message
        assert (
            "Teardown of resources [io_manager] failed. crp_pipeline.errors.StorageError: the storage" in capfd.readouterr().err
        )
        assert Places(tmp_path / "data").candles(COIN).exists()
        assert Store(url).newest(COIN) is None
        with dg.DagsterInstance.ephemeral() as instance:
            assert candles.execute_in_process(partition_key=COIN, instance=instance).success
        assert f"candles/{COIN}.parquet" in Store(url).newest(COIN).files


def _gone():
    raise StorageError("the storage does not answer as it should: it is gone")


def _done(settings, job: str, coin: str | None):
    """What became of a run of that job."""
    with dg.DagsterInstance.ephemeral() as instance:
        return floor_plan(settings).resolve_job_def(job).execute_in_process(partition_key=coin, instance=instance)


def _rooms(data_dir: Path, storage: str | None, are_wanted) -> Path:
    """Run those rooms of the corridor for one coin, and the market before the first of them."""
    plan = floor_plan(small_settings(data_dir, storage=storage, clock=CLOCK))
    job = plan.resolve_implicit_global_asset_job_def()
    over_all = [dg.AssetKey(name) for name in ("market", "controls")]
    wanted = [key for key in corridor_of(plan) if are_wanted(key.path[0]) and key not in over_all and key.path != ["summary"]]
    candles = dg.AssetKey("candles")
    with dg.DagsterInstance.ephemeral() as instance:
        if candles in wanted:
            assert job.execute_in_process(asset_selection=[candles], partition_key=COIN, instance=instance).success
            for key in over_all:
                assert job.execute_in_process(asset_selection=[key], instance=instance).success
            wanted.remove(candles)
        assert job.execute_in_process(asset_selection=wanted, partition_key=COIN, instance=instance).success
    return data_dir


def _contents(data_dir: Path) -> dict[str, str]:
    """Hash of every file of the coin, by its path."""
    found = sorted(paths_of(data_dir, COIN))
    return {path.relative_to(data_dir).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
