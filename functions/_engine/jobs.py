"""Jobs of executors in a process: the platform's own worker, and the jobs of which nobody has said that they are over.

What is done with one job is in `functions/_executors/own_jobs.py`. A process that is its own broker does not wait for
it: the wake-ups of the ticket bring what a crash cuts off. The others handle an event as long as it takes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from functions._core.engine import ReportResult
from functions._core.errors import FlowcError
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.jobs import JOB_DUE, JOB_LEAKED, JobDue
from functions._core.events.reports import Report
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt
from functions._core.records.change_set import Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import ReportStatus, SecurityLevel
from functions._core.records.worker import OWN_WORKER, Answer
from functions._engine.assignment_messages import AssignmentMessages
from functions._engine.clock import fresh_id
from functions._engine.dispatch import Dispatcher, DispatchResult, read
from functions._engine.settings import Settings
from functions._observability.logs import log
from functions._observability.metrics import Metrics

if TYPE_CHECKING:  # imported when there is something to do with jobs
    from functions._core.jobs.records import JobRecord
    from functions._engine.wiring_jobs import OwnJobs, Parameters

RUN_EXECUTOR = "run_executor"
"""The function for jobs."""

LOOK_SECONDS = 10.0
"""How often a process that is the platform's clock looks for jobs that nobody wants."""

ACCEPTED = Answer(202, "the platform's own")


Hear = Callable[[CloudEvent, Report], Awaitable[ReportResult]]
"""Takes a report in."""


class JobDoors(NamedTuple):
    """What the platform's own worker needs of the platform.

    `own` registers it with its capabilities, slots and clearance, or lets it go where it has none. `acknowledge`
    records the answer to an assignment, `report` is `Engine.report`, `send` queues events.
    """

    messages: AssignmentMessages
    acknowledge: Callable[[str, tuple[Delivery, Answer]], asyncio.Future[DispatchResult]]
    report: Callable[[CloudEvent], Awaitable[ReportResult]]
    own: Callable[["tuple[str, ...]", int, SecurityLevel], Awaitable[None]]
    send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


