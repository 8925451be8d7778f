"""The course of guards: a ticket that a policy holds back waits in quarantine, until a person has looked at it."""

from functions._core.guards.policy import GUARD_POLICIES, GuardAction, GuardPolicy
from functions._core.records.values import TaskType
from infra.generate.contract.beginnings import MANAGER, begun, deploying, tested
from infra.generate.contract.sample import START
from infra.generate.contract.scenario import Scenario


async def quarantined() -> Scenario:
    """A guard policy wants a provider for each deployment: it waits in quarantine, until a person releases it."""
    course = await deploying(await begun())
    policy = GuardPolicy(
        name="known-ways-to-deploy",
        task_types=(TaskType.DEPLOY,),
        allowed_providers=("argocd", "flux"),
        action=GuardAction.QUARANTINE,
        created_at=START,
        updated_at=START,
    )
    await GUARD_POLICIES.put(course.ports.key_values, policy.name, policy)
    course.ports.guards.forget()
    await tested(course)
    await course.later(60)
    await course.order("ticket.quarantine_decided", MANAGER, "it is our own ship", "deploy", ruling="release")
    await course.later(32)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    return course
