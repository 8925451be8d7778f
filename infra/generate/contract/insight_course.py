"""The course of insights: a plan that never fitted its deadline, which the analysis of its five minutes says."""

from collections.abc import Sequence
from datetime import timedelta

from functions._core.events.envelope import CloudEvent
from functions._core.insights.window import LENGTH
from functions.analyze.function import DELAY, analyze
from infra.generate.contract.beginnings import submitted
from infra.generate.contract.scenario import Scenario

SLA_SECONDS = 60
"""Less than the critical path of the sample's plan."""


async def analyzed() -> Scenario:
    """The decision leaves less time than its plan needs: nobody meets that, and minutes later insights say so."""
    course = await submitted(sla_deadline_seconds=SLA_SECONDS)

    async def tell(events: Sequence[CloudEvent]) -> None:
        course.sent.extend(events)

    await analyze(course.ports, tell)
    await course.run()
    await course.wait(SLA_SECONDS)
    course.time += LENGTH + DELAY + timedelta(seconds=1)
    await analyze(course.ports, tell)
    return course
