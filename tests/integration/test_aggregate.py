"""`flowc aggregate` over an exported folder gives the statistics that the platform gives of its own history."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from functions._core.learning.columns import flow_columns, flow_of_columns, ticket_columns, ticket_of_columns
from functions._core.records.record import as_json
from tests.conftest import ROOT
from tests.support.histories import history
from tests.support.processes import running_platform
from tests.support.world import decision, task


def flowc(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowc", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def aggregated(folder: Path, *words: str) -> dict[str, Any]:
    done = flowc("aggregate", str(folder), *words)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


async def test_the_aggregates_of_a_folder_are_those_of_the_platform(tmp_path: Path) -> None:
    async with running_platform(tmp_path) as platform:
        platform.hire("w-1", "--simulate", "1000", "--capability", "python")
        for number in range(3):
            flow_id = await platform.submit(decision(task("a"), task(f"b{number}", "a"), correlation_id="=1+1"))
            await platform.ended(flow_id)
        for what in ("flows", "tickets"):
            for end in ("csv", "parquet", "ndjson"):
                (tmp_path / end).mkdir(exist_ok=True)
                out = str(tmp_path / end / f"{what}.{end}")
                assert flowc("export", what, "--out", out, "--url", platform.url).returncode == 0
        body = {"sources": ["HISTORICAL"], "use_cache": False}
        answer = await platform.send("/api/v1/analytics/query", body)
    live = answer["sources"]["HISTORICAL"]["data"]
    window = answer["time_window"]
    span = [word for name in ("start", "end") for word in (f"--{NAMES[name]}", plain(window[name]))]
    for end in ("csv", "parquet", "ndjson"):
        said = aggregated(tmp_path / end, *span)
        assert {**said, "complete": True} == live, end
        assert (said["flows"], said["tickets"]) == (3, 6)


NAMES = {"start": "since", "end": "until"}


def plain(moment: str) -> str:
    return datetime.fromisoformat(moment).strftime("%Y-%m-%dT%H:%M:%S")


def test_lines_become_the_rows_that_they_were_made_of() -> None:
    for flow, tickets in history(5, 30):
        assert flow_of_columns(as_json(flow_columns(flow))) == flow
        for ticket in tickets:
            assert ticket_of_columns(as_json(ticket_columns(ticket))) == ticket.but(error=None)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has none of flows.parquet"),
        ({"flows.csv": b"\xff"}, "is none of flows"),
        ({"flows.csv": b"flow_id\nf-1\n"}, "is none of flows"),
        ({"flows.ndjson": b"[1]\n"}, "is none of flows"),
        ({"flows.ndjson": b'{"flow_id": 7}\n'}, "is none of flows"),
        ({"flows.parquet": b"PAR1 nonsense"}, "is none of flows"),
        ({"flows.ndjson": b""}, "has none of tickets.parquet"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, files: dict[str, bytes], says: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = flowc("aggregate", str(tmp_path))
    assert (done.returncode, says in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_flows_has_no_figures(tmp_path: Path) -> None:
    header = csv_header()
    (tmp_path / "flows.csv").write_text(header["flows"])
    (tmp_path / "tickets.csv").write_text(header["tickets"])
    said = aggregated(tmp_path)
    assert (said["flows"], said["tickets"], said["anomalies"]) == (0, 0, [])


def csv_header() -> dict[str, str]:
    from functions._cli.export_files import columns_of

    return {what: ",".join(columns_of(what)) + "\n" for what in ("flows", "tickets")}
