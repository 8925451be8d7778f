"""Simulated workers: they take assignments, work, say that they are alive, and report; some are not to be trusted.

They follow the protocol of the reference worker: a ticket's attempt is taken once however often it comes, a full
worker answers 429, and how a task ended is said until the platform has heard it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.placement.leasing import Leased, LeaseRequest
from functions._core.placement.workers import Heartbeat, Registration, Running
from functions._core.records.values import Health
from functions._core.records.worker import Answer
from functions._engine.clock import fresh_id
from functions._simulator.faults import Faults
from functions._simulator.invariants import FAILURE
from functions._simulator.network import Outside

SPREAD = 0.25
"""Standard deviation of the logarithm of a task's duration over its estimate."""

TOO_LARGE = "x" * (256 * 1024 + 1 - 2)
"""As JSON text, with its quotes, one byte more than is taken for an output."""

TRIES = 200
Key = tuple[str, int]
"""Ticket and attempt."""


@dataclass(slots=True)
class SimulatedRun:
    """One attempt that a worker has accepted; `heard` once the platform knows how it ended."""

    assignment: Mapping[str, Any]
    task: "asyncio.Task[None] | None" = None
    busy: bool = True
    heard: bool = False
    stopped: bool = False


@dataclass
class SimulatedWorker:
    """One worker. `runs` and `refused` are its memory, by ticket and attempt: it never changes its mind.

    `failing` is the share of its tasks that it fails, 0 to 1; `latency` is in seconds, before each task.
    """

    registration: Registration
    outside: Outside
    faults: Faults
    chance: Random
    heartbeat_seconds: float
    failing: float = 0.0
    latency: float = 0.0
    runs: dict[Key, SimulatedRun] = field(default_factory=dict)
    refused: dict[Key, Answer] = field(default_factory=dict)
    cut_off_until: float = 0.0
    gone: bool = False

    @property
    def worker_id(self) -> str:
        """The name it registers with."""
        return self.registration.worker_id

    @property
    def reachable(self) -> bool:
        """Whether messages reach it, and its own get out."""
        return not self.gone and asyncio.get_running_loop().time() >= self.cut_off_until

    @property
    def owes(self) -> bool:
        """Whether something it took is not settled yet."""
        return not self.gone and any(not run.heard and not run.stopped for run in self.runs.values())

    async def work(self) -> None:
        """Do all that it does by itself, for ever."""
        await self.live()

    async def live(self) -> None:
        """Register and send heartbeats for ever, as far as it can."""
        known = False
        while True:
            if not self.reachable:
                await asyncio.sleep(1)
                known = known and not self.gone
                continue
            try:
                if not known:
                    await self.outside.register(self.registration.but(running=self._running()))
                    known = True
                else:
                    await self._beat()
            except Rejected:
                known = False
            except (Unavailable, Conflict):
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(self.heartbeat_seconds * (0.9 + 0.2 * self.chance.random()))

    def take(self, event: CloudEvent) -> Answer:
        """Answer a message of the platform."""
        data: Mapping[str, Any] = event.data
        key = data["ticket_id"], data["attempt"]
        if event.event_type == "ticket.cancelled":
            self._stop(key)
            return Answer(202)
        if key in self.runs:
            run = self.runs[key]
            run.assignment = data
            return Answer(202, "known")
        if key not in self.refused and self.faults.strikes("refusing-worker"):
            self.refused[key] = Answer(self.chance.choice((400, 403, 422, 500, 503)), "not today")
        if key in self.refused:
            return self.refused[key]
        if sum(run.busy for run in self.runs.values()) >= self.registration.slots:
            return Answer(429, "all slots are taken")
        self._begin(data)
        return Answer(202)

    def _begin(self, assignment: Mapping[str, Any]) -> None:
        """Work on an attempt that is new."""
        self.outside.begun(self.worker_id, assignment)
        run = self.runs[assignment["ticket_id"], assignment["attempt"]] = SimulatedRun(assignment)
        run.task = self.outside.spawn(self._work(run))

    async def _work(self, run: SimulatedRun) -> None:
        await self._misfortunes()
        estimate = run.assignment["estimated_duration_ms"] / 1000
        seconds = self.latency + estimate * self.chance.lognormvariate(0, SPREAD)
        if self.faults.strikes("slow-worker"):
            seconds *= self.faults.chance("slow-worker").uniform(2, 20)
        if self.faults.strikes("hung-worker"):
            await asyncio.Event().wait()
        if self.chance.random() < 0.3:
            self.outside.spawn(self._say_once(run, {"status": "RUNNING", "progress": 0}))
        await asyncio.sleep(seconds)
        run.busy = False
        if run.stopped or self.gone:
            return
        said = self._end_of(run)
        await self._tell(run, said)

    async def _misfortunes(self) -> None:
        draw, now = self.faults.chance("zombie-worker"), asyncio.get_running_loop().time()
        if self.faults.strikes("zombie-worker"):
            self.cut_off_until = max(self.cut_off_until, now + draw.uniform(60, 240))
        if self.faults.strikes("vanishing-worker", at_most=2):
            await asyncio.sleep(0)
            self.outside.spawn(self._vanish())

    async def _vanish(self) -> None:
        """Die; perhaps be started again under the same name, which knows of nothing."""
        draw = self.faults.chance("vanishing-worker")
        self.gone = True
        for run in self.runs.values():
            run.stopped, run.busy = True, False
            if run.task is not None:
                run.task.cancel()
        if draw.random() < 0.8:
            await asyncio.sleep(draw.choice((1, 20, 120)))
            self.gone = False

    def _end_of(self, run: SimulatedRun) -> dict[str, Any]:
        attempt = run.assignment["attempt"]
        if self.failing and self.chance.random() < self.failing:
            return {"status": "FAILED", "error": {"type": FAILURE, "message": str(attempt)}}
        if self.faults.strikes("failing-task"):
            retryable = self.faults.chance("failing-task").random() < 0.8
            return {"status": "FAILED", "error": {"type": FAILURE, "message": str(attempt), "retryable": retryable}}
        if self.faults.strikes("too-large"):
            return {"status": "COMPLETED", "output": TOO_LARGE}
        return {"status": "COMPLETED", "output": self._output_of(run)}

    def _output_of(self, run: SimulatedRun) -> Any:
        about = run.assignment
        otherwise = {"by": self.worker_id, "attempt": about["attempt"]}
        return self.outside.outputs.of(about["flow_id"], about["task_id"], otherwise)

    async def _tell(self, run: SimulatedRun, said: dict[str, Any]) -> None:
        """Report an end until it is heard, with what a worker that cannot be trusted says besides."""
        if self.faults.strikes("wrong-attempt"):
            other = run.assignment["attempt"] + self.faults.chance("wrong-attempt").choice((-1, 1))
            self.outside.spawn(self._say_once(run, {**said, "attempt": max(1, other)}))
        if self.faults.strikes("contradictory-report"):
            attempt = run.assignment["attempt"]
            opposite: dict[str, Any] = {"status": "FAILED", "error": {"type": FAILURE, "message": str(attempt)}}
            if said["status"] == "FAILED":
                opposite = {"status": "COMPLETED", "output": self._output_of(run)}
            self.outside.spawn(self._say_once(run, opposite))
        for number in range(TRIES):
            if await self._heard(run, said):
                break
            await asyncio.sleep(min(10.0, 0.2 * 2 ** min(number, 6)) * self.chance.uniform(0.5, 1))
        while self.faults.strikes("repeated-report"):
            await asyncio.sleep(self.chance.choice((1, 5, 30)) * self.chance.random())
            await self._say_once(run, said)

    async def _heard(self, run: SimulatedRun, said: Mapping[str, Any]) -> bool:
        if run.heard or run.stopped or self.gone:
            return True
        if not self.reachable:
            return False
        try:
            answer = await self.outside.report(self._report(run, said), run.assignment["token"])
        except (Unavailable, Conflict):
            return False
        except Rejected as refusal:
            if refusal.code == "output_too_large":
                error = {"type": refusal.code, "message": str(refusal), "retryable": False}
                return await self._heard(run, {"status": "FAILED", "error": error})
            run.heard = True
            return True
        run.heard = True
        if answer.get("cancel"):
            run.stopped = True
        return True

    async def _say_once(self, run: SimulatedRun, said: Mapping[str, Any]) -> None:
        if not self.reachable:
            return
        try:
            answer = await self.outside.report(self._report(run, said), run.assignment["token"])
        except (Unavailable, Conflict, Rejected):
            return
        if answer.get("cancel") and said["status"] == "RUNNING":
            self._stop((run.assignment["ticket_id"], run.assignment["attempt"]))

    def _report(self, run: SimulatedRun, said: Mapping[str, Any]) -> CloudEvent:
        about = run.assignment
        return CloudEvent(
            id=fresh_id(self.chance),
            source=f"/workers/{self.worker_id}",
            type=type_of("ticket.reported"),
            time=self.outside.now(),
            subject=about["ticket_id"],
            data={"ticket_id": about["ticket_id"], "attempt": about["attempt"], **said},
            extensions={"partitionkey": about["flow_id"]},
        )

    async def _beat(self) -> None:
        heard = await self.outside.heartbeat(
            self.worker_id, Heartbeat(status=Health.HEALTHY, running=self._running(lying=True))
        )
        for key in list(self.runs):
            if key[0] in heard.cancel:
                self._stop(key)

    def _running(self, *, lying: bool = False) -> tuple[Running, ...]:
        held = [key for key, run in self.runs.items() if not run.heard and not run.stopped]
        if lying and self.faults.strikes("lying-heartbeat"):
            strangers = [key for key, run in self.runs.items() if run.heard or run.stopped]
            held = strangers if self.faults.chance("lying-heartbeat").random() < 0.5 else []
        return tuple(Running(ticket_id=ticket_id, attempt=attempt) for ticket_id, attempt in held)

    def _stop(self, key: Key) -> None:
        run = self.runs.get(key)
        if run is not None and run.busy:
            run.stopped, run.busy = True, False
            if run.task is not None:
                run.task.cancel()


