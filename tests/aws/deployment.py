"""A stack at work: every function as its own processes, its queues polled, its schedules fired, its API served.

It is test equipment. The resources are the emulator's; what runs them is here.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from tests.aws.faults import Faults
from tests.aws.functions import Function
from tests.aws.http_api import HttpApi
from tests.aws.rights import Rights
from tests.aws.sqs import Again, EventSource
from tests.aws.stack import ARN, REGION, Cloud, Stack
from tests.aws.template import current
from tests.aws.wire import Call, Wire, size_of_item
from tests.conftest import ROOT
from tests.support.dynamodb import ENVIRONMENT

Json = Any


@dataclass
class Conditions:
    """Under which a stack works: `speed` says how many times sooner than the template says what failed comes again.

    `haste` says the same of what a function itself puts off. The schedules fire every `tick_s` seconds, if at all; a
    function has one environment if `at_once` does not say more.
    """

    speed: float = 1
    haste: float = 1
    tick_s: float | None = None
    at_once: Mapping[str, int] = field(default_factory=dict)
    again: Again = field(default_factory=Again)
    faults: Faults = field(default_factory=lambda: Faults(on=False))
    root: Path = ROOT
    """Where the functions' code is."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What functions are told otherwise than by the template."""


@dataclass
class Deployment:
    """What runs; functions and queues go by their logical ids."""

    stack: Stack
    wire: Wire
    rights: Rights
    conditions: Conditions
    api: HttpApi
    functions: dict[str, Function]
    sources: dict[str, list[EventSource]]
    _aws: Mapping[str, Any]
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def put(self, bus: str, *events: Mapping[str, Json]) -> None:
        """Put CloudEvents on a bus, as a user's own code would."""
        name = self.stack.made[bus]["Ref"]
        entries = [
            {"EventBusName": name, "Source": one["source"], "DetailType": one["type"], "Detail": json.dumps(one)}
            for one in events
        ]
        answer = await self._aws["events"].put_events(Entries=entries)
        assert not answer["FailedEntryCount"], answer
        self._put(entries)

    async def send(self, queue: str, body: str) -> str:
        """Send a message to a queue; return its id."""
        made = self.stack.made[queue]
        answer = await self._aws["sqs"].send_message(QueueUrl=made["Ref"], MessageBody=body)
        self._wake({made["Arn"]})
        return str(answer["MessageId"])

    async def depth(self, queue: str) -> int:
        """Return how many messages a queue holds: to be seen, in flight, or delayed."""
        answer = await self._aws["sqs"].get_queue_attributes(
            QueueUrl=self.stack.made[queue]["Ref"], AttributeNames=["All"]
        )
        kinds = ("", "NotVisible", "Delayed")
        return sum(int(answer["Attributes"][f"ApproximateNumberOfMessages{kind}"]) for kind in kinds)

    async def largest_item(self) -> int:
        """Return the bytes of the largest item in the tables."""
        found = 0
        for name in self.stack.template.resources("AWS::DynamoDB::Table"):
            pages = self._aws["dynamodb"].get_paginator("scan").paginate(TableName=self.stack.made[name]["Ref"])
            async for page in pages:
                found = max([found, *map(size_of_item, page["Items"])])
        return found

    def calls(self, function: str) -> Mapping[str, int]:
        """Return how often a function has called what."""
        name = self.stack.made[function]["Ref"]
        return {call: count for (caller, call), count in self.wire.calls.items() if caller == name}

    def errors(self) -> dict[str, list[Mapping[str, Any]]]:
        """Return what functions have raised, timed out or died of."""
        return {name: function.errors for name, function in self.functions.items() if function.errors}

    async def fire(self) -> None:
        """Do what each schedule does when its time has come."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, target in self.stack.schedules().items():
            said = target["Input"]
            meant = {"execution-id": str(uuid4()), "scheduled-time": now, "attempt-number": "1", "schedule-arn": name}
            for attribute, value in meant.items():
                said = said.replace(f"<aws.scheduler.{attribute}>", value)
            how = target["EventBridgeParameters"]
            entry = {"EventBusName": target["Arn"], "Source": how["Source"], "DetailType": how["DetailType"]}
            entries = [{**entry, "Detail": said}]
            answer = await self._aws["events"].put_events(Entries=entries)
            assert not answer["FailedEntryCount"], answer
            self._put(entries)

    def account(self) -> str:
        """Tell what became of the functions, for who looks for a cause."""
        lines = [f"faults: {dict(self.conditions.faults.done)}, came twice: {self.conditions.again.delivered}"]
        for name, function in self.functions.items():
            batches = [dict(source.counts) for source in self.sources.get(name, ())]
            lines.append(f"{name}: {dict(function.counts)} {batches} {function.errors}")
        return "\n".join(lines)

    def kill(self, caller: str) -> None:
        """Kill the environment that calls with an access key, as `kill -9` does."""
        for function in self.functions.values():
            if caller in function.environments:
                function.environments[caller].kill()

    def begin(self) -> None:
        """Poll the queues, and fire the schedules every so often if at all."""
        sources = [source for found in self.sources.values() for source in found]
        self._tasks += [asyncio.create_task(source.run()) for source in sources]
        if self.conditions.tick_s is not None:
            self._tasks.append(asyncio.create_task(self._ticking(self.conditions.tick_s)))

    async def stop(self) -> None:
        """End what `begin` began; raise what ended it before."""
        for task in self._tasks:
            task.cancel()
        found = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in found:
            if isinstance(error, Exception):
                raise error

    async def _ticking(self, seconds: float) -> None:
        while True:
            await self.fire()
            await asyncio.sleep(seconds)

    def sent(self, call: Call) -> None:
        """Let the queues be looked at into which a call has put something, or in which it has put something off."""
        arguments = call.json
        if call.name == "events.PutEvents":
            self._put(arguments["Entries"])
            return
        after = arguments.get("DelaySeconds", arguments.get("VisibilityTimeout", 0))
        self._wake({arguments["QueueUrl"]}, after)

    def _put(self, entries: Sequence[Mapping[str, Json]]) -> None:
        for entry in entries:
            self._wake(self.stack.queues_of(entry["EventBusName"], entry["DetailType"]))

    def _wake(self, queues: Collection[str], after: float = 0) -> None:
        """Let queues be looked at in `after` seconds; they go by URL or ARN."""
        for sources in self.sources.values():
            for source in sources:
                if source.mapped.queue_arn in queues or source.mapped.queue_url in queues:
                    source.wake(after)


@asynccontextmanager
async def deployed(
    folder: Path,
    cloud: Cloud,
    conditions: Conditions,
    *,
    document: Mapping[str, Json] | None = None,
    parameters: Mapping[str, str] | None = None,
) -> AsyncIterator[Deployment]:
    """Deploy a template, ours unless one is given, for as long as the context is open."""
    async with AsyncExitStack() as stack:
        wire = Wire(cloud.url_of, between=conditions.faults, haste=conditions.haste)
        api = HttpApi()
        await stack.enter_async_context(wire.serving())
        await api.open()
        stack.push_async_callback(api.close)
        made = Stack(cloud, parameters or {}, api.url, current() if document is None else document)
        stack.push_async_callback(asyncio.to_thread, made.delete)
        await asyncio.to_thread(made.create)
        aws = {service: await stack.enter_async_context(_client(cloud, service)) for service in SERVICES}
        functions = _functions(made, wire, folder, conditions)
        for function in functions.values():
            stack.push_async_callback(function.close)
        stack.push_async_callback(api.close)  # again, but before the functions
        names = {function.configuration.name: function for function in functions.values()}
        api.routes = {route: names[name] for route, name in made.routes().items()}
        rights = Rights(ARN, made.statements())
        wire.refusal = rights.refusal
        how: dict[str, Any] = {"speed": conditions.speed, "again": conditions.again, "postponed": wire.postponed}
        sources = {
            name: [EventSource(aws["sqs"], one, functions[name], **how) for one in found]
            for name, found in made.mappings().items()
        }
        running = Deployment(made, wire, rights, conditions, api, functions, sources, aws)
        wire.sent, conditions.faults.kill = running.sent, running.kill
        stack.push_async_callback(running.stop)
        running.begin()
        yield running


SERVICES = ("dynamodb", "events", "sqs")


def _client(cloud: Cloud, service: str) -> Any:
    return get_session().create_client(
        service,
        region_name=REGION,
        endpoint_url=cloud.url_of(service),
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        config=AioConfig(max_pool_connections=64),
    )


def _functions(made: Stack, wire: Wire, folder: Path, conditions: Conditions) -> dict[str, Function]:
    functions = {}
    for name, configuration in made.functions().items():
        environment = {**configuration.environment, **conditions.settings, "AWS_ENDPOINT_URL": wire.url}
        told = replace(configuration, environment=environment, root=conditions.root)
        functions[name] = Function(told, folder, at_once=conditions.at_once.get(name, 1))
    return functions
