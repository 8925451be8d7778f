"""One flow and its webhooks on any platform: every event arrives, signed and once, at who subscribed and who owns."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from functions._core.events.routes import ROUTES
from functions._core.webhooks.owners import owner_of
from tests.support.http_world import ClientWorld
from tests.support.webhook_receiver import WebhookReceiver, verified
from tests.support.world import decision, task, until

SUBSCRIPTIONS = "/api/v1/subscriptions"
OWNED = ["ticket.ready", "ticket.assigned", "ticket.completed"]


def types_of(receiver: WebhookReceiver, name: str, flow_id: str) -> Counter[str]:
    bodies = (body for body in receiver.bodies(name) if body["partitionkey"] == flow_id)
    return Counter(body["type"].removeprefix("io.neuralhive.").removesuffix(".v1") for body in bodies)


async def known(world: ClientWorld, receiver: WebhookReceiver, name: str, seconds: float) -> None:
    """Wait until a new subscription is known to whoever brings events to it: send plans that are refused at once."""

    async def told() -> bool | None:
        if receiver.received[name]:
            return True
        await world.submit(decision(task("a", "b"), task("b", "a")))
        return None

    await until(told, "the subscription is known", seconds)


async def every_delivery_arrives(world: ClientWorld, plan: Mapping[str, Any], seconds: float) -> None:
    """Subscribe, let the first task of a plan name a webhook, run the flow, and compare what came with its history."""
    async with WebhookReceiver() as receiver:
        first = plan["cognitive_plan"]["tasks"][0]
        first["metadata"] = {**first.get("metadata", {}), "webhook_url": receiver.sink("owner")}
        made: dict[str, Any] = await world.send(SUBSCRIPTIONS, {"sink": receiver.sink("all")})
        form = {"sink": receiver.sink(""), "config": {"tickets": True}}
        owner: dict[str, Any] = await world.send(SUBSCRIPTIONS, form)
        assert owner["id"] == owner_of(receiver.sink("owner"))
        await known(world, receiver, "all", seconds)
        flow_id = await world.submit(plan)
        assert (await world.ended(flow_id, seconds))["status"] == "COMPLETED"
        kinds = [entry["type"] for entry in await world.history(flow_id)]
        told = Counter(kind for kind in kinds if kind not in ROUTES) + Counter(["ticket.ready"])

        async def all_there() -> bool | None:
            of_owner = types_of(receiver, "owner", flow_id)
            return (types_of(receiver, "all", flow_id) >= told and of_owner >= Counter(OWNED)) or None

        await until(all_there, f"{sum(told.values())} events, and those of the owner", seconds)
        assert types_of(receiver, "all", flow_id) == told
        assert types_of(receiver, "owner", flow_id) == Counter(OWNED)
        for name, secret in (("all", made["secret"]), ("owner", owner["secret"])):
            assert len(set(receiver.ids(name))) == len(receiver.ids(name))
            for _, request in receiver.received[name]:
                verified(secret, request)
        (ready,) = (body for body in receiver.bodies("owner") if body["type"].endswith("ticket.ready.v1"))
        assert ready["data"]["callback"]["status_url"].endswith(f"/api/v1/tickets/{ready['subject']}/status")
        assert all("callback" not in body["data"] for body in receiver.bodies("all"))
        for one in (made, owner):
            assert (await world.call("DELETE", f"{SUBSCRIPTIONS}/{one['id']}"))[0] == 204
