"""What the start of each function costs on Lambda: as plain `sam build` ships it, and as `make sam` does.

Each start is a process of the real runtime client over a copy of the artifact, with the wheels of this machine in place
of those for arm64. CPU is counted to the first question for work (import) and to the first answer, to an event whose
flow is not there: settings and keys, the clients, one read.
"""

import importlib.util
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.dynamodb.schema import create_table
from functions._adapters.http.cloudevents import write_structured
from functions._core.events.routes import ROUTES
from functions._hosts.entry import NAMES
from tests.aws.functions import Configuration, Environment
from tests.benchmarks.measure import usage
from tests.conftest import ROOT
from tests.support.aws_emulator import Aws
from tests.support.builders import make_event
from tests.support.dynamodb import Emulator

STARTS = 7
LIMIT = 0.4
STEPS = ("validate", "generate_tickets", "discover", "assign", "monitor", "publish_telemetry")


def artifact() -> Any:
    """Return the module that finishes what `sam build` has made."""
    spec = importlib.util.spec_from_file_location("artifact", ROOT / "infra" / "aws" / "artifact.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shipped(folder: Path) -> None:
    """Lay out our code and what lambda.txt names, without bytecode: what `sam build` makes."""
    text = (ROOT / "infra" / "requirements" / "lambda.txt").read_text()
    for name in re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if "__pycache__" not in file.parts and ".." not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(str(distribution.locate_file(file)), target)
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Give the artifact as it is shipped, and as it is finished."""
    plain, finished = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("finished")
    for folder in (plain, finished):
        shipped(folder)
    artifact().trim(finished, ROOT / "functions")
    artifact().strip(finished)
    artifact().compiled(finished, sys.executable)
    return {"sam build": plain, "make sam": finished}


def message(event_type: str) -> bytes:
    """Return a batch of one event whose flow is not there."""
    body = write_structured(make_event(1, event_type, data={}))[1].decode()
    record = {
        "messageId": "1",
        "receiptHandle": "none",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "eventSourceARN": "arn:aws:sqs:eu-central-1:000000000000:none",
        "eventSource": "aws:sqs",
    }
    return json.dumps({"Records": [record]}).encode()


async def started(name: str, root: Path, environment: Mapping[str, str], log: Path) -> tuple[float, float]:
    """Start a function; return the CPU of its import, and up to its first answer, in ms."""
    configuration = Configuration(name, f"functions.{name}.handler.lambda_handler", environment, root=root)
    process = Environment(configuration, "cold", log)
    await process.open()
    try:
        assert process.process is not None
        imported = usage(process.process.pid).cpu_ms
        event_type = next(event_type for event_type, route in ROUTES.items() if route.function == name)
        await process.invoke(message(event_type))
        return imported, usage(process.process.pid).cpu_ms
    finally:
        await process.close()


def test_what_is_left_of_an_import_is_known(artifacts: Mapping[str, Path]) -> None:
    environment = {"PYTHONPATH": str(artifacts["make sam"]), "AWS_LAMBDA_RUNTIME_API": "none"}
    command = [sys.executable, "-X", "importtime", "-c", "import functions.monitor.handler"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr.splitlines()
    spent: Counter[str] = Counter()
    for line in lines:
        mine, _, name = line.removeprefix("import time:").split("|")
        if mine.strip().isdigit():
            package = name.strip().split(".")[0]
            spent["Python" if package in sys.stdlib_module_names else package] += int(mine)
    total = sum(spent.values())
    print(f"\nimport of monitor as `make sam` ships it, {len(lines)} modules, {total / 1000:.0f} ms by -X importtime:")
    for package, microseconds in spent.most_common(9):
        print(f"  {package:24} {microseconds / total:5.0%}")
    assert spent["functions"] > 0
    assert not {"fastapi", "httptools", "uvicorn"} & set(spent)


async def test_a_cold_start_costs_less_than_half_of_what_plain_sam_build_ships(
    aws_services: Aws, dynamodb: Emulator, artifacts: Mapping[str, Path], tmp_path: Path
) -> None:
    await aws_services.of("dynamodb").call("create_table", create_table(aws_services.name))
    environment = {
        "AWS_ENDPOINT_URL": dynamodb.url,
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing can be written to /var/task
        "FLOWC_TABLE": aws_services.name,
        "FLOWC_BUS": "bus",
        "FLOWC_PUBLIC_URL": "https://flowc.example",
        "FLOWC_WORKER_KEY_SECRET": await aws_services.secret("key", "k" * 48),
    }
    print(f"\nCPU of a cold start, ms, median of {STARTS}: import, and with the first event")
    ratios: dict[str, float] = {}
    for name in STEPS:
        medians: dict[str, tuple[float, float]] = {}
        measured: dict[str, list[tuple[float, float]]] = {kind: [] for kind in artifacts}
        for _ in range(STARTS):  # by turns, so that both meet the same noise
            for kind, folder in artifacts.items():
                measured[kind].append(await started(name, folder, environment, tmp_path / "log"))
        for kind, found in measured.items():
            imports, totals = zip(*found, strict=True)
            medians[kind] = statistics.median(imports), statistics.median(totals)
        (plain_import, plain), (finished_import, finished) = medians["sam build"], medians["make sam"]
        ratios[name] = finished / plain
        print(
            f"{name:18} sam build {plain_import:5.0f} {plain:5.0f}   make sam {finished_import:5.0f} {finished:5.0f}"
            f"   ratio {finished_import / plain_import:.2f} {finished / plain:.2f}"
        )
    assert all(name in NAMES for name in STEPS)
    assert max(ratios.values()) <= LIMIT, ratios