class Jobs:
    """The jobs of the store, as one process has to do with them; implements `OwnWorkerDoors`."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        metrics: Metrics,
        doors: JobDoors,
        dispatcher: Dispatcher,
        chance: Random,
        *,
        alone: bool,
    ) -> None:
        """Read nothing yet; a process that is not `alone`, as there is a broker, leaves the looks to a function."""
        self._settings, self._ports, self._metrics = settings, ports, metrics
        self._doors, self._dispatcher, self._chance, self.alone = doors, dispatcher, chance, alone
        self._jobs: OwnJobs | None = None
        self._turns = asyncio.Semaphore(settings.executor_slots)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: dict[str, JobDue] = {}
        self._behind: str | None = None
        self._look_at = 0.0
        self._known = False
        self.named: Callable[[CloudEvent, Report], Awaitable[None]] | None = None
        """Is told of the reports by which workers name the job that they have begun."""

    @property
    def busy(self) -> bool:
        """Whether a job is begun, looked at or ended now."""
        return bool(self._tasks)

    def begin(self) -> Self:
        """Handle what the broker of the dispatcher delivers, beside whoever does so."""
        beside = self._dispatcher.beside

        async def handled(event: CloudEvent) -> None:
            if event.event_type == JOB_DUE:
                self._spawn(read(JobDue, event))
            elif beside is not None:
                await beside(event)

        self._dispatcher.beside = handled
        return self

    def check(self, function: str) -> None:
        """Raise `SettingsError` in the function for jobs where the settings name an executor that it cannot have."""
        if function == RUN_EXECUTOR:
            from functions._engine.wiring_jobs import check_executors

            check_executors(self._settings)

    async def apply(self, event: CloudEvent) -> None:
        """Look at the jobs of the ticket of an event."""
        from functions._engine.wiring_jobs import run_executor

        await run_executor(self._own(), read(JobDue, event))

    async def round(self) -> None:
        """Look, if it is time, for jobs that nobody wants."""
        now = asyncio.get_running_loop().time()
        if self.alone and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            await self.look()

    async def look(self) -> None:
        """Let the platform's own worker be known, and end, or name, the jobs of a page that nobody wants."""
        from functions._core.jobs.records import JOBS

        await self._present()
        if not self._settings.executors and not await self._ports.key_values.page(JOBS, self._behind, 1):
            self._behind = None
            return
        from functions._engine.wiring_jobs import run_executor

        try:
            self._behind = await run_executor(self._own(), self._behind)
        except FlowcError as error:
            log.warning("jobs.failed", error=str(error))  # the next look tries again

    async def close(self) -> None:
        """Stop; what is cut off is done again."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._jobs is not None:
            await self._jobs.aclose()

    async def parameters(self, ticket: Ticket) -> "Parameters | None":
        """See `OwnWorkerDoors.parameters`: made as for any worker, without what only a report needs."""
        from functions._engine.wiring_jobs import Parameters

        made = await self._doors.messages.assignment(Delivery(ticket, OWN_WORKER, ticket.attempt), ticket)
        return None if isinstance(made, Answer) else Parameters(made.data["parameters"], made.data.get("secrets", ()))

    async def accepted(self, ticket: Ticket) -> bool:
        """See `OwnWorkerDoors.accepted`."""
        delivery = Delivery(ticket, OWN_WORKER, ticket.attempt)
        done = await asyncio.shield(self._doors.acknowledge(ticket.flow_id, (delivery, ACCEPTED)))
        changed = {one.ticket_id: one for one in done.step.tickets}
        found = changed.get(ticket.ticket_id) or done.context.tickets.get(ticket.ticket_id)
        now = found and of_attempt(found, ticket.attempt)
        mine = now is not None and (now.worker_id, now.attempt) == (OWN_WORKER, ticket.attempt)
        return now is not None and mine and now.live and now.acknowledged_at is not None

    async def report(self, ticket: Ticket, status: str, said: Mapping[str, Any]) -> bool:
        """See `OwnWorkerDoors.report`."""
        about = {"ticket_id": ticket.ticket_id, "attempt": ticket.attempt, "status": status, "worker_id": OWN_WORKER}
        event = CloudEvent(
            id=fresh_id(self._chance),
            source="/flowc/run_executor",
            type=type_of("ticket.reported"),
            time=self._ports.clock.now(),
            subject=ticket.ticket_id,
            data={**about, **said},
            extensions={"partitionkey": ticket.flow_id, "correlationid": ticket.correlation_id},
        )
        return (await self._doors.report(event)).result != "superseded"

    async def leaked(self, job: "JobRecord") -> None:
        """See `OwnWorkerDoors.leaked`."""
        from functions._core.jobs.records import leaked_event

        about = {"ticket_id": job.ticket_id, "executor": job.executor, "job_id": job.job_id, "key": job.key}
        log.error("job.leaked", flow_id=job.flow_id, **about, reason=job.why)
        self._metrics.count("flowc_jobs_leaked_total")
        if self._dispatcher.wants(JOB_LEAKED):
            flow = await self._ports.store.flow(job.flow_id)
            await self._doors.send((leaked_event(job, self._ports.clock.now(), flow),))

    async def heard(self, hear: Hear, event: CloudEvent, report: Report) -> ReportResult:
        """Hear a report; take note of the job that its worker has, and that it has ended it."""
        if report.job is None:
            return await hear(event, report)
        from functions._core.jobs.reported import job_begun, job_over

        now, flow_id = self._ports.clock.now(), event.extensions["partitionkey"]
        begins = report.status is ReportStatus.RUNNING and not report.job.ended
        if begins:
            await self._noted(job_begun(self._ports, flow_id, report, now))
        answer = await hear(event, report)
        if begins and self.named is not None:
            await self.named(event, report)
        if not begins:
            await self._noted(job_over(self._ports, flow_id, report, now))
        return answer

    async def _noted(self, noting: Awaitable[None]) -> None:
        """Take note of a job; a report is heard without that, too."""
        try:
            await noting
        except FlowcError as error:
            log.warning("job.not_noted", error=str(error))

    def _own(self) -> "OwnJobs":
        if self._jobs is None:
            from functions._engine.wiring_jobs import OwnJobs, own_executors

            chosen = self._settings
            alone = self.alone and chosen.database_url is None and chosen.table is None
            since = self._dispatcher.up_since if alone else None
            self._jobs = OwnJobs(own_executors(chosen), self._ports, self, chosen.job_look, since)
        return self._jobs

    async def _present(self) -> None:
        """Let the registry know the platform's own worker as the settings have it; once is enough for a process."""
        if self._known:
            return
        offered: tuple[str, ...] = ()
        if self._settings.executors:
            from functions._engine.wiring_jobs import capabilities, own_executors

            offered = tuple(capabilities(own_executors(self._settings)))
        await self._doors.own(offered, self._settings.executor_slots, self._settings.executor_clearance)
        self._known = True

    def _spawn(self, due: JobDue) -> None:
        """Look at the jobs of a ticket, once more where that is being done."""
        if due.ticket_id in self._tasks:
            self._again[due.ticket_id] = due
            return
        task = self._tasks[due.ticket_id] = asyncio.create_task(self._looked(due))
        task.add_done_callback(lambda _: self._done(due.ticket_id))

    def _done(self, ticket_id: str) -> None:
        del self._tasks[ticket_id]
        again = self._again.pop(ticket_id, None)
        if again is not None:
            self._spawn(again)

    async def _looked(self, due: JobDue) -> None:
        from functions._engine.wiring_jobs import run_executor

        async with self._turns:
            try:
                await run_executor(self._own(), due)
            except FlowcError as error:
                log.warning("job.failed", ticket_id=due.ticket_id, error=str(error))  # its wake-up tries again
            except Exception:  # noqa: BLE001 one broken job must not keep others from their looks
                log.exception("job.failed", ticket_id=due.ticket_id)
