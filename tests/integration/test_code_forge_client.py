"""The clients of the code forge against a real platform and a worker that reports over HTTP; and `flowc forge`."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flowc.client import (
    CodeForgeClient,
    Conflicting,
    Invalid,
    NotEnded,
    NotFound,
    RetryPolicy,
    SyncCodeForgeClient,
)
from functions._core.forge.stages import STAGES
from tests.support.one_machine import OneMachine, one_machine
from tests.support.pipelines import ForgeWorker, forge_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = RetryPolicy(first_pause=0.01, longest_pause=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("client")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def worker(machine: OneMachine) -> AsyncIterator[ForgeWorker]:
    async with forge_worker(machine.client) as working:
        yield working


async def test_a_pipeline_is_triggered_once_for_a_ticket_and_waited_for(
    machine: OneMachine, worker: ForgeWorker
) -> None:
    async with CodeForgeClient(machine.url, retry=QUICK) as client:
        pipeline_id = await client.trigger_pipeline("build-1", "python-service", {"language": "python", "port": 80})
        again = await client.trigger_pipeline("build-1", "python-service", {"language": "python", "port": 80})
        assert again == pipeline_id
        with pytest.raises(Conflicting) as reused:
            await client.trigger_pipeline("build-1", "python-library")
        assert reused.value.code == "key_reused"
        done = await client.wait(pipeline_id, timeout_seconds=30)
        assert (done.status, done.artifact_id, done.ticket_id) == ("COMPLETED", "build-1", "build-1")
        assert [stage.name for stage in done.stages] == list(STAGES)
        assert done.artifacts[0]["artifact_type"] == "CODE"
        assert (await client.get_artifacts(pipeline_id))["items"][0]["name"].endswith(".whl")
        assert (await client.cancel(pipeline_id)).status == "COMPLETED"
    assert worker.parameters(pipeline_id)["compose_code"]["inputs"] == {"port": 80}


async def test_what_the_forge_refuses_is_an_exception(machine: OneMachine) -> None:
    async with CodeForgeClient(machine.url, retry=QUICK) as client:
        with pytest.raises(Invalid) as unknown:
            await client.trigger_pipeline(artifact_id="acme/shop", template_id="no-such-template")
        assert unknown.value.code == "no_template"
        with pytest.raises(NotFound):
            await client.get_pipeline_status("no-such-pipeline")
        with pytest.raises(ValueError, match="name one of them"):
            await client.trigger_pipeline()


async def test_plain_programs_have_the_same_calls(machine: OneMachine, worker: ForgeWorker) -> None:
    worker.held.add("compose_code")

    def course() -> tuple[str, str]:
        with SyncCodeForgeClient(machine.url, retry=QUICK) as client:
            pipeline_id = client.trigger_pipeline(artifact_id="acme/shop", idempotency_key="k-1")
            assert client.trigger_pipeline(artifact_id="acme/shop", idempotency_key="k-1") == pipeline_id
            with pytest.raises(NotEnded):
                client.wait(pipeline_id, timeout_seconds=0.3)
            client.cancel(pipeline_id, "no longer wanted")
            return pipeline_id, client.wait(pipeline_id, timeout_seconds=30).status

    pipeline_id, status = await asyncio.to_thread(course)
    assert status == "CANCELLED"
    history = await machine.history(pipeline_id)
    assert any("no longer wanted" in json.dumps(entry) for entry in history)


async def test_the_command_line_lists_shows_and_begins_pipelines(machine: OneMachine, worker: ForgeWorker) -> None:
    async def said(*words: str, exit_status: int = 0) -> str:
        # A process of its own: what the platform of this one logs is not what the command prints.
        command = (sys.executable, "-m", "functions", "forge", *words, "--url", machine.url)
        process = await asyncio.create_subprocess_exec(
            *command, stdout=PIPE, stderr=PIPE, env={**os.environ, "COLUMNS": "160"}
        )
        out, err = await process.communicate()
        assert process.returncode == exit_status, (out, err)
        return out.decode()

    begun = json.loads(await said("build", "acme/tool", "-p", "language=python", "-p", "port=80", "--json"))
    pipeline_id = begun["pipeline_id"]
    shown = json.loads(await said("show", pipeline_id, "--watch", "--json"))
    assert (shown["status"], shown["artifact_id"]) == ("COMPLETED", "acme/tool")
    assert worker.parameters(pipeline_id)["compose_code"]["inputs"] == {"port": 80}
    text = await said("show", pipeline_id)
    assert all(stage in text for stage in STAGES)
    assert "shop-0.1.0-py3-none-any.whl" in text
    listed = await said("list", "--status", "completed")
    assert pipeline_id in listed
    assert "acme/tool" in listed
    assert "terraform-module" in await said("templates")
    failure = {"type": "bad_template", "message": "the template is odd", "retryable": False}
    worker.failures["compose_code"].append(failure)
    failed = json.loads(await said("build", "acme/odd", "-p", "language=python", "--watch", "--json", exit_status=1))
    text = await said("show", failed["pipeline_id"])
    assert text.count("the template is odd") == 2, "the stage that failed, and the pipeline"
    await said("show", "no-such-pipeline", exit_status=1)
    await said("build", "acme/tool", "-p", "port", exit_status=2)
