"""Courses on which the flow comes at risk of missing its deadline, without a policy and with one."""

from functions._core.events.policies import PolicyAct
from functions._core.slo.flow_policies import ActionResult, PolicyApplication, announced, applied_event, due_event
from infra.generate.contract.beginnings import begun, deploying, registered, submitted, tested
from infra.generate.contract.sample import IMAGE
from infra.generate.contract.scenario import Scenario


async def at_risk() -> Scenario:
    """Return the beginning of courses on which workers come so late that the whole flow is at risk."""
    course = await submitted()
    await course.run()
    await course.wait(345)
    await tested(await registered(course))
    await course.wait(300)
    return course


async def late() -> Scenario:
    """Workers come late: the build is at risk, then the whole flow; all is done in time all the same."""
    course = await at_risk()
    await deploying(course)
    await course.later(32)
    await course.report("deploy", "COMPLETED", output={"revision": 18})
    return course


async def acted_upon() -> Scenario:
    """The flow comes at risk, and a policy gives its tickets a higher priority; it could not pause others."""
    course = await at_risk()
    flow = await course.ports.store.flow(course.flow_id)
    lines = await course.ports.views.history(course.flow_id, 0, 500)
    about = next(one for line in lines if flow and line.ticket_id is None and (one := announced(line, flow)))
    if flow is None:
        raise LookupError("the flow is not there")
    course.sent.append(due_event(about, flow, "/flowc/enforce_sla"))
    reason = "the flow is at risk of missing its deadline"
    await course.order("flow.adjust_requested", "policy releases-first", reason, priority="CRITICAL")
    done = PolicyApplication(
        policy="releases-first",
        announced=about,
        begun_at=course.time,
        done_at=course.time,
        results=(
            ActionResult(action=PolicyAct.RAISE_PRIORITY, done=True, text="its priority was raised to CRITICAL"),
            ActionResult(action=PolicyAct.PAUSE_OTHERS, done=False, text="no flow of lower priority could be paused"),
        ),
    )
    course.sent.append(applied_event(done, flow, course.time))
    return course


async def hedged() -> Scenario:
    """The build is late, and gets a second attempt as soon as there is another worker; the first one is done first."""
    course = await begun()
    reason = "the flow is at risk of missing its deadline"
    await course.later(50)
    await course.order("ticket.hedge_requested", "policy releases-first", reason, "build")
    await registered(course, "ship-1")
    await course.order("ticket.hedge_requested", "policy releases-first", reason, "build")
    await course.later(8)
    await course.report("build", "COMPLETED", output={"image": IMAGE})
    return course
