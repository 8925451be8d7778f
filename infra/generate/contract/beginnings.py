"""How the courses of the sample decision begin, and the parts that several of them share."""

from datetime import datetime
from typing import Any

from functions._core.records.worker import Answer
from infra.generate.contract.sample import IMAGE, START, decision_event
from infra.generate.contract.scenario import Scenario

MANAGER = "release-manager"


async def submitted(start: datetime = START, **changes: Any) -> Scenario:  # noqa: ANN401 fields of any type
    """Return a course on which nothing has happened but that the decision, with some changes, has arrived."""
    course = Scenario(start)
    await course.submit(decision_event(course.time, **changes))
    return course


async def registered(course: Scenario, worker_id: str = "forge-1") -> Scenario:
    """Let a worker come that builds and tests."""
    await course.worker_says(
        "worker.registered",
        worker_id,
        endpoint=f"https://{worker_id}.example.com/tickets",
        capabilities=["build", "test"],
        slots=2,
        telemetry={"success_rate": 0.97, "total_executions": 412, "avg_duration_ms": 41_250.0},
        running=[],
    )
    return course


async def begun(start: datetime = START, answer: Answer | None = None, **changes: Any) -> Scenario:  # noqa: ANN401 as above
    """Return the beginning of most courses: a worker is there, the decision has arrived, the build is assigned."""
    course = await registered(Scenario(start))
    course.answer = answer or course.answer
    await course.submit(decision_event(course.time, **changes))
    await course.run()
    return course


async def built(course: Scenario) -> Scenario:
    """Let the build go well, so that the tests and the scan are assigned."""
    await course.later(46)
    await course.report("build", "COMPLETED", output={"image": IMAGE})
    return course


async def tested(course: Scenario) -> Scenario:
    """Let the build, the tests and the scan go well, so that nothing is left but the deployment."""
    await built(course)
    await course.later(17)
    await course.report("scan", "COMPLETED", output={"weaknesses": 0})
    await course.later(14)
    await course.report("test", "COMPLETED", output={"passed": 214})
    return course


async def deploying(course: Scenario) -> Scenario:
    """Let a worker come that deploys, and take the ticket that waits for it."""
    await course.worker_says(
        "worker.registered", "ship-1", endpoint="https://ship-1.example.com/", capabilities=["deploy"], slots=1
    )
    return course
