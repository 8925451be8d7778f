"""`flowc` within the test's process, and a stand-in for the API that it talks to.

The records that the stand-in shows are made by the API's own views.
"""

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from typer.testing import CliRunner, Result

from functions._cli.app import app
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.records.history import HistoryEntry
from functions._core.records.record import Record, encode, from_json
from functions._observability import logs
from functions.api.views import flow_detail, ticket_view
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import decision


def flowc(*arguments: str, stdin: str | None = None, **environment: str) -> Result:
    """Run the command line in this process, without any setting of the caller's environment."""
    cleared = {name: environment.get(name) for name in ("FLOWC_URL", "FLOWC_API_KEY", "FLOWC_PORT")}
    with logs_as_before():
        return CliRunner(env={**cleared, **environment, "COLUMNS": "120"}).invoke(
            app, arguments, input=stdin, prog_name="flowc"
        )


@contextmanager
def logs_as_before() -> Iterator[None]:
    """Give this process the configuration of its logs back in the end, whatever was configured in between."""
    before = structlog.get_config()
    handlers, level = [*logging.root.handlers], logging.root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    try:
        yield
    finally:
        structlog.configure(**before)
        vars(logs.log).pop("bind", None)  # a logger that was used meanwhile has kept its configuration
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.captureWarnings(capture=False)
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def written(folder: Path, *tasks: Any, **more: Any) -> tuple[str, str]:
    """Write a decision about `tasks` to a file; return the file and the decision's plan id."""
    data = decision(*tasks, **more)
    file = folder / f"{data['decision_id']}.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    return str(file), data["plan_id"]


@dataclass
class Api:
    """A stand-in for the API: answers by method and path, each a value or a list to be used up."""

    server: Loopback
    answers: dict[str, Any]

    async def answer(self, request: Request) -> Answer:
        found = self.answers.get(f"{request.method} {request.path}")
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        if callable(found):
            found = found(request)
        if isinstance(found, Answer):
            return found
        if found is None and request.path == "/api/v1/flows/resolve":
            found = {"flow_id": request.query["ref"]}
        if found is None:
            return problem(404, "there is nothing here", "unknown")
        return Answer(200, json.dumps(found).encode(), {"content-type": "application/json"})

    async def flowc(self, *arguments: str, stdin: str | None = None, **environment: str) -> Result:
        """Run a command against this API, in a thread, so that this loop can answer it."""
        return await asyncio.to_thread(flowc, *arguments, stdin=stdin, **{"FLOWC_URL": self.server.url, **environment})


def problem(status: int, detail: str, code: str, **more: object) -> Answer:
    """Return a problem document as the API sends it."""
    document = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code, **more}
    return Answer(status, json.dumps(document).encode(), {"content-type": "application/problem+json"})


def json_object(record: Record) -> dict[str, Any]:
    """Return a record as a client reads it."""
    return dict(json.loads(encode(record)))


def a_row(status: str = "COMPLETED", **changes: object) -> dict[str, Any]:
    """Return a flow as the API shows it."""
    ended = {"outcome": status, "ended_at": T0 + seconds(2)} if status in ENDED_FLOWS else {}
    flow = make_flow(1, status=status, **{"tickets_generated": 1, "sla_deadline": FAR, **ended, **changes})
    return json_object(flow_detail(flow, (), {}, T0))


def a_reason(kind: str, subject: str, *text: str) -> dict[str, Any]:
    """Return why a flow or a ticket is where it is, as the API says it."""
    return {"kind": kind, "subject": subject, "text": text, "candidates": [], "last_events": []}


def a_ticket(**changes: object) -> dict[str, Any]:
    """Return the ticket of that flow as the API shows it."""
    ticket = make_ticket(make_flow(), 1, **{"critical": True, "next_wakeup_at": None, **changes})
    return json_object(ticket_view(ticket, T0))


def an_entry(seq: int, kind: str, to_status: str | None, **more: object) -> dict[str, Any]:
    """Return a line of the flow's history; about its ticket, unless the kind says otherwise."""
    about = {"ticket_id": TICKET["ticket_id"], "task_id": "task-1"} if kind.startswith("ticket.") else {}
    line = {"flow_id": FLOW_ID, "at": T0 + timedelta(milliseconds=seq), "cause": "", "seq": seq, "type": kind}
    return json_object(from_json(HistoryEntry, {**line, "to_status": to_status, **about, **more}))


FAR = T0 + timedelta(days=365_000)
FLOW_ID = make_flow().flow_id
TICKET = a_ticket(status="COMPLETED", attempt=1, worker_id="w1")
ASSIGNED = an_entry(2, "ticket.assigned", "ASSIGNED", worker_id="w1", attempt=1)
DONE = an_entry(3, "ticket.completed", "COMPLETED", worker_id="w1", attempt=1)
FLOW = f"GET /api/v1/flows/{FLOW_ID}"


def history(*pages: Sequence[Mapping[str, Any]] | Answer) -> list[Mapping[str, Any] | Answer]:
    """Return answers with the lines of `pages`, one page after the other, and none after that."""
    answers: list[Mapping[str, Any] | Answer] = [
        page if isinstance(page, Answer) else {"items": page, "after": page[-1]["seq"] if page else 0}
        for page in (*pages, ())
    ]
    return answers


def watched(api: Api, status: str, *pages: Sequence[Mapping[str, Any]] | Answer) -> None:
    """Let a flow with one ticket be EXECUTING once and `status` from then on, with a history of `pages`."""
    api.answers |= {
        "POST /": {"flow_id": FLOW_ID},
        FLOW: [a_row("EXECUTING"), a_row(status)],
        f"{FLOW}/tickets": {"items": [TICKET], "cursor": None},
        f"{FLOW}/history": history(*pages),
    }
