"""Files that people write plans in: a decision, a CloudEvent with one, or a plan alone, as JSON or as YAML."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from functions._cli.console import WRONG_USE, CommandFailed
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.json_text import BYTE_ORDER_MARK, content_hash, parse_json

DECISION = type_of("decision.consolidated")
PLAN = "cognitive_plan"
ALONE = "plan"
"""The `plan_id` of a plan that is alone in its file and names none."""


@dataclass(frozen=True)
class DecisionFile:
    """A file with a decision.

    `event` carries the decision; of a plan that is alone in the file, one that approves it. `prefix` is what the paths
    of reasons begin with and those of the file do not, `root` the other way round.
    """

    name: str
    text: bytes
    yaml: bool
    event: CloudEvent
    prefix: str = ""
    root: str = ""

    @property
    def plan(self) -> Any:  # noqa: ANN401 any JSON value
        """The plan, as it is in the file."""
        return self.event.data.get(PLAN)

    @cached_property
    def lines(self) -> list[str]:
        """The lines of the text."""
        return self.text.removeprefix(BYTE_ORDER_MARK).decode(errors="replace").split("\n")

    def places(self, paths: Iterable[str]) -> Mapping[str, tuple[int, int]]:
        """Return line and column, from 1, of each path of a reason."""
        from functions._cli.text_places import json_tokens, places
        from functions._core.records.yaml_text import yaml_tokens

        in_file = {path: self.root + path.removeprefix(self.prefix) for path in paths}
        text = self.text.removeprefix(BYTE_ORDER_MARK)
        tokens = yaml_tokens(text) if self.yaml else json_tokens(text.decode(errors="replace"))
        found = places(tokens, {*in_file.values()})
        return {path: found[place] for path, place in in_file.items()}


def text_of(name: str) -> bytes:
    """Return the content of a file, `-` being stdin; raise `CommandFailed`, exit status 2."""
    if name == "-" and sys.stdin is None:
        raise CommandFailed("-: standard input is closed", exit_status=WRONG_USE)
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{name}: cannot be read: {error.strerror}", exit_status=WRONG_USE) from error


def is_yaml(name: str, text: bytes) -> bool:
    """Tell whether a text is YAML: by the ending of its file's name, else if it begins like no JSON object or list."""
    if name.lower().endswith((".yaml", ".yml")):
        return True
    if name.lower().endswith(".json"):
        return False
    begin = text.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
    return begin not in {b"", b"{", b"["} and b":" in text


def read_file(name: str, text: bytes, run: str = "") -> DecisionFile:
    """Return what a file holds; `run` tells the decisions apart that are made around a plan that is alone.

    Raises `Rejected` when there is no JSON or YAML object in it, or the event is no decision.
    """
    yaml = is_yaml(name, text)
    if yaml:
        from functions._core.records.yaml_text import parse_yaml

        document = parse_yaml(text.removeprefix(BYTE_ORDER_MARK))
    else:
        document = parse_json(text)
    if not isinstance(document, dict):
        raise Rejected(f"a decision is a {'mapping' if yaml else 'JSON object'}")
    if "specversion" in document:
        return DecisionFile(name, text, yaml, _event(text, document, yaml=yaml), root="data.")
    if "tasks" in document and PLAN not in document:
        return DecisionFile(name, text, yaml, event_of(around(document, run)), prefix=f"{PLAN}.")
    return DecisionFile(name, text, yaml, event_of(document))


def around(plan: Mapping[str, Any], run: str = "") -> dict[str, Any]:
    """Return a decision that approves a plan; the same plan and `run` make the same decision."""
    plan_id = plan.get("plan_id") or ALONE
    return {
        "decision_id": f"{plan_id}-{run or content_hash(plan)[:12]}",
        "plan_id": plan_id,
        "intent_id": plan_id,
        "final_decision": "approve",
        PLAN: {**plan, "plan_id": plan_id},
    }


def event_of(data: Mapping[str, Any]) -> CloudEvent:
    """Return the event that carries a decision."""
    return CloudEvent(id=str(uuid4()), source="/flowc/cli", type=DECISION, time=datetime.now(UTC), data=data)


def _event(text: bytes, document: Mapping[str, Any], *, yaml: bool) -> CloudEvent:
    """Return the event of a structured CloudEvent; raise `Rejected` when it carries no decision."""
    import json

    from functions._adapters.http.cloudevents import STRUCTURED, read_events

    written = json.dumps(document).encode() if yaml else text
    (event,), _ = read_events({"content-type": STRUCTURED}, written, received_at=datetime.now(UTC))
    if event.type != DECISION:
        raise Rejected(f"an event of type {event.type} is no decision, that would be {DECISION}")
    return event
