"""`flowc slo apply` and `delete -f` against the platform of one machine, with the documents of `examples/slo`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from functions._core.slo import stored
from tests.conftest import ROOT
from tests.support.command_line import flowc
from tests.support.one_machine import OneMachine, one_machine
from tests.unit.test_slo_documents import policy, slo

EXAMPLES = sorted((ROOT / "examples" / "slo").glob("*.yaml"))
MANY = "---\n".join(path.read_text(encoding="utf-8") for path in EXAMPLES)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


async def apply(platform: OneMachine, documents: object, *words: str, command: str = "apply") -> Result:
    text = documents if isinstance(documents, str) else yaml.safe_dump_all(documents)
    return await asyncio.to_thread(
        lambda: flowc("slo", command, "-f", "-", *words, "--url", platform.url, stdin=text)  # as a user's shell does
    )


async def done(platform: OneMachine, documents: object, *words: str, command: str = "apply") -> list[str]:
    result = await apply(platform, documents, *words, command=command)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


async def test_the_examples_are_six_documents_and_one_of_openslo_and_all_are_applied(platform: OneMachine) -> None:
    lines = await done(platform, MANY, "--dry-run")
    assert all(line.endswith("would be created") for line in lines)
    entries = platform.running.ports.key_values
    assert (await stored.slos(entries), await stored.policies(entries)) == ([], [])
    lines = await done(platform, MANY)
    assert sorted(lines) == [
        "SLAPolicy/freeze-everything created",
        "SLAPolicy/freeze-gateway created",
        "SLAPolicy/freeze-orchestration created",
        "SLO/checkout-availability created",
        "SLODefinition/business-specialist-errors created",
        "SLODefinition/gateway-availability created",
        "SLODefinition/orchestrator-latency created",
    ]
    slos = {one.service_name: one for one in await stored.slos(entries)}
    policies = {one.name: one for one in await stored.policies(entries)}
    concerned = {name: sorted(n for n, one in slos.items() if found.concerns(one)) for name, found in policies.items()}
    assert concerned == {
        "global freeze": ["business-specialist", "checkout", "gateway", "orchestrator"],
        "gateway freeze": ["gateway"],
        "orchestration freeze": ["orchestrator"],
    }
    assert {line.split()[1] for line in await done(platform, MANY)} == {"unchanged"}
    assert {line.split()[1] for line in await done(platform, MANY, command="delete")} == {"deleted"}
    assert not any(one.enabled for one in (*await stored.slos(entries), *await stored.policies(entries)))
    assert all(line.endswith("was not there") for line in await done(platform, MANY, command="delete"))


async def test_nothing_is_sent_while_one_document_has_a_fault(platform: OneMachine) -> None:
    result = await apply(platform, [slo(), policy(triggerThreshold=60)])
    assert result.exit_code == 2
    assert "document 2: spec: triggerThreshold is above unfreezeThreshold" in result.stderr
    assert await stored.slos(platform.running.ports.key_values) == []
    for nothing in ("", "---\n", "{"):
        assert (await apply(platform, nothing)).exit_code == 2


async def test_the_namespace_is_that_of_documents_that_name_none(platform: OneMachine) -> None:
    documents = [slo(), slo({"name": "other", "namespace": "prod"})]
    await done(platform, documents, "--namespace", "staging")
    found = {one.name: one.namespace for one in await stored.slos(platform.running.ports.key_values)}
    assert found == {"latency": "staging", "other": "prod"}


async def test_one_that_the_platform_refuses_keeps_no_other_from_being_applied(platform: OneMachine) -> None:
    twice = [slo(), slo({"name": "other"}, name="latency"), policy()]
    result = await apply(platform, twice)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["SLODefinition/latency created", "SLAPolicy/gate created"]
    assert "SLODefinition/other" in result.stderr
    shown: dict[str, Any] = json.loads((await apply(platform, [slo(windowDays=3)], "--json")).stdout)
    assert [(one["result"], one["status"]["synced"]) for one in shown["items"]] == [("changed", True)]
