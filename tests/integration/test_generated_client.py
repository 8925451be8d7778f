"""A client that is generated from /openapi.json submits a decision, and creates, claims and completes a ticket."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, require
from tests.support.one_machine import one_machine

PROGRAMS = ROOT / ".venv" / "clients" / "bin"
PATIENCE = 120

SCRIPT = """
import json
import sys

from flowc_client import AuthenticatedClient
from flowc_client.api.flows import get_flow
from flowc_client.api.tickets import change_status, create_ticket, get_ticket, get_ticket_history
from flowc_client.api.workflows import execute_flow
from flowc_client.models import Decision, NewTicket, NewTicketTaskType, Problem, StatusChange
from flowc_client.models import StatusChangeAskedStatus as Status

url, key, decision = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=key, prefix="", auth_header_name="X-API-Key")
taken = execute_flow.sync(client=client, body=Decision.from_dict(json.loads(decision)), wait_seconds=0)
flow = get_flow.sync(taken.flow_id, client=client)

new = NewTicket(plan_id="plan-1", task_type=NewTicketTaskType.BUILD, required_capabilities=["python"])
created = create_ticket.sync(client=client, body=new)
again = create_ticket.sync_detailed(client=client, body=new)
claim = StatusChange(status=Status.RUNNING, worker_id="generated")
claimed = change_status.sync(created.ticket_id, client=client, body=claim)
other = StatusChange(status=Status.RUNNING, worker_id="another")
refused = change_status.sync(created.ticket_id, client=client, body=other)
end = StatusChange(status=Status.COMPLETED, attempt=claimed.attempt, output={"answer": 42})
change_status.sync(created.ticket_id, client=client, body=end)
ticket = get_ticket.sync(created.ticket_id, client=client)
history = get_ticket_history.sync(created.ticket_id, client=client)

print(json.dumps({
    "decision_id": flow.decision_id,
    "again": again.status_code,
    "refused": isinstance(refused, Problem) and refused.code,
    "ticket": (ticket.status.value, ticket.worker_id, ticket.output),
    "history": [line.to_status for line in history.items],
}))
"""


def run(folder: Path, *command: str | Path) -> str:
    """Run a program of the generator's environment in `folder`, and return what it wrote."""
    ran = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
    return ran.stdout


@pytest.mark.slow
async def test_a_generated_client_submits_a_decision_and_does_a_ticket(tmp_path: Path) -> None:
    require(PROGRAMS.is_dir(), "make clients")
    key = "a-key-of-the-administrator"
    async with one_machine(tmp_path / "data", api_key=key) as platform:
        platform.client.headers["x-api-key"] = key
        (tmp_path / "openapi.json").write_text(json.dumps(await platform.get("/openapi.json")), encoding="utf-8")
        (tmp_path / "use.py").write_text(SCRIPT, encoding="utf-8")
        generate = ("generate", "--path", "openapi.json", "--meta", "none", "--output-path", "flowc_client")
        said = await asyncio.to_thread(run, tmp_path, PROGRAMS / "openapi-python-client", *generate)
        assert "warning" not in said.lower(), said
        hello = (ROOT / "examples" / "hello.json").read_text(encoding="utf-8")
        seen = await asyncio.to_thread(run, tmp_path, PROGRAMS / "python", "use.py", platform.url, key, hello)
    assert json.loads(seen) == {
        "decision_id": "hello-1",
        "again": 200,
        "refused": "invalid_transition",
        "ticket": ["COMPLETED", "generated", {"answer": 42}],
        "history": ["RUNNING", "COMPLETED"],
    }
