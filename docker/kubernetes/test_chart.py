"""The official chart takes the values: for `pytest docker/kubernetes` with HIGHWATER_AIRFLOW_CHART, an unpacked one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

FILE = Path(__file__).with_name("values.yaml")
PLATFORM = "highwater-secrets"


def chart() -> Path:
    """The unpacked chart."""
    folder = os.environ.get("HIGHWATER_AIRFLOW_CHART")
    assert folder, (
        "HIGHWATER_AIRFLOW_CHART must name the folder of an unpacked chart: helm pull apache-airflow/airflow --untar"
    )
    return Path(folder)


def test_the_charts_schema_takes_the_values() -> None:
    schema = json.loads((chart() / "values.schema.json").read_text())
    problems = [
        f"{list(e.path)}: {e.message[:200]}"
        for e in jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load(FILE.read_text()))
    ]
    assert problems == []


def test_helm_renders_workers_without_the_platforms_secrets() -> None:
    folder = chart()
    if not shutil.which("helm"):
        pytest.skip("helm is not here: what the chart makes of the values is left out")
    done = subprocess.run(
        ["helm", "template", "highwater", str(folder), "--namespace", "highwater", "--values", str(FILE)],
        check=True,
        capture_output=True,
        text=True,
    )
    made = {found["metadata"]["name"]: found for found in yaml.safe_load_all(done.stdout) if found}
    assert PLATFORM in json.dumps(made["highwater-scheduler"])
    assert PLATFORM not in json.dumps(made["highwater-worker"])
    assert "KEDA_DB_CONN" not in json.dumps(made["highwater-worker"])
