"""Nothing that the project writes holds a secret: every one is a canary, and everything written is searched for it."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from pydantic import SecretStr

from crp_pipeline.notices import Notice, tell
from crp_pipeline.runners import RayCluster
from crp_pipeline.settings import load_settings
from crp_pipeline.settings.pipeline import PipelineSettings
from crp_pipeline_tests.e2e.corridor import small_settings
from crp_pipeline_tests.e2e.night_process import home_of_a_night, start_night

CANARY = "c4n4ry"
COIN = "EDGE-DEMO"
SECRETS = {
    "CRP_NOTIFY__WEBHOOK": f"http://127.0.0.1:9/hooks/{CANARY}",
    "CRP_NOTIFY__SMTP_PASSWORD": f"{CANARY}-smtp",
    "CRP_NOTIFY__SMTP_USER": "night",
    "CRP_NOTIFY__SMTP_PORT": "9",
    "CRP_NOTIFY__SMTP_HOST": "127.0.0.1",
    "CRP_NOTIFY__EMAIL_TO": '["desk@example.org"]',
    "CRP_NOTIFY__TIMEOUT_S": "2",
    "CRP_ONLINE_STORE": f"redis://:{CANARY}@127.0.0.1:9/0",
    "CRP_EXCHANGE__CLIENT_OPTIONS": json.dumps({"secret": f"{CANARY}-key", "httpsProxy": f"http://night:{CANARY}@127.0.0.1:9"}),
    "CRP_SERVE_TOKEN": f"{CANARY}-token",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-aws",
}
NOT_SET_HERE = {"mlflow"}
"""A mirror that does not answer is a night of its own; its own tests search what it writes."""


def secret_settings() -> set[str]:
    """Variables of every setting whose type is secret, nested ones by their full name."""
    found = set()
    for name, field in PipelineSettings.model_fields.items():
        if SecretStr in (field.annotation, *get_args(field.annotation)):
            found.add(f"CRP_{name.upper()}")
        for inner, it in getattr(field.annotation, "__dataclass_fields__", {}).items():
            if "SecretStr" in str(it.type):
                found.add(f"CRP_{name.upper()}__{inner.upper()}")
    return found


def holding_the_canary(*folders: Path) -> list[str]:
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return [str(path) for path in files if CANARY.encode() in path.read_bytes()]


CRP = ("-c", "from crp_pipeline.cli import main; main()")
NIGHT = ("-m", "crp_pipeline.nightly")


def words(home: Path, environment: dict[str, str], *said: str, of: tuple[str, ...] = CRP) -> str:
    """All that `crp`, or another program, says, whatever its exit code."""
    command = [sys.executable, *of, *said]
    ended = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    return ended.stdout + ended.stderr


def test_every_secret_setting_is_among_the_canaries():
    assert secret_settings() <= {*SECRETS, *(f"CRP_{name.upper()}" for name in NOT_SET_HERE)}


@pytest.mark.parametrize("word", ["password", "token", "webhook", "secret"])
def test_what_is_called_a_secret_has_the_type_of_one(word):
    plain = [
        f"{name}.{inner}"
        for name, field in PipelineSettings.model_fields.items()
        for inner, it in getattr(field.annotation, "__dataclass_fields__", {}).items()
        if word in inner and "SecretStr" not in str(it.type)
    ]
    assert plain == []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def environment(home):
    return home_of_a_night(home, small_settings(home / "data", coins=(COIN,)), **SECRETS)


def test_the_settings_in_force_are_shown_without_them(home, environment):
    told = words(home, environment, "settings")
    assert "webhook" in told
    assert CANARY not in told


@pytest.mark.parametrize("program", [(*CRP, "settings"), NIGHT], ids=["crp", "nightly"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"CRP_NOTIFY__WEBHOOK": f"gopher://{CANARY}"},
        {"CRP_NOTIFY": f'{{"webhook": "http://x/{CANARY}", "stale_hours": 0}}'},
        {"CRP_NOTIFY": f'{{"webhook": "http://x/{CANARY}"'},
        {"CRP_EXCHANGE": f'{{"client_options": {{"secret": "{CANARY}"}}'},
        {"CRP_EXCHANGE__CLIENT_OPTIONS": f'["{CANARY}"]'},
    ],
)
def test_a_refused_setting_is_told_without_them(wrong, program, home, environment):
    told = words(home, {**environment, **wrong}, of=program)
    assert "is not allowed" in told
    assert CANARY not in told


def test_a_notice_that_cannot_be_delivered_is_told_without_them(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    lines = []
    tell([Notice("failure", COIN, "title", "text")], load_settings(coins=(COIN,)).notify, log=lines.append)
    assert len(lines) > 1
    assert [line for line in map(str, lines) if CANARY in line] == []


def test_a_ray_cluster_is_given_none_and_its_nodes_take_their_own(monkeypatch, tmp_path):
    for name, value in {**SECRETS, "CRP_MLFLOW": f"http://{CANARY}@127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(coins=(COIN,))
    assert CANARY.encode() in pickle.dumps(settings)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assignment = RayCluster(settings, instance, address="nowhere")._assignment
    assert CANARY.encode() not in pickle.dumps(assignment)
    assert assignment.settings.with_secrets_of(load_settings()) == settings


@pytest.mark.slow
def test_a_night_and_its_report_hold_none(home, environment):
    night = start_night(home, environment, "--jobs", "2")
    code, log = night.wait(600), home / "night.log"
    assert code == 0, log.read_text()
    said = [words(home, environment, "report", "--coin", COIN), words(home, environment, "registry", "card", "--coin", COIN)]
    (home / "said.json").write_text(json.dumps(said))
    assert re.search(rf"nightly {COIN}: done", log.read_text())
    assert len(list((home / "data").rglob("*.db"))) > 3
    assert holding_the_canary(home) == []
