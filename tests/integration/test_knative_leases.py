"""Workers that ask for their tickets where each function is a process: nothing is sent to them, requests look again."""

import asyncio

from functions._core.events.assignment import BATCH_SIZE
from tests.support.knative import SharedStore, cluster
from tests.support.world import decision, task, until

NAMES = ("validate", "generate_tickets", "discover", "assign", "monitor", "publish_telemetry", "track_workers", "api")


async def test_a_ticket_that_another_process_assigns_is_given_to_the_request_that_waits() -> None:
    async with cluster(SharedStore(), NAMES) as (api, broker):
        await api.send("/api/v1/workers", {"worker_id": "p1", "delivery": "pull", "capabilities": ["python"]})
        asked = {"worker_id": "p1", "limit": BATCH_SIZE, "wait_seconds": 30, "running": []}
        waiting = asyncio.create_task(api.send("/api/v1/tasks/lease", asked))
        flow_id = await api.submit(decision(task("a"), task("b", "a")))
        done: list[str] = []
        while len(done) < 2:
            for event in (await waiting)["assignments"]:
                data = event["data"]
                report = {"ticket_id": data["ticket_id"], "attempt": data["attempt"], "status": "COMPLETED"}
                path = data["callback_url"].removeprefix(api.url)
                token = {"authorization": f"Bearer {data['token']}"}

                async def reported(path: str = path, report: object = report, token: object = token) -> bool | None:
                    status, _ = await api.call("POST", path, report, **token)  # type: ignore[arg-type] # headers
                    return status == 200 or None

                await until(reported, "the report to be taken")
                done.append(data["task_id"])
            waiting = asyncio.create_task(api.send("/api/v1/tasks/lease", {**asked, "wait_seconds": 2}))
        await waiting
        assert done == ["a", "b"]
        assert (await api.ended(flow_id))["status"] == "COMPLETED"
        assert broker.refused == []
