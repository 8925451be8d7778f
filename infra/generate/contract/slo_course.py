"""The courses of error budgets: spent by flows that fail, they freeze their services; a person ends the freeze."""

from datetime import datetime, timedelta

from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.calculating import calculated
from functions._core.slo.definition import SliQuery, Slo
from functions._core.slo.enforcing import enforce, resolve
from functions._core.slo.events import budget_events, freeze_event
from functions._core.slo.freezing import FreezeEvent, FreezePolicy, FreezeScope
from functions._core.slo.freezing import begun as freeze_begun
from functions._core.slo.indicator import histories_of
from functions._core.slo.stored import put_freeze, put_new
from infra.generate.contract.beginnings import MANAGER, begun, deploying, tested
from infra.generate.contract.sample import START
from infra.generate.contract.scenario import Scenario

SLO_OF_COURSE = Slo(
    slo_id="0b5d9c5e-5f0c-4d1c-9a3b-7c1f0e2d3a03",
    name="checkout availability",
    service_name="checkout",
    target=0.999,
    sli_query=SliQuery(query="sum(rate(good[{{window}}])) / sum(rate(all[{{window}}]))"),
    created_at=START,
    updated_at=START,
)

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
    histories = await histories_of([slo], course.ports, course.time)
    done = await calculated(slo, course.ports, course.time, histories)
    course.sent.extend(budget_events(slo, done.budget, violation=done.violation))
    [freeze] = await enforce(course.ports, slo.slo_id, tell)
    course.time += timedelta(minutes=20)
    await resolve(course.ports, freeze.event_id, MANAGER, "the cause is fixed", tell)
    return course


async def frozen() -> Scenario:
    """The service is frozen when the deployment could begin: it waits, until a person lets it pass."""
    course = await deploying(await begun())
    policy = FreezePolicy(
        policy_id="5f0c7f0e-9d0e-4c55-8f0a-0d5f8f1e7a11",
        name="spent budgets stop deployments",
        scope=FreezeScope.GLOBAL,
        created_at=START,
        updated_at=START,
    )
    slo = SLO_OF_COURSE
    budget = budget_of(slo, course.time, "b7c0f5f2-3f0f-4f43-9f5a-6f2a1f2d8c01", Indicator(0.9991), {})
    freeze = freeze_begun(policy, [budget], course.time, "e2a1b8a6-1f7b-4f3e-8d55-2f6f0d7b9c02")
    await put_freeze(course.ports.key_values, freeze, 0)
    await tested(course)
    await course.later(60)
    await course.order("ticket.freeze_exception_granted", MANAGER, "it repairs what spent the budget", "deploy")
    await course.later(32)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    return course
