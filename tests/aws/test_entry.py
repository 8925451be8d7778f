"""What Lambda calls, by the real runtime client: batches, requests, keys from secrets, traces."""

import asyncio
import importlib.util
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.dynamodb.schema import create_table
from functions._adapters.http.cloudevents import write_structured
from functions._core.events.routes import ROUTES
from functions._hosts.entry import NAMES
from tests.aws.functions import Configuration, Environment, FunctionError
from tests.conftest import ROOT
from tests.support.aws_emulator import Aws
from tests.support.builders import make_event

SQS = "arn:aws:sqs:eu-central-1:000000000000:none"


@pytest.fixture
async def environment(aws_services: Aws, dynamodb: Any) -> AsyncIterator[Mapping[str, str]]:
    await aws_services.of("dynamodb").call("create_table", create_table(aws_services.name))
    yield {
        "AWS_ENDPOINT_URL": dynamodb.url,
        "FLOWC_TABLE": aws_services.name,
        "FLOWC_BUS": "none",
        "FLOWC_PUBLIC_URL": "https://flowc.example",
        "FLOWC_WORKER_KEY_SECRET": await aws_services.secret("worker", "w" * 48),
        "FLOWC_API_KEY_SECRET": await aws_services.secret("api", "a" * 48),
    }
    await aws_services.of("dynamodb").call("delete_table", {"TableName": aws_services.name})


@asynccontextmanager
async def started(
    name: str, environment: Mapping[str, str], folder: Path, sampled: int = 0, root: Path = ROOT
) -> AsyncIterator[Any]:
    """Start a function of the code in `root`; give what invokes it."""
    handler = f"functions.{name}.handler.lambda_handler"
    configuration = Configuration(name, handler, environment, sampled=sampled, root=root)
    process = Environment(configuration, "entry", folder / "log")
    await process.open()

    async def invoke(event: Mapping[str, Any]) -> Any:
        return json.loads(await process.invoke(json.dumps(event).encode()))

    try:
        yield invoke
    finally:
        await process.close()


def batch(*bodies: str) -> Mapping[str, Any]:
    """Return messages as a queue hands them over."""
    return {
        "Records": [
            {
                "messageId": str(number),
                "receiptHandle": "none",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSourceARN": SQS,
                "eventSource": "aws:sqs",
            }
            for number, body in enumerate(bodies)
        ]
    }


def of_no_flow(event_type: str = "decision.consolidated") -> str:
    """Return an event whose flow is not there."""
    data = {"flow_id": "f", "decision_id": "d", "plan_id": "p", "intent_id": "i"}
    return write_structured(make_event(1, event_type, data=data))[1].decode()


def request(path: str, **context: Any) -> Mapping[str, Any]:
    """Return a request as the gateway passes it on."""
    return {
        "version": "2.0",
        "rawQueryString": "",
        "headers": {"host": "flowc.example"},
        "requestContext": {"http": {"method": "GET", "path": path, "sourceIp": "203.0.113.9"}, **context},
        "isBase64Encoded": False,
    }


async def test_of_a_batch_only_what_was_not_handled_stays(environment: Mapping[str, str], tmp_path: Path) -> None:
    async with started("validate", environment, tmp_path) as invoke:
        assert await invoke(batch("garbage", of_no_flow())) == {"batchItemFailures": [{"itemIdentifier": "1"}]}
        with pytest.raises(FunctionError, match="takes batches of SQS"):
            await invoke({"source": "aws.events"})
        assert await invoke(batch("garbage")) == {"batchItemFailures": []}


async def test_a_secret_that_is_not_there_is_named_and_asked_for_again(
    aws_services: Aws, environment: Mapping[str, str], tmp_path: Path
) -> None:
    name = f"{aws_services.name}-late"
    async with started("validate", {**environment, "FLOWC_WORKER_KEY_SECRET": name}, tmp_path) as invoke:
        with pytest.raises(FunctionError, match="ResourceNotFoundException"):
            await invoke(batch("garbage"))
        await aws_services.secret("late", "w" * 48)
        assert await invoke(batch("garbage")) == {"batchItemFailures": []}


