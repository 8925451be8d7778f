"""One small plan for each construct of the plan language: to be read, changed and run by any worker."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

SCHEDULE = "schedule"
"""The sample that is a schedule, for `PUT /api/v1/schedules/{name}`, and no decision."""

Fields = dict[str, Any]


class Construct(NamedTuple):
    """A sample: a line about it, its tasks, and the further fields of its plan."""

    sentence: str
    tasks: Sequence[Mapping[str, Any]]
    more: Mapping[str, Any]


def _task(task_id: str, description: str, *after: str, kind: str = "EXECUTE", **more: object) -> Fields:
    estimate = {} if kind in {"APPROVE", "WAIT", "SUBFLOW"} else {"estimated_duration_ms": 1_000}
    return {
        "task_id": task_id,
        "task_type": kind,
        "description": description,
        **({"dependencies": [*after]} if after else {}),
        **estimate,
        **more,
    }


def _of(sentence: str, *tasks: Fields, **more: object) -> Construct:
    return Construct(sentence, tasks, more)


EXTRACT = _task("extract", "Read the new rows", kind="QUERY")
ORDERS = [{"order": 17, "region": "north"}, {"order": 18, "region": "south"}, {"order": 19, "region": "north"}]

CONSTRUCTS: Mapping[str, Construct] = {
    "fan-out": _of(
        "Several tasks side by side, and one that needs them all.",
        EXTRACT,
        *(
            _task(f"check-{name}", f"Check the {name}", "extract", kind="VALIDATE")
            for name in ("sums", "keys", "dates")
        ),
        _task("load", "Write the rows", "check-sums", "check-keys", "check-dates"),
    ),
    "approval": _of(
        "A person decides before the rest goes on; the form asks for data.",
        _task("build", "Build the release", kind="BUILD"),
        _task(
            "approve",
            "Ask whether the release goes out",
            "build",
            kind="APPROVE",
            approval={
                "message": "May this release go out?",
                "approvers": ["operator", "release-managers"],
                "form": {"type": "object", "properties": {"ticket": {"type": "string"}}, "required": ["ticket"]},
                "timeout_ms": 3_600_000,
                "on_denied": "fail",
                "stops_clock": True,
            },
        ),
        _task("deploy", "Put the release out", "approve", kind="DEPLOY"),
    ),
    "wait": _of(
        "A pause between two tasks; nobody holds a slot meanwhile.",
        _task("deploy", "Put the release on one machine", kind="DEPLOY"),
        _task("settle", "Let it run for five seconds", "deploy", kind="WAIT", wait={"seconds": 5}),
        _task("verify", "Look at its errors", "settle", kind="VALIDATE"),
    ),
    "event": _of(
        "A wait for an event from outside, such as `flowc signal sample.payment.received --data '{\"order\": 17}'`.",
        _task("invoice", "Send the invoice of order 17"),
        _task(
            "payment",
            "Wait for the payment of order 17",
            "invoice",
            kind="WAIT",
            wait={
                "event": {
                    "type": "sample.payment.received",
                    "correlation": {"at": "/order", "equals": 17},
                    "filter": "!has(event.data.amount) || event.data.amount > 0",
                },
                "timeout_ms": 600_000,
                "on_timeout": "continue",
            },
        ),
        _task("ship", "Ship what was paid for", "payment", when='outputs["payment"] != null'),
        _task("remind", "Remind the customer", "payment", when='outputs["payment"] == null'),
    ),
    "condition": _of(
        "A fallback where a task failed, and a join of both branches.",
        _task("fast", "Try the fast way", allow_failure=True),
        _task("slow", "Go the slow way", "fast", when='statuses["fast"] == "FAILED"'),
        _task("publish", "Publish the result of either", "fast", "slow", on_skipped="any"),
    ),
    "foreach": _of(
        "A task for each item of a list, two at once; one item may fail.",
        _task(
            "ship",
            "Ship one order",
            foreach={"items": ORDERS, "limit": 2, "max_failures": 1, "expected_items": 3},
            parameters={"order": {"$item": "/order"}, "number": {"$index": True}},
        ),
        _task("report", "Report what was shipped", "ship", parameters={"shipped": {"$output": "ship"}}),
    ),
    "sub-flow": _of(
        "A task that is a plan of its own, once for each region.",
        _task(
            "region",
            "Serve a region",
            kind="SUBFLOW",
            foreach={"items": ["north", "south"], "limit": 2, "expected_items": 2},
            parameters={"region": {"$item": ""}},
            plan={
                "tasks": [
                    _task("plan", "Plan the tour", kind="QUERY", parameters={"region": {"$input": "/region"}}),
                    _task("drive", "Drive the tour", "plan", parameters={"tour": {"$output": "plan"}}),
                ],
                "result": {"drive": {"$output": "drive"}},
            },
        ),
        _task("close", "Close the day", "region"),
    ),
    "result": _of(
        "A result that the plan puts together, and labels to find its flows by.",
        EXTRACT,
        _task("sum", "Add the rows up", "extract", kind="TRANSFORM", labels={"stage": "sum"}),
        result={"summary": {"$output": "sum"}, "source": {"$output": "extract"}},
        labels={"team": "data", "kind": "nightly"},
    ),
}
"""Every construct by its name; `SCHEDULE` is made of one of them."""

SENTENCES: Mapping[str, str] = {name: one.sentence for name, one in CONSTRUCTS.items()} | {
    SCHEDULE: "A decision each night at three: for `flowc schedule put NAME FILE`."
}
"""A line about each sample."""


def construct_sample(name: str, key: str) -> Fields:
    """Return a sample: an approved decision, or of `SCHEDULE` a schedule; the same `key` gives the same decision."""
    if name == SCHEDULE:
        decision = construct_sample("result", key)
        del decision["decision_id"]
        return {"cron": "0 3 * * *", "zone": "Europe/Berlin", "overlap": "skip", "decision": decision}
    one = CONSTRUCTS[name]
    plan_id = f"sample-{name}"
    return {
        "decision_id": f"{plan_id}-{key}",
        "plan_id": plan_id,
        "intent_id": plan_id,
        "final_decision": "approve",
        "cognitive_plan": {"plan_id": plan_id, "tasks": deepcopy([*one.tasks]), **deepcopy(dict(one.more))},
    }
