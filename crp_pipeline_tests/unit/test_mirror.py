"""The registry on an MLflow server: brought up to date, never trusted, and in nobody's way."""

import json
import os
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from pydantic import SecretStr

from crp_pipeline.gate import Criterion, Outcome, judge
from crp_pipeline.registry import Registry
from crp_pipeline.registry import mirror as mirroring
from crp_pipeline.registry.card import without_secrets
from crp_pipeline.registry.mirror import MANNERS, mirror
from crp_pipeline.storage import write_text
from crp_pipeline_tests.mlflow_server import free_port, mlflow_server

COIN, NOW = "BTC-USDT", datetime(2024, 5, 1, 0, 15, tzinfo=UTC)
ASKED = (Criterion("trades", ">=", 200), Criterion("gain", ">", 0))
GOOD = judge({"trades": 300.0, "gain": 0.5}, ASKED, subject={"coin": COIN})
BAD = judge({"trades": 3.0, "gain": float("nan")}, ASKED, subject={"coin": COIN})
SECRET = "xyzzy-hunter2"
SETTINGS = {
    "horizon": 24,
    "roster": ["lightgbm", "tcn"],
    "execution": {"fee_bps": 5.0},
    "exchange": {"name": "binance", "client_options": {"secret": SECRET}},
    "many": {f"number_{n}": n for n in range(150)},
}


@pytest.fixture
def book(tmp_path):
    return Registry(tmp_path / "registry")


def register(book, content, verdict=GOOD, *, day=0, recipe="r"):
    bundle = book.root.parent / "candidate"
    shutil.rmtree(bundle, ignore_errors=True)
    write_text(bundle / "models" / "prior.json", content)
    card = {"coin": COIN, "verdict": verdict.to_dict(), "settings": SETTINGS, "libraries": {"numpy": "2"}, "data_hash": "d1"}
    card |= {"code": "c1", "recipe": recipe, "feature_set_id": "f1"}
    return book.register(bundle, card, now=NOW + timedelta(days=day))


def crown(book, content, *, day=0):
    version = register(book, content, day=day)
    book.promote(COIN, version, GOOD, now=NOW + timedelta(days=day))
    return version


def test_without_mlflow_the_mirror_says_what_to_install(book, monkeypatch):
    crown(book, "trees")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = mirror(book, COIN, SecretStr("http://nowhere"))
    assert done.problem == "BTC-USDT: there is no MLflow mirror without mlflow: pip install 'crp-pipeline[mlflow]'"


def test_the_environment_is_left_as_it_was(book, monkeypatch):
    first, *others = MANNERS
    monkeypatch.setenv(first, "7")
    for name in others:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    with suppress(ZeroDivisionError), mirroring._manners():
        assert {name: os.environ[name] for name in MANNERS} == MANNERS
        raise ZeroDivisionError
    assert dict(os.environ) == before


def test_no_option_of_a_library_is_sent():
    card = without_secrets({"settings": SETTINGS})
    assert SECRET not in json.dumps(card)
    assert card["settings"]["exchange"] == {"name": "binance"}
    assert SECRET in json.dumps(SETTINGS), "what the registry keeps is not touched"


@pytest.mark.slow
@pytest.mark.parametrize("address", ["http://user:{secret}@127.0.0.1:{port}", "nonsense://{secret}", "http://[{secret}"])
def test_a_server_that_is_not_there_is_told_in_a_sentence_without_its_address(address, book):
    pytest.importorskip("mlflow", reason="mlflow is missing: pip install '.[mlflow]'")
    crown(book, "trees")
    begun = monotonic()
    done = mirror(book, COIN, SecretStr(address.format(secret=SECRET, port=free_port())))
    assert done.versions == ()
    assert done.problem.startswith("BTC-USDT: the MLflow mirror is left as it is (")
    assert done.problem.endswith("); the next night catches up")
    assert SECRET not in done.problem
    assert monotonic() - begun < 30, "mlflow's own import among it"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("mlflow", reason="mlflow is missing: pip install '.[mlflow]'")
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def client(server):
    with mirroring._manners():
        from mlflow import MlflowClient

        yield MlflowClient(server.uri.get_secret_value())


@pytest.fixture
def empty(client):
    """A server that has forgotten the coin."""
    yield
    if client.search_registered_models(f"name = '{COIN}'"):
        client.delete_registered_model(COIN)
    experiment = client.get_experiment_by_name(f"crp_pipeline/{COIN}")
    if experiment is not None:
        client.rename_experiment(experiment.experiment_id, f"past {monotonic()}")


def aliases(client):
    """Version by alias, as the server has it."""
    held = client.get_registered_model(COIN).aliases
    return {alias: client.get_model_version(COIN, number).tags["version"] for alias, number in held.items()}


