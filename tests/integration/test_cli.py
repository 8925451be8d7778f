"""`flowc` with nothing left out: every command against a platform and a worker as processes."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from functions._hosts.one_machine.process import next_steps
from tests.support.command_line import flowc, written
from tests.support.loopback import until as seen
from tests.support.processes import Platform, platform_process, processes, running_platform, worker_process
from tests.support.world import PATIENCE_S, task, until

SAYS_NO = 'case "$FLOWC_TASK_ID" in bad*) echo "no such file" >&2; exit 3;; slow*) sleep 1;; esac; echo "[1]"'
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Return a running platform with one worker, which fails tasks named bad and takes a second for slow ones."""
    folder = tmp_path_factory.mktemp("platform")
    with processes() as started:
        platform = platform_process(folder)
        worker = worker_process(folder, platform.url, "sh-1", "--capability", "python", "--shell", SAYS_NO)
        started += [platform, worker]
        platform.start()
        worker.start()
        asyncio.run(platform.ready())
        yield platform


@pytest.fixture
def run(platform: Platform) -> Run:
    """Return `flowc` bound to that platform."""
    return lambda *arguments: flowc(*arguments, FLOWC_URL=platform.url)


class TestAgainstAPlatform:
    def test_the_platform_says_where_its_data_are_and_which_commands_come_next(self, platform: Platform) -> None:
        async def greeting() -> str | None:
            told = platform.log.read_text(encoding="utf-8")
            return told if next_steps(platform.url) in told else None

        told = asyncio.run(until(greeting, "the platform to say what comes next"))
        assert f"Flow C is ready at {platform.url} (data in {platform.log.parent / 'data'})\n" in told

    def test_access_that_is_off_is_said_with_the_command_that_switches_it_on(self, platform: Platform) -> None:
        told = platform.log.read_text(encoding="utf-8")
        assert "Access is off" in told
        assert "FLOWC_API_KEY=$(openssl rand -hex 24) flowc up" in told
        assert '"event":"access.off"' in told.replace('": "', '":"')

    def test_keys_are_made_listed_and_revoked(self, run: Run) -> None:
        made = run("keys", "create", "--name", "ci", "--role", "operator", "--scope", "flows", "--expires", "30d")
        assert made.exit_code == 0, made.output
        key = made.stdout.strip()
        assert key.startswith("flowc_")
        key_id = key.split("_")[1]
        listed = run("keys", "list").output
        assert key_id in listed
        assert key not in listed
        assert run("keys", "revoke", key_id).output.strip() == f"revoked {key_id}"
        assert "no keys" in run("keys", "list").output
        assert run("keys", "revoke", key_id).exit_code == 1
        assert run("keys", "create", "--name", "x", "--role", "root").exit_code == 2
        assert run("keys", "create", "--name", "x", "--role", "viewer", "--expires", "soon").exit_code == 2

    def test_a_decision_is_watched_until_it_is_done(self, run: Run, tmp_path: Path) -> None:
        file, _ = written(tmp_path, task("a"), task("b", "a"))
        result = run("submit", file, "--watch")
        assert result.exit_code == 0, result.output
        flow_id, *lines = result.stdout.splitlines()
        moves = [tuple(line.split()[1:4]) for line in lines]
        assert [move[:2] for move in moves if move[0] == "flow"] == [
            ("flow", status) for status in ("VALIDATING", "GENERATING", "EXECUTING", "PUBLISHING", "COMPLETED")
        ]
        assert moves.index(("a", "COMPLETED", "sh-1")) < moves.index(("b", "ASSIGNED", "sh-1"))
        assert run("show", flow_id, "--watch").exit_code == 0

    def test_a_plan_that_fails_is_exit_status_1_and_says_why(self, run: Run, tmp_path: Path) -> None:
        file, plan_id = written(tmp_path, task("a"), task("bad", "a"), task("c", "bad"), priority="LOW")
        result = run("submit", file, "--watch")
        assert result.exit_code == 1
        flow_id = result.stdout.splitlines()[0]
        shown = run("show", flow_id).stdout
        for said in ("FAILED", plan_id, "1 of 3 done", "1 failed · 1 cancelled", "exit status 3: no such file"):
            assert said in shown
        assert "bad" in run("why", flow_id).stdout

    def test_a_flow_is_listed_explained_and_cancelled(self, run: Run, tmp_path: Path) -> None:
        nobody_can = task("a", required_capabilities=["telepathy"])
        file, plan_id = written(tmp_path, nobody_can)
        flow_id = run("submit", file).stdout.strip()
        listed = run("flows", "--status", "executing")
        assert re.search(rf"{flow_id} +EXECUTING .* left +d-\S+ +{plan_id}", listed.stdout)
        assert plan_id in run("why", flow_id).stdout
        cancelled = run("cancel", flow_id, "--by", "ann", "--reason", "wrong tag")
        assert (cancelled.exit_code, cancelled.stdout[:9]) == (0, "cancelled")
        assert run("show", flow_id, "--watch").exit_code == 1
        assert "cancelled by ann: wrong tag" in run("show", flow_id).stdout

    def test_a_paused_flow_is_resumed_and_its_history_agrees(self, run: Run, tmp_path: Path) -> None:
        nobody_can = task("b", "a", required_capabilities=["telepathy"])
        flow_id = run("submit", written(tmp_path, task("slow"), task("a"), nobody_can)[0]).stdout.strip()
        preview = run("pause", flow_id, "--by", "ann", "--reason", "lunch", "--dry-run").stdout.splitlines()
        assert re.fullmatch(
            r"flow: EXECUTING → PAUSED \(flow.paused; by ann; until .* UTC at most; lunch\)", preview[0]
        )
        assert preview[1:] == ["nothing was changed"]
        assert run("pause", flow_id, "--by", "ann").stdout == "paused; the flow is PAUSED\n"
        assert run("resume", flow_id).stdout == "resumed; the flow is EXECUTING\n"
        refused = run("reassign", f"{flow_id}/b")
        assert (refused.exit_code, refused.stderr) == (
            1,
            "flowc: ticket b is PENDING: no worker holds it (not_possible_now)\n",
        )
        replayed = run("replay", flow_id)
        assert (replayed.exit_code, replayed.stdout.splitlines()[-1]) == (0, "the history and the records agree")

    def test_a_failed_flow_is_an_incident_and_is_redriven(self, run: Run, tmp_path: Path) -> None:
        flow_id = run("submit", written(tmp_path, task("a"), task("bad", "a"))[0], "--watch").stdout.split()[0]
        assert run("show", flow_id, "--watch").exit_code == 1
        assert "ticket bad failed" in run("incidents", "--flow", flow_id).stdout
        assert run("redrive", flow_id).stdout == "redriven; the flow is EXECUTING\n"
        assert run("show", flow_id, "--watch").exit_code == 1
        assert run("replay", flow_id).exit_code == 0

    def test_a_listing_shows_as_many_as_were_asked_for(self, run: Run, tmp_path: Path) -> None:
        for _ in range(3):
            assert run("submit", written(tmp_path, task("a"))[0]).exit_code == 0
        page = json.loads(run("flows", "--json", "--limit", "2").stdout)
        assert len(page["items"]) == 2
        following = json.loads(run("flows", "--json", "--limit", "1", "--cursor", page["cursor"]).stdout)["items"]
        assert following[0]["flow_id"] not in {flow["flow_id"] for flow in page["items"]}

    def test_outputs_and_what_was_written_are_printed_by_any_name_of_the_flow(
        self, run: Run, platform: Platform, tmp_path: Path
    ) -> None:
        file, plan_id = written(tmp_path, task("bad", retry={"max_retries": 0}), task("a"), decision_id="told")
        assert run("submit", file, "--watch").exit_code == 1
        flows = asyncio.run(platform.get("/api/v1/flows"))["items"]
        flow_id = next(flow["flow_id"] for flow in flows if flow["plan_id"] == plan_id)
        for name in (flow_id, flow_id[:8], "told", plan_id):
            result = run("result", name, "--outputs")
            assert (result.exit_code, json.loads(result.stdout)) == (1, {"a": [1]})
        assert run("logs", "told/bad").stdout == "no such file\n"
        assert run("logs", plan_id).stdout == "==> bad <==\nno such file\n==> a <==\n[1]\n"
        assert "  a: [1]" in run("show", "told").stdout
        assert "sh-1" in run("workers").stdout

    def test_a_plan_that_is_rejected_is_exit_status_1_and_one_that_waits_says_for_what(
        self, run: Run, tmp_path: Path
    ) -> None:
        rejected = run("submit", written(tmp_path, task("a", "a", retries=3))[0])
        assert rejected.exit_code == 1
        assert rejected.stderr.count("task 'a' depends on itself") == 1
        assert "did you mean retry" in rejected.stderr
        flow_id = run("submit", written(tmp_path, task("a", required_capabilities=["telepathy"]))[0]).stdout.strip()
        assert "no worker offers telepathy" in run("show", flow_id).stdout

    def test_a_function_can_do_the_tickets(self, run: Run, platform: Platform, tmp_path: Path) -> None:
        file, _ = written(tmp_path, task("a", required_capabilities=["dumps"]))
        with processes() as started:
            worker = worker_process(tmp_path, platform.url, "py-1", "-c", "dumps", "--call", "json:dumps")
            started.append(worker)
            worker.start()
            result = run("submit", file, "--watch")
        assert result.exit_code == 0, result.output
        flow = json.loads(run("show", result.stdout.split()[0], "--json").stdout)
        assert json.loads(flow["tickets"][0]["output"])["task_id"] == "a"

    def test_events_tell_what_happened(self, run: Run, tmp_path: Path) -> None:
        flow_id = run("submit", written(tmp_path, task("a"))[0], "--watch").stdout.splitlines()[0]
        lines = run("events", "--limit", "10000").stdout.splitlines()
        assert any(line.startswith(flow_id[:8]) and " a " in line and "COMPLETED" in line for line in lines)
        events = [json.loads(line) for line in run("events", "--json", "--limit", "10000").stdout.splitlines()]
        mine = [event["type"] for event in events if event["data"]["flow_id"] == flow_id]
        assert mine[0] == "io.neuralhive.decision.consolidated.v1"
        assert mine[-1] == "io.neuralhive.flow.completed.v1"

    def test_another_content_under_the_same_id_is_refused_and_kept_as_a_dead_letter(
        self, run: Run, tmp_path: Path
    ) -> None:
        file, _ = written(tmp_path, task("a"), decision_id="twice")
        assert run("submit", file).exit_code == 0
        written(tmp_path, task("b"), decision_id="twice")
        refused = run("submit", file)
        assert refused.exit_code == 1
        assert "decision_conflict" in refused.stderr
        (letter,) = json.loads(run("dead-letters", "list", "--json").stdout)["items"]
        assert letter["letter_id"] in run("dead-letters", "list").stdout
        assert "decision_conflict" in run("dead-letters", "replay", letter["letter_id"]).stderr
        assert run("dead-letters", "drop", letter["letter_id"]).exit_code == 0
        assert run("dead-letters", "list").stdout == "no dead letters\n"

    def test_what_nobody_knows_is_said_in_one_line(self, run: Run) -> None:
        for command in (("show", "nope"), ("why", "nope"), ("cancel", "nope"), ("dead-letters", "drop", "nope")):
            result = run(*command)
            assert result.exit_code == 1
            assert re.fullmatch(r"flowc: there is no [a-z ]+ 'nope' \(unknown_\w+\)\n", result.stderr)