@dataclass
class AskingWorker(SimulatedWorker):
    """A worker that is sent nothing: it asks for its tickets."""

    async def work(self) -> None:
        """See `SimulatedWorker.work`."""
        self.outside.spawn(self._ask())
        await self.live()

    async def _ask(self) -> None:
        while True:
            free = self.registration.slots - sum(run.busy for run in self.runs.values())
            leased = await self._leased(free) if free > 0 and self.reachable else None
            if leased is None:
                await asyncio.sleep(self.chance.uniform(0.2, 2))
                continue
            for key in list(self.runs):
                if key[0] in leased.cancel:
                    self._stop(key)
            for event in leased.assignments:
                self._take_or_know(event.data)

    async def _leased(self, free: int) -> Leased | None:
        """Return the answer of the platform, None when it is lost on its way."""
        patience = self.chance.choice((0, 0.5, 20))
        asked = LeaseRequest(worker_id=self.worker_id, limit=free, wait_seconds=patience, running=self._running())
        try:
            leased = await self.outside.lease(asked)
        except (Unavailable, Conflict, Rejected):
            return None
        return leased if self.reachable and (leased.assignments or leased.cancel) else None

    def _take_or_know(self, assignment: Mapping[str, Any]) -> None:
        key = assignment["ticket_id"], assignment["attempt"]
        if key in self.runs:
            self.runs[key].assignment = assignment
        else:
            self._begin(assignment)
