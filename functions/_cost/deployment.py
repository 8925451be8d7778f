"""All functions as Lambda runs them, one environment of each, with workers that take every task and do it in time."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from functions._core.events.commands import TicketApproval
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.routes import ROUTES
from functions._core.placement.workers import MAX_SLOTS, Heartbeat, Registration
from functions._core.ports import Clock
from functions._core.records.models import Flow
from functions._core.records.values import SecurityLevel, TaskType, Waiting
from functions._core.records.worker import Answer, Worker
from functions._cost.ledger import (
    CLOCK,
    FLOWS,
    INVOCATIONS,
    NOBODY,
    REQUESTS,
    RETENTION,
    STORED,
    WORKERS,
    CostLedger,
)
from functions._cost.services import QUEUES, Services
from functions._engine.clock import fresh_id
from functions._engine.settings import Settings
from functions._hosts.api_app import api_services
from functions._hosts.aws.function import LambdaFunction
from functions._hosts.entry import NAMES
from functions._hosts.wiring_api import take, take_report
from functions._simulator.outputs import Outputs
from functions._simulator.plans import all_tasks, plan_of

TICK = timedelta(minutes=1)
TICKED = ("enforce_sla", "track_workers")
WORKER = "worker-1"
LONGEST_INVOCATION = 30.0
PAGE = 1000

ENVIRONMENT = {
    "FLOWC_TABLE": "flowc",
    "FLOWC_BUS": "flowc",
    "FLOWC_TIMER_QUEUE": f"{QUEUES}enforce_sla",
    "FLOWC_QUEUES": " ".join(f"{name}={QUEUES}{name}" for name in sorted({one.function for one in ROUTES.values()})),
    "FLOWC_PUBLIC_URL": "https://flowc.example",
    "FLOWC_WORKER_KEY": "k" * 48,
}


class Deployment:
    """Everything that is deployed; make it within the loop that it is to live in, and `open` it."""

    def __init__(self, clock: Clock, ledger: CostLedger, subscribed: str) -> None:
        """Deploy nothing yet; `subscribed` are the transitions that are told to subscribers, as in the setting."""
        self.ledger = ledger
        self.services = Services(ledger, clock, self._invoke)
        self._clock = clock
        self._settings = Settings.from_mapping({**ENVIRONMENT, "FLOWC_SUBSCRIBER_EVENTS": subscribed})
        self._functions: dict[str, LambdaFunction] = {}
        self._turn = asyncio.Lock()
        self._outputs = Outputs()
        self._asks = False

    async def open(self, capabilities: tuple[str, ...]) -> None:
        """Put the functions together, register a worker, and let the time pass."""
        for name in NAMES:
            made = await LambdaFunction.made(name, self._settings, self.services, clock=self._clock, gateway=self)
            self._functions[name] = made
        self._api = api_services(self._functions["api"].platform, self._settings, _ready)
        registration = Registration(
            worker_id=WORKER,
            endpoint="https://worker.example",
            capabilities=capabilities,
            clearance=SecurityLevel.RESTRICTED,
            slots=MAX_SLOTS,
        )
        await self._ask(self._event("worker.registered", registration.model_dump(mode="json"), WORKER), NOBODY)
        self.services.spawn(self._beat())
        self.services.spawn(self._tick())

    async def admit(self, decision: Mapping[str, Any]) -> None:
        """Post a decision; all are of one plan."""
        self._outputs.paths |= Outputs.of_decisions([decision], {}).paths
        self._asks = any(task.get("task_type") == TaskType.APPROVE for task in all_tasks(plan_of(decision)))
        await self._ask(self._event("decision.consolidated", decision, None), FLOWS)

    async def ended(self, flow_id: str) -> Flow:
        """Return a flow when it has ended."""
        while True:
            async with self._turn:
                self.ledger.account = NOBODY
                flow = await self._functions["api"].platform.ports.store.flow(flow_id)
            if flow is not None and flow.ended_at is not None:
                return flow
            if self._asks:
                await self._approve(flow_id)
            await asyncio.sleep(1)

    async def _approve(self, flow_id: str) -> None:
        """Approve the tickets of a flow that wait for a person."""
        async with self._turn:
            self.ledger.account = NOBODY
            live = await self._functions["api"].platform.ports.store.tickets_of(flow_id, live_only=True)
        for ticket in (one for one in live if one.waiting is Waiting.APPROVAL):
            async with self._invocation("api", FLOWS):
                self.ledger.add(REQUESTS, 1, "approval")
                self._functions["api"].store.remember()
                await self._api.engine.order(TicketApproval(flow_id=flow_id, ticket_id=ticket.ticket_id))

    async def forget(self) -> None:
        """Remove everything that has ended, as happens when it was kept long enough."""
        async with self._turn:
            self.ledger.account = RETENTION
            self.ledger.add(STORED, self.services.table.bytes, "all")
            retention = self._functions["enforce_sla"].platform.ports.retention
            while await retention.forget_ended(self._clock.now(), PAGE):
                pass

    async def deliver(self, worker: Worker, *events: CloudEvent) -> Answer:  # noqa: ARG002 there is but one
        """Take tasks, as their worker; implements `ports.WorkerGateway`."""
        for event in events:
            self.services.spawn(self._work(event.data))
        return Answer(202)

    async def _work(self, assignment: Mapping[str, Any]) -> None:
        await asyncio.sleep(assignment["estimated_duration_ms"] / 1000)
        said = {"ticket_id": assignment["ticket_id"], "attempt": assignment["attempt"], "status": "COMPLETED"}
        if output := self._outputs.of(assignment["flow_id"], assignment["task_id"], {}):
            said["output"] = output
        event = self._event("ticket.reported", said, assignment["ticket_id"])
        async with self._invocation("api", FLOWS):
            self.ledger.add(REQUESTS, 1, "report")
            self._functions["api"].store.remember()
            await take_report(self._api, event, assignment["token"], assignment["flow_id"])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_seconds)
            beat = Heartbeat(worker_id=WORKER)
            await self._ask(self._event("worker.heartbeat", beat.model_dump(mode="json"), WORKER), WORKERS)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK.total_seconds())
            tick = self._event("clock.ticked", {}, None)
            for function in TICKED:
                self.services.send(function, tick, 1, CLOCK)

    async def _ask(self, event: CloudEvent, account: str) -> None:
        async with self._invocation("api", account):
            self.ledger.add(REQUESTS, 1, event.event_type)
            await take(self._api, event, None)

    async def _invoke(self, function: str, event: CloudEvent, account: str) -> None:
        async with self._invocation(function, account):
            await self._functions[function].handle(event)

    @asynccontextmanager
    async def _invocation(self, function: str, account: str) -> AsyncIterator[None]:
        """Charge what is done to an account, until the function has come to rest; no other function runs meanwhile."""
        async with self._turn:
            self.ledger.account = account
            self.ledger.add(INVOCATIONS, 1, function)
            self._functions[function].until = asyncio.get_running_loop().time() + LONGEST_INVOCATION
            yield
            await self._functions[function].settle()
            self.ledger.account = NOBODY

    def _event(self, event_type: str, data: Mapping[str, Any], subject: str | None) -> CloudEvent:
        return CloudEvent(
            id=fresh_id(),
            source="/flowc/cost",
            type=type_of(event_type),
            time=self._clock.now(),
            data=data,
            subject=subject,
        )


async def _ready() -> None:
    pass
