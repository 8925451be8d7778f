"""What C1 says of a decision that was just submitted."""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from functions._cli.client import CommandRefused, NoPlatform, PlatformClient, flow_path
from functions._cli.console import say
from functions._cli.wire import AWAITING_APPROVAL, REJECTED
from functions._cli.words import clean

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

VERDICT_SECONDS = 2.0
"""How long the verdict is waited for; in a cluster that just starts its functions it may come later."""

PAUSE_SECONDS = 0.05
UNDECIDED = "VALIDATING"


async def verdict_on(client: PlatformClient, flow_id: str) -> int:
    """Wait for C1, say its warnings or reasons, and return the exit status: 1 when the plan was rejected.

    A verdict that is not there in time is none: the flow goes on without anybody who watches.
    """
    flow = await _decided(client, flow_id)
    if flow is None:
        return 0
    if flow.get("prediction"):
        model, probability = clean(flow["prediction"]["model"]), flow["prediction"]["probability"]
        say(f"it meets its deadline with a probability of {probability:.0%}, by model {model}")
    for warning in flow["warnings"]:
        say(f"warning: {clean(warning['message'])} ({clean(warning['code'])})")
    if REJECTED in {flow["status"], flow["outcome"]}:
        say("flowc: the plan was rejected:")
        for reason in flow["reasons"]:
            say(f"  {clean(reason['message'])} ({clean(reason['code'])})")
        return 1
    if flow["status"] == AWAITING_APPROVAL:
        say(f"the flow waits for approval: flowc approve {flow_id}")
    return 0


async def _decided(client: PlatformClient, flow_id: str) -> "JsonObject | None":
    until = monotonic() + VERDICT_SECONDS
    while monotonic() < until:
        try:
            flow = await client.get(flow_path(flow_id))
        except (
            CommandRefused,
            NoPlatform,
        ):  # not there yet, or away for a moment: it was accepted, that is what counts
            pass
        else:
            if flow["status"] != UNDECIDED:
                return flow
        await asyncio.sleep(PAUSE_SECONDS)
    return None