class TestProcesses:
    async def test_watching_goes_on_after_the_platform_was_killed(self, tmp_path: Path) -> None:
        file, _ = written(tmp_path, *(task(f"slow-{n}", *([f"slow-{n - 1}"] if n else [])) for n in range(3)))
        with processes() as started:
            platform = platform_process(tmp_path)
            worker = worker_process(tmp_path, platform.url, "sh-1", "-c", "python", "--shell", SAYS_NO)
            started += [platform, worker]
            platform.start()
            await platform.ready()
            worker.start()
            watching = asyncio.create_task(asyncio.to_thread(flowc, "submit", file, "--watch", FLOWC_URL=platform.url))
            await asyncio.sleep(1.5)  # in the middle of a task, which reports to nobody
            platform.kill()
            await asyncio.sleep(1)  # long enough for the watcher to notice
            platform.start()
            result = await watching
        assert result.exit_code == 0, result.output
        assert f"no platform at {platform.url}; watching goes on when it is back" in result.stdout
        assert "the platform is back" in result.stdout

    async def test_a_worker_lets_its_tickets_end_before_it_stops(self, tmp_path: Path) -> None:
        file, _ = written(tmp_path, task("slow"))
        async with running_platform(tmp_path) as platform:
            started = tmp_path / "started"
            worker = platform.hire("sh-1", "-c", "python", "--shell", f"touch {started}; {SAYS_NO}")
            submitted = await asyncio.to_thread(flowc, "submit", file, FLOWC_URL=platform.url)
            flow_id = submitted.stdout.strip()
            await seen(started.exists, "the task to start")
            process = worker.running
            await asyncio.to_thread(worker.stop)
            assert process is not None
            assert process.returncode == 0
            tickets = await platform.tickets(flow_id)
            assert (await platform.get("/api/v1/workers"))["items"] == []
        assert [(ticket["status"], ticket["attempt"]) for ticket in tickets.values()] == [("COMPLETED", 1)]

    async def test_the_platform_stops_in_good_order_and_cannot_be_started_twice(self, tmp_path: Path) -> None:
        with processes() as started:
            platform = platform_process(tmp_path)
            started.append(platform)
            platform.start()
            await platform.ready()
            port, data = platform.arguments[2], platform.arguments[4]
            port_taken = await asyncio.to_thread(up, "--port", port, "--data", str(tmp_path / "other"))
            data_taken = await asyncio.to_thread(up, "--port", "0", "--data", data)
            process = platform.running
            await asyncio.to_thread(platform.stop)
        assert port_taken == (
            1,
            f"flowc: port {port} is taken; choose another with --port, or 0 for any that is free\n",
        )
        assert data_taken[0] == 1
        assert re.fullmatch(rf"flowc: .*{re.escape(data)}.* in use .*\n", data_taken[1])
        assert process is not None
        assert process.returncode == 0

    def test_all_wrong_settings_are_reported_at_once(self, tmp_path: Path) -> None:
        wrong = {"FLOWC_PORT": "http", "FLOWC_IN_FLIGHT": "0", "FLOWC_COLOUR": "red"}
        status, said = up("--data", str(tmp_path), **wrong)
        assert status == 2
        for name in wrong:
            assert said.count(name) == 1


def up(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a platform that must not start; return exit status and stderr."""
    run = subprocess.run(
        [sys.executable, "-m", "functions", "up", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return run.returncode, run.stderr
