"""What lies in `deploy/` cannot be started here: it is held to its schemas, to linters, and to what it names."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
import yaml

from crp_pipeline.cli import app
from crp_pipeline.settings.pipeline import _VARIABLES_OF_OTHERS, PipelineSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
HELM = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
GPU = yaml.safe_load((DEPLOY / "helm" / "gpu.yaml").read_text())
CLAIM = yaml.safe_load((DEPLOY / "helm" / "data.yaml").read_text())
EXAMPLES = {path.stem: path.read_text() for path in sorted(DEPLOY.glob("*.env.example"))}
CRP = set(typer.main.get_command(app).commands)
OURS = {name: it for name, it in COMPOSE["services"].items() if it["image"].startswith("crp-pipeline:")}
TEXTS = {str(path.relative_to(ROOT)): path.read_text() for path in sorted(DEPLOY.rglob("*")) if path.is_file()}
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|WEBHOOK|_URL$|ONLINE_STORE|MLFLOW|ROOT_USER)")
PUBLIC = {"AWS_ENDPOINT_URL", "CRP_ONLINE_STORE"}
"""Addresses inside the compose network, without a password."""
WITH_PASSWORD = re.compile(r"://[^/\s:@<]+:[^/\s@<]+@")
CHART = {
    "global": {"postgresqlSecretName", "dagsterHome"},
    "generatePostgresqlPasswordSecret": None,
    "postgresql": {"enabled", "postgresqlHost", "postgresqlUsername", "postgresqlDatabase", "service"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "deployments"},
    "runLauncher": {"type", "config"},
    "dagsterDaemon": {
        *("enabled", "image", "envSecrets", "podSecurityContext", "securityContext", "resources"),
        *("runCoordinator", "runMonitoring", "runRetries"),
    },
    "dagsterWebserver": {
        *("replicaCount", "image", "envSecrets", "podSecurityContext", "securityContext", "resources", "service"),
    },
    "ingress": {"enabled"},
    "telemetry": {"enabled"},
}
"""What the values may say, from the schema of Dagster's chart."""
DEPLOYMENT = {
    *("name", "image", "dagsterApiGrpcArgs", "port", "includeConfigInLaunchedRuns", "env", "envSecrets"),
    *("nodeSelector", "podSecurityContext", "securityContext", "resources", "volumes", "volumeMounts"),
}


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(it) for it in command], cwd=ROOT, capture_output=True, text=True, check=False)


def unknown_variables(text: str) -> set[str]:
    """Variables of this project that no setting answers to."""
    known = {f"CRP_{name.upper()}" for name in {*PipelineSettings.model_fields, *_VARIABLES_OF_OTHERS}}
    found = set(re.findall(r"\bCRP_[A-Z][A-Z0-9_]*", text))
    return {name for name in found if name.split("__")[0] not in known or not _has_field(name)}


def _has_field(name: str) -> bool:
    section, *rest = name.removeprefix("CRP_").lower().split("__")
    if not rest:
        return True
    return rest[0] in PipelineSettings.model_fields[section].annotation.__dataclass_fields__


def what_is_missing(command: list[str]) -> Iterator[str]:
    """Programs, modules and commands of `crp` that a command line names and that are not there."""
    program, *words = command
    if program != "python" and not (BIN / program).exists():
        yield program
    modules = [after for before, after in pairwise(words) if before == "-m"]
    yield from (name for name in modules if find_spec(name) is None)
    if program == "crp" and words[0] not in CRP:
        yield f"crp {words[0]}"
    for source in [after for before, after in pairwise(words) if before == "-c" and program == "python"]:
        compile(source, "compose.yaml", "exec")


def literal_secrets(text: str) -> list[str]:
    """Lines that give a value to what a secret is called, or a password inside a URL."""
    pairs = re.findall(r"^[ \t]*-?[ \t]*([A-Z][A-Z0-9_]+)[ \t]*[:=][ \t]*(\S.*)$", text, re.MULTILINE)
    named = [name for name, value in pairs if SECRET.search(name) and name not in PUBLIC and value]
    return [*named, *WITH_PASSWORD.findall(text)]


