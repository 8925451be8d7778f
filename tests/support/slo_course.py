"""An error budget on any platform: flows that fail spend it, a freeze begins, and its event reaches a subscriber."""

from uuid import uuid4

from functions._core.ports import KeyValues
from functions._core.slo.stored import active_freezes, put_new
from tests.support.http_world import ClientWorld
from tests.support.slo_history import policy, slo
from tests.support.webhook_course import known
from tests.support.webhook_receiver import WebhookReceiver, verified
from tests.support.world import decision, task, until

SUBSCRIPTIONS = "/api/v1/subscriptions"
REJECTED = "io.neuralhive.plan.rejected.v1"
"""Told when somebody sends a plan that cannot be: by it a subscription shows that it is known."""

TYPES = ["io.neuralhive.sla.slo.violated.v1", "io.neuralhive.sla.freeze.activated.v1"]


async def a_spent_budget_freezes(world: ClientWorld, entries: KeyValues, seconds: float) -> None:
    """Subscribe, let a flow of the SLO's label miss its deadline, and wait for the two events, each once."""
    name = f"slo-{uuid4()}"
    async with WebhookReceiver() as receiver:
        made = await world.send(SUBSCRIPTIONS, {"sink": receiver.sink("slo"), "types": [*TYPES, REJECTED]})
        await known(world, receiver, "slo", seconds)
        late = decision(
            task("a", required_capabilities=["nobody-can"]), labels={"course": name}, sla_deadline_seconds=1
        )
        ended = await world.ended(await world.submit(late), seconds)
        assert ended["status"] == "TIMED_OUT"
        history = {"measure": "flow_success", "labels": {"course": name}}
        await put_new(entries, policy(name, target=name))
        await put_new(entries, slo(name, history, service_name=name))

        async def told() -> bool | None:
            return {body["type"] for body in receiver.bodies("slo")} >= set(TYPES) or None

        await until(told, "the violation and the freeze are told", seconds)
        [freeze] = [one for one in await active_freezes(entries) if one.policy_id == name]
        found = {body["type"]: body for body in receiver.bodies("slo")}
        assert found[TYPES[0]]["data"]["slo_id"] == found[TYPES[1]]["data"]["slo_id"] == name
        assert (found[TYPES[1]]["data"]["event_id"], found[TYPES[1]]["data"]["target"]) == (freeze.event_id, name)
        for _, request in receiver.received["slo"]:
            verified(made["secret"], request)
        assert (await world.call("DELETE", f"{SUBSCRIPTIONS}/{made['id']}"))[0] == 204
