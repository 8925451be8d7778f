"""Whatever is asked of tickets, in whatever order and at once: no illegal transition, no second end, no foreign token.

A real platform over the memory adapters, its api without a network. Hypothesis thinks up the requests.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from functions._core.machine.replay import StoredState, differences, fold
from functions._core.machine.tables import TICKET_TRANSITIONS
from functions._core.records.values import TicketStatus
from tests.support.http_api import Api, bearer, running_api
from tests.support.ordering import silent
from tests.support.world import decision, task

T = TypeVar("T")

TICKETS = "/api/v1/tickets"
WORKERS = st.sampled_from(["w1", "w2", "w3"])
STATUSES = st.sampled_from(["RUNNING", "COMPLETED", "FAILED", "CANCELLED", "PENDING", "ASSIGNED", "TIMED_OUT"])
ATTEMPTS = st.none() | st.integers(1, 4)
TAGS = st.none() | st.sampled_from(["*", '"1"', '"3"', '"5"'])
COMMANDS = st.sampled_from(["retry", "reassign", "skip"])
OF_FLOWS = st.sampled_from(["cancel", "pause", "resume", "redrive"])

EDGES = {(start.value, end.value) for start, edges in TICKET_TRANSITIONS.items() for end in edges.values()}
ENDS = {"ticket.completed", "ticket.failed", "ticket.cancelled"}
AGAIN = {"ticket.redriven", "ticket.compensation_planned"}

Asked = tuple[str, str, dict[str, Any], dict[str, str]]
"""Method, path, body and headers of a request."""


class Tickets(RuleBasedStateMachine):
    """Clients, workers and people at one platform."""

    tickets: Bundle[tuple[str, str]] = Bundle("tickets")
    asked: Bundle[Asked] = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.resources = AsyncExitStack()
        self.folder = TemporaryDirectory()
        self.created = 0

    @initialize()
    def begin(self) -> None:
        """Start a platform."""
        self.api: Api = self.run(self.resources.enter_async_context(running_api(Path(self.folder.name))))
        self.api.world.workers.behave = silent

    def teardown(self) -> None:
        """Stop it."""
        self.run(self.resources.aclose())
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    @rule(target=tickets, retries=st.integers(0, 1), idempotent=st.booleans())
    def create(self, retries: int, idempotent: bool) -> tuple[str, str]:
        """A client creates a ticket."""
        self.created += 1
        body = {"plan_id": "p", "task_type": "BUILD", "ticket_id": f"t-{self.created}", "idempotent": idempotent}
        asked = {**body, "sla": {"max_retries": retries}, "required_capabilities": ["python"]}
        ticket = self.sent("POST", TICKETS, asked).json()
        return ticket["flow_id"], ticket["ticket_id"]

    @rule(target=tickets)
    def submit(self) -> Any:
        """A client sends a plan."""
        flow_id = self.run(self.api.world.submit(decision(task("a"), task("b", "a"), task("c"), task("d", "b", "c"))))
        ids = [ticket.ticket_id for ticket in self.run(self.api.world.ports.store.tickets_of(flow_id))]
        return multiple(*((flow_id, ticket_id) for ticket_id in ids))

    @rule()
    def staff(self) -> None:
        """A worker registers: from now on it is given tickets."""
        self.run(self.api.world.register("w1"))

    @rule(target=asked, ticket=tickets, worker=WORKERS, tag=TAGS)
    def claim(self, ticket: tuple[str, str], worker: str, tag: str | None) -> Asked:
        """A worker comes for a ticket."""
        headers = {} if tag is None else {"if-match": tag}
        return "PATCH", f"{TICKETS}/{ticket[1]}/status", {"status": "RUNNING", "worker_id": worker}, headers

    @rule(target=asked, ticket=tickets, status=STATUSES, attempt=ATTEMPTS, worker=st.none() | WORKERS, tag=TAGS)
    def change(
        self, ticket: tuple[str, str], status: str, attempt: int | None, worker: str | None, tag: str | None
    ) -> Asked:
        """Somebody asks for another status."""
        said = {"status": status, "attempt": attempt, "worker_id": worker}
        headers = {} if tag is None else {"if-match": tag}
        return "PATCH", f"{TICKETS}/{ticket[1]}/status", {k: v for k, v in said.items() if v is not None}, headers

    @rule(target=asked, ticket=tickets, command=COMMANDS, force=st.booleans())
    def command(self, ticket: tuple[str, str], command: str, force: bool) -> Asked:
        """A person gives a command about a ticket."""
        return "POST", f"{TICKETS}/{ticket[1]}/{command}", {"force": force} if command == "retry" else {}, {}

    @rule(target=asked, ticket=tickets, command=OF_FLOWS)
    def of_flow(self, ticket: tuple[str, str], command: str) -> Asked:
        """A person gives a command about a flow."""
        return "POST", f"/api/v1/flows/{ticket[0]}/{command}", {}, {}

    @rule(requests=st.lists(consumes(asked), min_size=1, max_size=4))
    def send(self, requests: list[Asked]) -> None:
        """Everything that was thought up comes at once."""
        self.run(asyncio.gather(*(self.answer(*request) for request in requests)))

    @rule(ticket=tickets, worker=WORKERS, attempt=st.integers(1, 3), status=st.sampled_from(["COMPLETED", "FAILED"]))
    def work(self, ticket: tuple[str, str], worker: str, attempt: int, status: str) -> None:
        """A worker takes a ticket, and the end of some attempt is reported, perhaps of another one."""
        path = f"{TICKETS}/{ticket[1]}/status"
        self.sent("PATCH", path, {"status": "RUNNING", "worker_id": worker})
        self.sent("PATCH", path, {"status": status, "attempt": attempt})

    @rule(one=tickets, other=tickets, attempt=st.integers(1, 3), status=STATUSES)
    def by_token(self, one: tuple[str, str], other: tuple[str, str], attempt: int, status: str) -> None:
        """A worker brings the token of one ticket to another one: it is refused."""
        token = self.api.world.ports.tokens.mint(
            ticket_id=one[1], attempt=attempt, worker_id="w2", expires_at=datetime.now(UTC) + timedelta(hours=1)
        )
        answer = self.sent("PATCH", f"{TICKETS}/{other[1]}/status", {"status": status}, bearer(token))
        assert one == other or answer.status_code == 403, answer.text

    @invariant()
    def holds(self) -> None:
        """Check every flow: its history is legal, and tells what is stored."""
        if hasattr(self, "api"):
            self.run(self.checked())

    async def checked(self) -> None:
        ports = self.api.world.ports
        flows, _ = await ports.views.flows(status=None, cursor=None, limit=100)
        for flow in flows:
            entries = await ports.views.history(flow.flow_id, 0, 10_000)
            tickets = await ports.store.tickets_of(flow.flow_id)
            now = await ports.store.flow(flow.flow_id)
            assert now is not None
            if now.version == flow.version and len(await ports.views.history(flow.flow_id, 0, 10_000)) == len(entries):
                assert differences(fold(entries), now, map(StoredState.of, tickets)) == ()
            ended: set[str] = set()
            for entry in entries:
                if entry.ticket_id is None or entry.to_status is None:
                    continue
                assert (entry.from_status, entry.to_status) in EDGES, entry
                if entry.type in ENDS:
                    assert entry.ticket_id not in ended, f"{entry.ticket_id} ended twice: {entry}"
                    ended.add(entry.ticket_id)
                elif entry.type in AGAIN:
                    ended.discard(entry.ticket_id)

    def sent(
        self, method: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return self.run(self.answer(method, path, body, headers or {}))

    async def answer(self, method: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        answer = await self.api.client.request(method, path, json=body, headers=headers)
        assert answer.status_code < 500, answer.text
        if answer.status_code == 409 and answer.json()["code"] == "invalid_transition":
            assert set(answer.json()["allowed"]) <= {status.value for status in TicketStatus}
        if answer.status_code == 200 and body.get("status") == "COMPLETED" and "attempt" in body:
            assert answer.json()["attempt"] == body["attempt"], "another attempt than the present one has ended it"
        return answer


TestTickets = Tickets.TestCase
TestTickets.settings = settings(
    max_examples=10, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
