"""The values for the official chart say what the compose files say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from highwater.environment.settings import ROOT

FILE = ROOT / "docker/kubernetes/values.yaml"
VALUES: dict[str, Any] = yaml.safe_load(FILE.read_text())
MANIFESTS = list(yaml.safe_load_all((ROOT / "docker/kubernetes/workers.yaml").read_text()))
OWN_SIZE = {("core", "parallelism"), ("dag_processor", "parsing_processes")}
OWN_PACE = {("dag_processor", "refresh_interval"), ("dag_processor", "min_file_process_interval")}
OWN_PLACE = {("core", "simple_auth_manager_passwords_file")}
PLATFORM = "highwater-secrets"


def options(path: Path) -> dict[tuple[str, str], str]:
    """The settings of Airflow in a file of compose, by section and name."""
    found = re.findall(r"^ *AIRFLOW__([A-Z_]+?)__([A-Z_]+)[=:] *\"?([^\"\n]*)", path.read_text(), re.MULTILINE)
    return {(section.lower(), name.lower()): value for section, name, value in found}


@pytest.mark.parametrize("file", ["config/airflow.env", "docker-compose.yaml"])
def test_what_is_set_here_and_in_compose_is_set_alike(file: str) -> None:
    compose = {option: value for option, value in options(ROOT / file).items() if not value.startswith(("$", "!"))}
    here = {(section, name): value for section, names in VALUES["config"].items() for name, value in names.items()}
    both = compose.keys() & here.keys() - OWN_SIZE - OWN_PACE - OWN_PLACE
    assert len(both) >= 6
    assert {option: here[option] for option in both} == {option: compose[option] for option in both}


def test_a_worker_is_given_nothing_of_the_metadata() -> None:
    assert not any(VALUES["enableBuiltInSecretEnvVars"].values())
    worker = json.dumps([VALUES["workers"], VALUES["env"], VALUES["volumes"]])
    assert PLATFORM not in worker
    assert "metadata" not in worker
    assert not VALUES["workers"]["celery"]["waitForMigrations"]["enabled"]
    (egress,) = [found for found in MANIFESTS if found["spec"].get("policyTypes") == ["Egress"]]
    reached = [target for rule in egress["spec"]["egress"] for target in rule["to"]]
    components = {target["podSelector"]["matchLabels"]["component"] for target in reached if "podSelector" in target}
    assert components == {"api-server", "redis"}


def test_parallelism_is_what_all_workers_take() -> None:
    (scaled,) = [found for found in MANIFESTS if found["kind"] == "ScaledObject"]
    concurrency = int(VALUES["config"]["celery"]["worker_concurrency"])
    assert int(VALUES["config"]["core"]["parallelism"]) == scaled["spec"]["maxReplicaCount"] * concurrency
    assert int(scaled["spec"]["advanced"]["scalingModifiers"]["target"]) == concurrency
