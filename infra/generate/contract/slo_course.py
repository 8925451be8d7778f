"""The course of an error budget: spent by flows that fail, it freezes its service; a person ends the freeze."""

from datetime import datetime, timedelta

from functions._core.slo.calculating import calculated
from functions._core.slo.counting import own_history
from functions._core.slo.definition import Slo
from functions._core.slo.enforcing import enforce, resolve
from functions._core.slo.events import budget_events, freeze_event
from functions._core.slo.freezing import FreezeEvent, FreezePolicy
from functions._core.slo.stored import put_new
from infra.generate.contract.sample import START
from infra.generate.contract.scenario import Scenario

SLO_ID, POLICY_ID = "6f0c2a94-52c7-5a0e-9d6b-3f5b1c7d9a10", "b1f3f0f2-97c9-5d3e-8e1a-0c4d2e6f8a21"


def release_slo(now: datetime) -> Slo:
    """Return the SLO of the course: nine of ten releases succeed."""
    return Slo.model_validate(
        {
            "slo_id": SLO_ID,
            "name": "release success",
            "service_name": "forge",
            "target": 0.9,
            "sli_query": {"history": {"measure": "flow_success"}},
            "created_at": now,
            "updated_at": now,
        }
    )


def release_policy(now: datetime) -> FreezePolicy:
    """Return the policy of the course: no deployment of the service while its budget is low."""
    return FreezePolicy.model_validate(
        {
            "policy_id": POLICY_ID,
            "name": "no releases on a spent budget",
            "scope": "SERVICE",
            "target": "forge",
            "created_at": now,
            "updated_at": now,
        }
    )


async def budget_spent(course: Scenario) -> Scenario:
    """Calculate the budget behind a course whose flow has failed; it is frozen, then freed by hand."""
    slo, policy = release_slo(START), release_policy(START)
    await put_new(course.ports.key_values, slo)
    await put_new(course.ports.key_values, policy)

    async def tell(freeze: FreezeEvent) -> None:
        course.sent.append(freeze_event(freeze))

    course.time += timedelta(minutes=5)
    query = slo.sli_query.history
    histories = await own_history(course.ports, [] if query is None else [query], course.time)
    done = await calculated(slo, course.ports, course.time, histories)
    if done is not None:
        course.sent.extend(budget_events(slo, done.budget, violation=done.violation))
    [freeze] = await enforce(course.ports, slo.slo_id, tell)
    course.time += timedelta(minutes=20)
    await resolve(course.ports, freeze.event_id, "release-manager", "the cause is fixed", tell)
    return course