def test_every_yaml_file_is_in_order():
    result = run(BIN / "yamllint", "--strict", "-c", DEPLOY / "yamllint.yaml", DEPLOY, "dagster.yaml", "workspace.yaml")
    assert result.returncode == 0, result.stdout


def test_the_dockerfile_passes_hadolint():
    result = run(BIN / "hadolint", DEPLOY / "Dockerfile")
    assert result.returncode == 0, result.stdout


def test_the_compose_file_keeps_the_schema_of_compose():
    result = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("file", TEXTS)
def test_every_variable_is_a_setting(file):
    assert unknown_variables(TEXTS[file]) == set()


@pytest.mark.parametrize("text", ["CRP_TREADS=1", "CRP_NOTIFY__WEBHOCK=x", "env: {CRP_DAGSTER_URL: x}"])
def test_a_variable_that_is_none_is_found(text):
    assert unknown_variables(text)


@pytest.mark.parametrize("file", TEXTS)
def test_no_file_holds_a_secret(file):
    assert literal_secrets(TEXTS[file]) == []


@pytest.mark.parametrize(
    "text", ["POSTGRES_PASSWORD: hunter2", "CRP_SERVE_TOKEN=abc", "  - AWS_SECRET_ACCESS_KEY=x", "redis://me:pw@redis:6379/0"]
)
def test_a_secret_is_found(text):
    assert literal_secrets(text)


def test_the_file_of_secrets_is_kept_out_of_git_and_of_the_image():
    for name in EXAMPLES:
        assert run("git", "check-ignore", "-q", DEPLOY / name).returncode == 0
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert allowed[0] == "*"
    assert not [line for line in allowed if line.startswith("!") and (".env" in line or line == "!deploy")]


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name):
    service = OURS[name]
    lines = [service.get("command", []), service.get("healthcheck", {}).get("test", ["CMD"])[1:]]
    assert [missing for line in lines if line for missing in what_is_missing([str(word) for word in line])] == []


def test_the_commands_of_the_image_and_of_the_instructions_exist():
    told = [yaml.safe_load(line.split("CMD ", 1)[1]) for line in DOCKERFILE.splitlines() if re.search(r"\bCMD \[", line)]
    assert len(told) == 2
    comments = [line.split(" code ", 1)[1] for line in TEXTS["deploy/compose.yaml"].splitlines() if "run --rm code" in line]
    for command in [*told, *map(shlex.split, comments)]:
        assert list(what_is_missing(command)) == []


@pytest.mark.parametrize("command", ["dagster-demon run", "python -m crp_pipeline.nightlie", "crp serv --port 1"])
def test_a_command_that_does_not_exist_is_found(command):
    assert list(what_is_missing(command.split()))


def test_the_image_has_the_extras_and_files_that_it_names():
    [extras] = re.findall(r'"\.\[\$\{COMPUTE\},([a-z0-9,]+)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert set(copied) == allowed


def test_nothing_runs_as_root():
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == ["10001"]
    deployments = HELM["dagster-user-deployments"]["deployments"]
    for part in [*deployments, HELM["dagsterDaemon"], HELM["dagsterWebserver"]]:
        assert part["podSecurityContext"] | {"runAsUser": 10001, "runAsNonRoot": True} == part["podSecurityContext"]
        assert part["securityContext"]["allowPrivilegeEscalation"] is False


def test_ports_are_published_on_the_loopback_interface_only_and_lead_to_a_listener():
    published = {name: it["ports"] for name, it in COMPOSE["services"].items() if "ports" in it}
    assert set(published) == {"webserver", "signals"}
    for name, ports in published.items():
        [(host, outer, inner)] = [port.split(":") for port in ports]
        assert host == "127.0.0.1"
        assert inner in COMPOSE["services"][name]["command"]
        assert outer == inner
        assert f":{inner}" in str(COMPOSE["services"][name]["healthcheck"]) or inner in str(
            COMPOSE["services"][name]["healthcheck"]
        )


def test_the_code_location_is_where_everyone_looks_for_it():
    [server] = [it["grpc_server"] for it in yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]]
    [local] = [it["python_module"] for it in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]]
    [deployment] = HELM["dagster-user-deployments"]["deployments"]
    assert server["host"] in COMPOSE["services"]
    assert server["location_name"] == local["location_name"]
    assert f'"-p", "{server["port"]}", "-m", "{local["module_name"]}"' in DOCKERFILE
    assert deployment["port"] == server["port"]
    assert deployment["dagsterApiGrpcArgs"] == ["-m", local["module_name"]]