async def test_who_has_passed_an_authoriser_of_the_gateway_needs_no_key(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    async with started("api", environment, tmp_path) as invoke:
        assert (await invoke(request("/api/v1/flows")))["statusCode"] == 401
        authorised = request("/api/v1/flows", authorizer={"jwt": {"claims": {"sub": "me"}, "scopes": None}})
        answer = await invoke(authorised)
        assert (answer["statusCode"], json.loads(answer["body"])["items"]) == (200, [])
        assert (await invoke(request("/api/v1/flows")))["statusCode"] == 401


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give our code as the artifact has it, where nothing else of ours and no package of other platforms is found."""
    spec = importlib.util.spec_from_file_location("artifact", ROOT / "infra" / "aws" / "artifact.py")
    assert spec is not None
    assert spec.loader is not None
    artifact = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(artifact)
    folder = tmp_path_factory.mktemp("artifact")
    shutil.copytree(ROOT / "functions", folder / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    assert artifact.trim(folder, ROOT / "functions") > 0
    absent = f"import sys\nsys.modules.update(dict.fromkeys({sorted(artifact.ELSEWHERE)}))\n"
    (folder / "sitecustomize.py").write_text(absent)  # Python imports it first of all
    return folder


FIRST = {
    **{route.function: event_type for event_type, route in ROUTES.items()},
    "enforce_sla": "clock.ticked",
    "track_workers": "worker.heartbeat",
    "dead_letter": "flow.completed",
    "learn": "clock.ticked",
    "analyze": "clock.ticked",
}
"""An event for each function but the api."""


@pytest.mark.parametrize("name", NAMES)
async def test_a_function_needs_no_module_that_the_artifact_leaves_out(
    environment: Mapping[str, str], trimmed: Path, tmp_path: Path, name: str
) -> None:
    variables = {**environment, "FLOWC_OUTSIDE_QUEUE": "arn:aws:sqs:eu-central-1:000000000000:api"}
    variables |= {"FLOWC_LEARNING": "on", "FLOWC_INSIGHTS": "true"}
    async with started(name, variables, tmp_path, root=trimmed) as invoke:
        if name == "api":
            authorised = request("/api/v1/flows", authorizer={"jwt": {"claims": {"sub": "me"}, "scopes": None}})
            assert (await invoke(authorised))["statusCode"] == 200
        assert (await invoke(batch(of_no_flow(FIRST.get(name, "flow.completed"))))).keys() == {"batchItemFailures"}
    log = (tmp_path / "log").read_text()
    assert "ImportError" not in log
    assert "ModuleNotFoundError" not in log
    assert f"{name}.failed" not in log


class Daemon(asyncio.DatagramProtocol):
    """Takes what is sent to the daemon of X-Ray: a header, and a segment."""

    def __init__(self) -> None:
        self.segments: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:  # noqa: ARG002 there is one sender
        self.segments.put_nowait(json.loads(data.split(b"\n", 1)[1]))


@pytest.mark.parametrize("disabled", ["false", "true"])
async def test_an_invocation_is_a_subsegment_of_its_trace_if_tracing_is_on(
    environment: Mapping[str, str], tmp_path: Path, disabled: str
) -> None:
    loop = asyncio.get_running_loop()
    transport, daemon = await loop.create_datagram_endpoint(Daemon, local_addr=("127.0.0.1", 0))
    host, port = transport.get_extra_info("sockname")
    told = {"POWERTOOLS_TRACE_DISABLED": disabled, "AWS_XRAY_DAEMON_ADDRESS": f"{host}:{port}"}
    try:
        async with started("validate", {**environment, **told}, tmp_path, sampled=1) as invoke:
            await invoke(batch(of_no_flow()))
            if disabled == "true":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(daemon.segments.get(), 1)
                return
            segment = await asyncio.wait_for(daemon.segments.get(), 10)
    finally:
        transport.close()
    assert segment["name"] == "## validate"
    assert segment["annotations"] == {"function": "validate", "flow_id": make_event(1).extensions["partitionkey"]}
