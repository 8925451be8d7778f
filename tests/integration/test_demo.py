"""`flowc demo`: a whole platform for the length of one flow, and nothing left of it afterwards."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.support.command_line import written
from tests.support.world import PATIENCE_S, task


def demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with `folder` as the place for temporary files."""
    return subprocess.Popen(
        [sys.executable, "-m", "functions", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder), "COLUMNS": "100"},
        # What a shell runs in the background ignores SIGINT, and so would all that it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 nothing else runs here yet
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; return exit status, stdout and stderr."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


class TestDemo:
    def test_the_sample_completes_and_its_result_is_one_json_object(self, tmp_path: Path) -> None:
        status, out, err = ended(demo(tmp_path, "--json", "--speed", "20000"))
        assert status == 0, err
        result = json.loads(out)
        steps = result.pop("steps")
        assert result.pop("flow_id")
        assert result.pop("total_duration_ms") > 0
        expected = {
            "status": "COMPLETED",
            "success": True,
            "tickets_generated": 13,
            "tickets_completed": 13,
            "tickets_failed": 0,
            "tickets_compensated": 0,
            "retries": 0,
            "reassignments": 0,
            "sla_violations": 0,
            "telemetry_published": True,
            "sla_violated": False,
            "error": None,
        }
        assert {name: result[name] for name in expected} == expected
        assert [step["step"] for step in steps] == ["C1", "C2", "C3", "C4", "C5", "C6"]
        assert all(step["status"] == "completed" and step["attempts"] > 0 for step in steps)
        assert {"name", "duration_ms"} <= steps[0].keys()
        assert "deploy-production" in err
        assert list(tmp_path.iterdir()) == [], "nothing is left behind"

    def test_any_plan_can_be_shown_whatever_capabilities_it_asks_for(self, tmp_path: Path) -> None:
        chain = [
            task(f"t{n}", *([f"t{n - 1}"] if n else []), required_capabilities=[f"skill {n}", "Common"])
            for n in range(5)
        ]
        file, _ = written(tmp_path, *chain)
        status, out, err = ended(demo(tmp_path, file))
        assert status == 0, err
        lines = out.splitlines()
        assert sum(" COMPLETED   worker-" in line for line in lines) == 5
        assert any(
            re.match(r"COMPLETED in .*: 5 of 5 tickets done, SLA met, telemetry published", line) for line in lines
        )
        assert any(line.startswith("C6    publish_telemetry  completed") for line in lines)

    def test_a_plan_that_is_refused_is_a_result_as_well(self, tmp_path: Path) -> None:
        file, _ = written(tmp_path, task("a", "b"), task("b", "a"))
        status, out, err = ended(demo(tmp_path, "--json", file))
        assert status == 1, err
        result = json.loads(out)
        assert (result["status"], result["success"], result["tickets_generated"]) == ("REJECTED", False, 0)
        assert "cyclic_dependencies" in result["error"]

    def test_a_decision_without_an_id_is_no_flow_at_all(self, tmp_path: Path) -> None:
        file = tmp_path / "nameless.json"
        file.write_text('{"plan_id": "p"}', encoding="utf-8")
        status, out, _ = ended(demo(tmp_path, "--json", str(file)))
        assert status == 2
        assert json.loads(out)["status"] == "REJECTED"
        assert "decision_id is missing" in json.loads(out)["error"]

    def test_on_a_terminal_the_flow_is_one_picture_that_changes(self, tmp_path: Path) -> None:
        terminal, screen = os.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "functions", "demo", "--speed", "2000"],
            stdout=screen,
            stderr=screen,
            env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100", "LINES": "40", "TERM": "xterm-256color"},
        )
        os.close(screen)
        drawn = b""
        with contextlib.suppress(OSError):  # how a terminal says that its last writer has gone
            while part := os.read(terminal, 65_536):
                drawn += part
        os.close(terminal)
        assert process.wait(PATIENCE_S) == 0
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
        assert text.count("web-shop-2.4") > 3, "the picture is drawn again and again"
        assert "13 of 13 done" in text
        assert "◆ deploy-production  COMPLETED" in text
        assert "COMPLETED in " in text

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_demo_that_is_interrupted_cleans_up(self, tmp_path: Path, number: signal.Signals) -> None:
        process = demo(tmp_path, "--speed", "1")
        assert process.stdout is not None
        assert any("EXECUTING" in line for line in process.stdout)
        process.send_signal(number)
        assert ended(process)[0] == 128 + number
        assert list(tmp_path.iterdir()) == []
