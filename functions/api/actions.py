"""What people do to the platform is kept: who, what, when and why."""

from typing import Annotated

from fastapi import Query

from functions._core.records.audits import ActionRecord, AuditKind, action_id
from functions._core.records.change_set import ChangeSet
from functions.api.services import ApiServices

NOBODY = "unnamed"
NO_REASON = "no reason given"
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
ACTIONS_LOOKED_AT = 500
"""A signal that is repeated after so many other actions on its flow is taken again, which changes nothing either."""

RequestedBy = Annotated[str, Query(max_length=255, pattern=PRINTABLE, description="Who wants it")]
Why = Annotated[str, Query(alias="reason", max_length=1000, pattern=PRINTABLE, description="Why")]


async def record(
    services: ApiServices,
    action: str,
    target: str,
    *,
    who: str,
    why: str,
    flow_id: str = "",
    key: str | None = None,
) -> None:
    """Keep that `who` does `action` to `target`, an id. Durable before return, so that nothing goes unseen.

    `key` recognises the same action again, see `taken`; without one every action is another.
    """
    at = services.ports.clock.now()
    action_record = ActionRecord(
        audit_id=action_id(target, key or f"{action}/{at.isoformat()}"),
        flow_id=flow_id,
        action=action,
        target=target,
        who=who,
        why=why,
        at=at,
    )
    await services.ports.store.commit(ChangeSet(flow_id=flow_id, audit=(action_record,)))


async def taken(services: ApiServices, flow_id: str, target: str, key: str) -> bool:
    """Whether an action of this key was kept before."""
    wanted = action_id(target, key)
    actions = await services.ports.views.audits(flow_id, ACTIONS_LOOKED_AT, kind=AuditKind.ACTION)
    return any(action.audit_id == wanted for action in actions)