def test_images_are_of_this_version_and_of_one_name():
    tags = {it["image"] for it in OURS.values()}
    assert tags == {f"crp-pipeline:{PROJECT['version']}"}
    [deployment] = HELM["dagster-user-deployments"]["deployments"]
    for image in (deployment["image"], HELM["dagsterDaemon"]["image"], HELM["dagsterWebserver"]["image"]):
        assert image["tag"] == PROJECT["version"]
    assert [name for name, it in COMPOSE["services"].items() if ":" not in it["image"]] == []


def test_named_volumes_and_dependencies_are_there():
    for service in COMPOSE["services"].values():
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        for other, how in service.get("depends_on", {}).items():
            waits = how["condition"] == "service_healthy"
            has_check = "healthcheck" in COMPOSE["services"][other] or other == "code"  # the image has one of its own
            assert has_check or not waits


def test_a_service_without_a_check_of_its_own_speaks_what_the_image_checks():
    for name, service in OURS.items():
        assert "healthcheck" in service or "command" not in service or service["restart"] == "no", name


def test_helm_says_only_what_the_chart_knows():
    for values in (HELM, GPU):
        assert set(values) <= set(CHART)
        for part, keys in CHART.items():
            assert keys is None or set(values.get(part, {})) <= keys, part
    [deployment] = HELM["dagster-user-deployments"]["deployments"]
    assert set(deployment) <= DEPLOYMENT


@pytest.mark.parametrize("values", [HELM, GPU], ids=["values", "gpu"])
def test_what_a_run_is_launched_with_is_kubernetes(values):
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    told = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    snake = {re.sub(r"([A-Z])", lambda it: f"_{it[1].lower()}", key): value for key, value in told.items()}
    known = UserDefinedDagsterK8sConfig.from_dict(snake)
    assert known.container_config["resources"]
    assert known.pod_spec_config["node_selector"].keys() == {"crp-pipeline/pool"}


def test_code_server_and_runs_mount_one_volume_that_many_pods_may_write():
    [deployment] = HELM["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert deployment["volumeMounts"] == [{"name": "data", "mountPath": deployment["env"]["CRP_DATA_DIR"]}]
    [volume] = deployment["volumes"]
    assert volume == {"name": "data", "persistentVolumeClaim": {"claimName": CLAIM["metadata"]["name"]}}
    assert CLAIM["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "CRP_STORAGE" not in deployment["env"], "one or the other"
    of_runs = HELM["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert "volumes" not in of_runs["podSpecConfig"], "runs inherit them, and a pod has one volume of a name"
    assert "volumeMounts" not in of_runs["containerConfig"]


def example(name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in EXAMPLES[name].splitlines() if line and not line.startswith("#"))


def test_every_secret_of_the_examples_is_empty_and_the_rest_is_not():
    pairs = {name: value for file in EXAMPLES for name, value in example(file).items()}
    assert {name for name, value in pairs.items() if value} == {"POSTGRES_USER", "POSTGRES_DB"}


def test_nobody_is_given_the_secrets_of_another():
    given = {name: it["env_file"] for name, it in COMPOSE["services"].items() if "env_file" in it}
    assert given == {"postgres": ["postgres.env"], "objects": ["objects.env"], **{name: ["secrets.env"] for name in OURS}}
    names = [name for file in EXAMPLES for name in example(file)]
    assert len(names) == len(set(names))
    assert all(name.startswith(("CRP_", "AWS_")) for name in example("secrets.env"))


def test_decisions_are_written_where_they_are_read():
    writes, reads = (COMPOSE["services"][name]["environment"]["CRP_ONLINE_STORE"] for name in ("code", "signals"))
    assert writes == reads
    store = urlsplit(writes).hostname
    assert "profiles" not in COMPOSE["services"][store], "runs write whether or not anybody serves"
    assert {"code", "signals"} <= {name for name, it in OURS.items() if store in it["depends_on"]}