def roles(book):
    return {name: version for name, version in vars(book.pointers(COIN)).items() if version is not None}


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_every_version_has_a_run_with_what_made_it_and_what_it_did(book, server, client, tmp_path):
    good, bad = crown(book, "trees"), register(book, "twigs", BAD, day=1)
    done = mirror(book, COIN, server.uri)
    assert (done.versions, done.problem) == ((good, bad), "")
    experiment = client.get_experiment_by_name(f"crp_pipeline/{COIN}").experiment_id
    runs = {run.data.tags["version"]: run for run in client.search_runs([experiment])}
    assert set(runs) == {good, bad}
    run = runs[good]
    assert run.info.status == "FINISHED"
    assert run.info.start_time == int(NOW.timestamp() * 1_000)
    params = run.data.params
    assert (params["recipe"], params["settings.horizon"], params["settings.roster"]) == ("r", "24", '["lightgbm", "tcn"]')
    assert (params["settings.execution.fee_bps"], params["library.numpy"]) == ("5.0", "2")
    assert sum(name.startswith("settings.many.") for name in params) == 150
    assert run.data.metrics == {"trades": 300.0, "gain": 0.5}
    assert runs[bad].data.metrics == {"trades": 3.0}, "what was not measured is no metric"
    told = {name: run.data.tags[name] for name in ("verdict", "data_hash", "code")}
    assert told == {"verdict": str(Outcome.PROMOTE), "data_hash": "d1", "code": "c1"}
    with mirroring._manners():
        card = client.download_artifacts(run.info.run_id, "card.json", str(tmp_path))
    text = (tmp_path / "card.json").read_text()
    assert card.endswith("card.json")
    assert json.loads(text)["verdict"] == GOOD.to_dict()
    assert SECRET not in text
    assert not any(SECRET in value for value in params.values())


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_a_password_in_the_address_is_not_printed(book, server, capfd):
    crown(book, "trees")
    done = mirror(book, COIN, SecretStr(f"http://night:{SECRET}@127.0.0.1:{server.port}"))
    assert (len(done.versions), done.problem) == (1, "")
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_a_second_mirroring_writes_nothing(book, server, client):
    crown(book, "trees")
    register(book, "twigs", BAD, day=1)
    mirror(book, COIN, server.uri)
    numbers = [it.version for it in client.search_model_versions(f"name = '{COIN}'")]
    assert mirror(book, COIN, server.uri) == mirroring.Mirrored(())
    assert [it.version for it in client.search_model_versions(f"name = '{COIN}'")] == numbers


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_the_aliases_follow_promotion_and_rollback(book, server, client):
    first = crown(book, "trees")
    mirror(book, COIN, server.uri)
    assert aliases(client)["champion"] == first
    second = crown(book, "nets", day=1)
    mirror(book, COIN, server.uri)
    assert aliases(client) == roles(book)
    assert aliases(client)["champion"] == second
    book.rollback(COIN, reason="it bleeds", now=NOW)
    mirror(book, COIN, server.uri)
    assert aliases(client) == roles(book)
    assert aliases(client)["champion"] == first


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_an_alias_goes_when_nobody_has_the_role_any_more(book, server, client):
    first = crown(book, "trees")
    mirror(book, COIN, server.uri)
    client.set_registered_model_alias(COIN, "shadow", "1")
    assert roles(book) == {"champion": first}
    mirror(book, COIN, server.uri)
    assert aliases(client) == {"champion": first}


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("step", ["create_run", "log_batch", "log_text", "set_terminated", "create_model_version"])
def test_a_mirroring_that_was_cut_off_is_finished_by_the_next(step, book, server, client, monkeypatch):
    from mlflow import MlflowClient

    versions = (crown(book, "trees"), crown(book, "nets", day=1))

    def cut_off(*_, **__):
        raise ConnectionResetError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, cut_off)
        assert mirror(book, COIN, server.uri).problem.startswith("BTC-USDT: the MLflow mirror is left as it is (ConnectionRes")
    assert mirror(book, COIN, server.uri).versions == versions
    experiment = client.get_experiment_by_name(f"crp_pipeline/{COIN}").experiment_id
    runs = client.search_runs([experiment])
    assert sorted(run.data.tags["version"] for run in runs) == sorted(versions)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.metrics["trades"] for run in runs} == {300.0}
    assert aliases(client)["champion"] == versions[1]


@pytest.mark.slow
@pytest.mark.usefixtures("empty")
def test_what_takes_too_long_is_left_to_the_next_night(book, server, client):
    versions = (crown(book, "trees"), crown(book, "nets", day=1))
    done = mirror(book, COIN, server.uri, limit_s=0.0)
    assert done.versions == ()
    assert "TimeoutError" in done.problem
    assert mirror(book, COIN, server.uri).versions == versions


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_is_caught_up_with(book, tmp_path):
    pytest.importorskip("mlflow", reason="mlflow is missing: pip install '.[mlflow]'")
    first = crown(book, "trees")
    with mlflow_server(tmp_path / "server") as running:
        assert mirror(book, COIN, running.uri).versions == (first,)
        running.kill()
        second = crown(book, "nets", day=1)
        assert mirror(book, COIN, running.uri).problem
    with mlflow_server(tmp_path / "server", running.port) as again:
        assert mirror(book, COIN, again.uri) == mirroring.Mirrored((second,))
