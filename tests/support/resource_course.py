"""A document of an SLO is applied, kept as it says by the clock, changed, and deleted, on any platform."""

from typing import Any
from uuid import uuid4

from functions._core.ports import KeyValues
from functions._core.slo import stored
from functions._core.slo.resources import ROUND, ROUNDS
from functions._core.small_records import removed_entry
from tests.support.http_world import HttpWorld
from tests.support.world import PATIENCE_S, Document, until

APPLIED, DELETED = "neural-hive.resource.applied", "neural-hive.resource.deleted"


def document(name: str, target: float) -> Document:
    """Return an SLO of flows that nobody has, as a document."""
    history = {"measure": "flow_success", "labels": {"course": name}}
    spec = {"serviceName": name, "target": target, "sliQuery": {"history": history}}
    return {"apiVersion": "neural-hive.io/v1", "kind": "SLODefinition", "metadata": {"name": name}, "spec": spec}


async def a_document_is_kept_as_it_says(world: HttpWorld, entries: KeyValues, seconds: float = PATIENCE_S) -> None:
    """Apply a document by HTTP, let the clock repair its SLO, change it by an event, and delete it by another one.

    `entries` are those of the store of the world: somebody changes there what the API would refuse.
    """
    name = f"course-{uuid4().hex[:12]}"
    path = f"/api/v1/resources/SLODefinition/{name}"
    status, made = await world.call("PUT", path, document(name, 0.99))
    assert (status, made["result"]) == (201, "created"), made
    slo_id = made["status"]["sloId"]
    await stored.changed_slo(entries, slo_id, lambda one: one.but(target=0.5, enabled=False))
    # Whoever gets the next tick looks: else it would be one in five minutes.
    await removed_entry(entries, ROUNDS, ROUND)

    async def repaired() -> Document | None:
        found: Document = await world.get(f"/api/v1/slos/{slo_id}")
        return found if (found["target"], found["enabled"]) == (0.99, True) else None

    await until(repaired, f"the SLO {name} to be as its document says (see {world.where})", seconds)
    told = await world.get(path)
    assert (told["status"]["synced"], told["status"]["message"], told["spec"]["target"]) == (True, "", 0.99)
    assert await _sent(world, APPLIED, document(name, 0.9)) == (202, "changed")
    assert (await world.get(f"/api/v1/slos/{slo_id}"))["target"] == 0.9
    names = {"kind": "SLODefinition", "metadata": {"name": name}}
    assert await _sent(world, DELETED, names) == (202, "deleted")
    assert (await world.call("GET", path))[0] == 404
    left = await world.get(f"/api/v1/slos/{slo_id}")
    assert (left["enabled"], left["managed_by"]) == (False, None)


async def _sent(world: HttpWorld, event_type: str, data: Document) -> tuple[int, Any]:
    """Send an event about a document to the front door; return the status and the result."""
    attributes = {"ce-specversion": "1.0", "ce-id": str(uuid4()), "ce-source": "/git", "ce-type": event_type}
    status, answer = await world.call("POST", "/", data, **attributes)
    return status, answer.get("result")
