"""What works beside the chain of functions in a process: each goes its rounds, and some see every commit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

from functions._core.events.envelope import CloudEvent
from functions._core.ports import Beside, Ports
from functions._core.records.change_set import ChangeSet
from functions._engine.budgets import Budgets
from functions._engine.clock import fresh_id
from functions._engine.dispatch import Dispatcher
from functions._engine.event_claims import Tell
from functions._engine.events_in import EventsIn
from functions._engine.flow_policies import FlowPolicies
from functions._engine.healing import Healer
from functions._engine.in_flight import InFlight
from functions._engine.jobs import JobDoors, Jobs
from functions._engine.learning import Learning, Send
from functions._engine.pipeline_results import PipelineResults
from functions._engine.schedules import Admit, Schedules
from functions._engine.settings import Settings
from functions._engine.slo_documents import SloDocuments
from functions._engine.sweep import Sweeper
from functions._observability.instruments import Instruments

if TYPE_CHECKING:  # imported when a policy or a playbook acts
    from functions._engine.given_commands import GiveCommand, HealingDoors


class Doors(NamedTuple):
    """The ways into a process that its companions use: events to send, to handle and to admit, and commands.

    `apart` computes what is learnt, beside the turns of flows.
    """

    send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]]
    handle: Tell
    admit: Admit
    order: "GiveCommand"
    healing: "HealingDoors"
    jobs: JobDoors
    apart: Beside


class Companion(Protocol):
    """One of them."""

    @property
    def busy(self) -> bool:
        """Whether it is at work."""

    async def round(self) -> None:
        """Look for what it may have missed."""

    async def close(self) -> None:
        """Stop; what was cut off is done by the next round."""


class Companions:
    """The companions of one process, in the order of their rounds."""

    def __init__(  # noqa: PLR0913 the parts of a process
        self,
        settings: Settings,
        ports: Ports,
        instruments: Instruments,
        dispatcher: Dispatcher,
        sweeper: Sweeper,
        doors: Doors,
        chance: Random,
        *,
        alone: bool,
        acts_on_sla: bool,
        heals: bool,
    ) -> None:
        """Begin nothing yet; a process that is `alone` is its own broker, `acts_on_sla` by the policies of flows.

        It `heals` incidents by playbooks.
        """
        metrics, rules = instruments.metrics, settings.rules
        in_flight = InFlight(rules.in_flight, ports, doors.send, partial(fresh_id, chance), doors.order)
        self.events_in = EventsIn(ports, rules.event_retention, doors.handle, metrics)
        self.schedules = Schedules(ports, metrics, doors.admit, doors.order, sweeper)
        self.budgets = Budgets(ports, instruments, doors.send, dispatcher.wants, chance, alone=alone)
        self.budgets.interval = settings.budget_interval
        self.slo_documents = SloDocuments(ports, metrics, alone=alone)
        self.flow_policies = FlowPolicies(ports, metrics, doors.send, doors.order, dispatcher)
        policies = [self.flow_policies.begin()] if acts_on_sla else []
        self.healing = Healer(ports, metrics, doors.healing, dispatcher, alone=alone)
        healing = [self.healing.begin()] if heals else []
        self.jobs = Jobs(settings, ports, metrics, doors.jobs, dispatcher, chance, alone=alone).begin()
        pipelines = PipelineResults(ports, metrics, dispatcher, doors.send).begin(self.jobs)
        told = partial(_told, doors.send, dispatcher.wants)
        self.learning = Learning(settings, replace(ports, beside=doors.apart), instruments, told, rules, alone=alone)
        seen_by = InFlight | EventsIn | FlowPolicies | PipelineResults
        self._seeing: Sequence[seen_by] = (in_flight, self.events_in, pipelines, *policies)
        slos = (self.budgets, self.slo_documents)
        others: Sequence[Companion] = (self.schedules, *slos, *healing, self.jobs, self.learning)
        self._all: Sequence[Companion] = (*self._seeing, *others)

    @property
    def observers(self) -> Sequence[Callable[[ChangeSet], None]]:
        """What sees every commit."""
        return [one.observe for one in self._seeing]

    @property
    def ticks(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What functions of their own do as time passes, by their names."""
        looks = {"reconcile_resources": self.slo_documents.reconcile, "heal_incident": self.healing.look}
        return {**self.budgets.ticks, **looks, "run_executor": self.jobs.look, **self.learning.ticks}

    @property
    def busy(self) -> bool:
        """Whether one of them is at work."""
        return any(one.busy for one in self._all)

    async def round(self) -> None:
        """Let each look for what it may have missed."""
        for one in self._all:
            await one.round()

    async def close(self) -> None:
        """Stop; what was cut off is done by the next round."""
        for one in self._all:
            await one.close()


async def _told(send: Send, wants: Callable[[str], bool], events: tuple[CloudEvent, ...]) -> None:
    """Make those of the events durable that subscribers want."""
    if wanted := tuple(event for event in events if wants(event.event_type)):
        await send(wanted)
