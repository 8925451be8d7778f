"""`flowc` where it needs no platform: help, usage errors, unreadable files, nobody at the address."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from functions._cli import submission
from functions._cli.app import Commands
from functions._cli.demo_command import SAMPLE
from functions._core.decision.checks import check_plan
from functions._core.decision.reading import read_decision
from functions._executors.registry import OWN
from tests.support.command_line import flowc
from tests.support.decisions import NOW, a_document
from tests.support.world import PATIENCE_S

COMMANDS = [
    ("demo",),
    ("doctor",),
    ("adjust",),
    ("replan",),
    ("up",),
    ("migrate",),
    ("check",),
    ("backup",),
    ("restore",),
    ("worker",),
    ("workers",),
    ("sample",),
    ("validate",),
    ("simulate",),
    ("cost",),
    ("submit",),
    ("plan",),
    ("forge",),
    *(("forge", verb) for verb in ("build", "list", "show", "templates")),
    ("signal",),
    ("events-in",),
    ("limits",),
    *(("plan", verb) for verb in ("draw", "push", "list", "show", "delete", "schema")),
    ("flows",),
    ("export",),
    ("aggregate",),
    ("show",),
    ("result",),
    ("logs",),
    ("why",),
    ("replay",),
    ("cancel",),
    ("slo",),
    ("slo", "create"),
    ("slo", "update"),
    ("slo", "history"),
    ("budget",),
    ("budget", "show"),
    ("budget", "summary"),
    ("freeze",),
    ("freeze", "status"),
    ("freeze", "resolve"),
    ("freeze", "policy"),
    ("freeze", "policy", "create"),
    ("approve",),
    ("deny",),
    ("pause",),
    ("resume",),
    ("redrive",),
    ("retry",),
    ("reassign",),
    ("skip",),
    ("freeze-exception",),
    ("events",),
    ("audits",),
    ("inbox",),
    ("stuck",),
    ("what-changed",),
    ("predictions",),
    ("insights",),
    ("insights", "list"),
    ("insights", "show"),
    ("guard",),
    ("heal",),
    *(("heal", verb) for verb in ("list", "show", "apply", "delete", "dry-run", "runs")),
    ("models",),
    *(("models", verb) for verb in ("list", "show", "train", "promote", "rollback")),
    ("hot",),
    ("jobs",),
    ("sla",),
    ("sla", "policy"),
    *(("sla", "policy", verb) for verb in ("put", "list", "show", "delete")),
    ("incidents",),
    ("schedule",),
    *(
        ("schedule", verb)
        for verb in ("put", "list", "show", "runs", "pause", "resume", "run", "backfill", "stop-backfill", "delete")
    ),
    ("subscriptions",),
    *(("subscriptions", verb) for verb in ("create", "list", "test", "deliveries", "resend", "rotate", "delete")),
    ("dead-letters",),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
    ("dead-letters", "drop"),
    ("open",),
    ("passport",),
    ("verify",),
    ("mcp",),
    ("keys",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke"),
    ("version",),
]
READING = [
    ("flows",),
    ("workers",),
    ("result", "x"),
    ("logs", "x/y"),
    ("show", "x"),
    ("show", "x", "--json"),
    ("why", "x"),
    ("replay", "x"),
    ("cancel", "x"),
    ("redrive", "x"),
    ("skip", "x"),
    ("inbox",),
    ("stuck",),
    ("what-changed", "x"),
    ("predictions",),
    ("insights", "list"),
    ("insights", "show", "x"),
    ("plan", "list"),
    ("plan", "show", "x@1.0.0"),
    ("incidents",),
    ("events",),
    ("events", "--follow"),
    ("audits",),
    ("dead-letters", "list"),
    ("dead-letters", "replay", "x"),
    ("dead-letters", "drop", "x"),
    ("keys", "list"),
    ("keys", "revoke", "x"),
]


HEAVY = {"httpx", "pydantic", "rich.live", "uvicorn", "fastapi", "httptools", "sqlite3", "typer.rich_utils", "yaml"}
"""What takes longer to import than a light command takes to run."""

IMPORTED = """
import sys
from functions._cli import main
sys.argv[0] = "flowc"
try:
    main()
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    """Run the command line in a process of its own; return the names of all modules it has imported."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    return set(run.stderr.splitlines()[-1].split())


def words_of(text: str) -> str:
    """Return help text without frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.fixture
def nobody() -> str:
    """Return an address of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def decision_file(tmp_path: Path) -> str:
    file = tmp_path / "decision.json"
    file.write_text(json.dumps(a_document()), encoding="utf-8")
    return str(file)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_every_command_explains_itself(self, command: Sequence[str]) -> None:
        result = flowc(*command, "--help")
        assert result.exit_code == 0
        assert f"Usage: flowc {' '.join(command)}" in words_of(result.output)
        assert len(words_of(result.output)) > 100

    def test_the_list_of_commands_is_complete(self) -> None:
        names = [entry.name for entry in Commands.entries]
        assert sorted(names) == sorted(command[0] for command in COMMANDS if len(command) == 1)
        listed = words_of(flowc("--help").output)
        assert all(f"{entry.name} {entry.summary}" in listed for entry in Commands.entries)

    def test_without_a_command_the_help_is_shown(self) -> None:
        assert "dead-letters" in flowc().output

    @pytest.mark.parametrize(
        ("arguments", "light"),
        [
            (("--help",), HEAVY | {"asyncio", "rich", "http.client"}),
            (("--version",), HEAVY | {"asyncio", "rich", "http.client"}),
            (("show", "--help"), HEAVY | {"asyncio", "rich", "http.client"}),
            (("flows", "--url", "http://127.0.0.1:9"), HEAVY | {"rich"}),
            (("show", "x", "--url", "http://127.0.0.1:9"), HEAVY | {"rich"}),
            (("cancel", "x", "--url", "http://127.0.0.1:9"), HEAVY | {"rich"}),
        ],
        ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
    )
    def test_what_needs_no_platform_imports_nothing_heavy(self, arguments: Sequence[str], light: set[str]) -> None:
        assert imported_by(*arguments) & light == set()

    def test_a_flow_is_shown_without_pydantic(self) -> None:
        probe = "import sys, functions._cli.pictures, functions._cli.watching, functions._cli.references"
        run = subprocess.run(
            [sys.executable, "-c", f"{probe}; print(*sys.modules)"], capture_output=True, text=True, check=True
        )
        assert HEAVY & set(run.stdout.split()) == set()

    def test_the_version_is_printed(self) -> None:
        for arguments in (("version",), ("--version",)):
            assert re.fullmatch(r"flowc \d+\.\d+\.\d+\S*\n", flowc(*arguments).stdout)

    def test_a_misspelt_command_is_answered_with_the_right_one(self) -> None:
        result = flowc("shwo")
        assert (result.exit_code, "Did you mean 'show'?" in result.stderr) == (2, True)

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_the_shell_completes_commands(self, shell: str) -> None:
        asked = {"COMP_WORDS": "flowc sh", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "flowc sh"}
        run = subprocess.run(
            [sys.executable, "-m", "functions"],
            env={
                **os.environ,
                **asked,
                "_FLOWC_COMPLETE": f"complete_{shell}",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert "show" in run.stdout
        assert "submit" not in run.stdout


class TestUsage:
    @pytest.mark.parametrize(
        "executors",
        [
            (),
            ("--shell", "true", "--simulate", "10"),
            ("--call", "json:dumps", "--shell", "true"),
            ("--executor", "http", "--simulate", "10"),
        ],
        ids=["none", "two", "other two", "two with executors"],
    )
    def test_a_worker_does_tickets_in_exactly_one_way(self, executors: Sequence[str]) -> None:
        result = flowc("worker", *executors)
        assert result.exit_code == 2
        assert "exactly one of --call, --shell, --simulate and --executor" in words_of(result.stderr)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--call", "no_such_module:f"), "cannot be imported"),
            (("--call", "json"), "module:function"),
            (("--simulate", "0"), "above 0"),
            (("--simulate", "fast"), "valid number"),
            (("--executor", "htpt"), f"there is no executor 'htpt'; there are {', '.join(sorted(OWN))}"),
            (("--executor", " , "), "name at least one executor"),
            (("--executor", "json:dumps"), "cannot be made"),
            (("--shell", "true", "--slots", "0"), "--slots"),
            (("--shell", "true", "--clearance", "cosmic"), "none of PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED"),
            (("--shell", "true", "--id", "two words"), "worker_id"),
            (("--shell", "true", "--endpoint", "here"), "endpoint"),
        ],
    )
    def test_a_worker_that_cannot_work_is_a_usage_error(self, arguments: Sequence[str], said: str) -> None:
        result = flowc("worker", *arguments)
        assert result.exit_code == 2
        assert said in words_of(result.stderr)

    def test_an_address_without_a_scheme_is_a_usage_error(self) -> None:
        result = flowc("flows", "--url", "localhost:8080")
        assert result.exit_code == 2
        assert "http://" in words_of(result.stderr)

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read: No such file"),
            ("", "the text is empty"),
            ("{", "not JSON"),
            ("[]", "a decision is a JSON object"),
            ('{"specversion": "1.0", "id": "1", "type": "x"}', "missing attributes: source"),
            ('{"specversion": "1.0", "id": "1", "type": "x", "source": "/s", "data": {}}', "of type x is no decision"),
        ],
        ids=["absent", "empty", "cut off", "a list", "half an event", "another event"],
    )
    @pytest.mark.parametrize("command", ["submit", "demo"])
    def test_a_file_that_is_no_decision_is_refused_before_anything_starts(
        self, tmp_path: Path, command: str, content: str | None, said: str
    ) -> None:
        file = tmp_path / "decision.json"
        if content is not None:
            file.write_text(content, encoding="utf-8")
        result = flowc(command, str(file))
        assert result.exit_code == 2
        assert said in result.stderr
        assert result.stdout == ""

    def test_the_demo_says_in_json_too_that_a_file_is_no_decision(self, tmp_path: Path) -> None:
        result = flowc("demo", "--json", str(tmp_path / "absent.json"))
        assert result.exit_code == 2
        answer = json.loads(result.stdout)
        assert (answer["status"], answer["success"], answer["flow_id"]) == ("REJECTED", False, None)
        assert "cannot be read" in answer["error"]


class TestNobodyThere:
    @pytest.mark.parametrize("command", READING, ids=" ".join)
    def test_a_platform_that_is_not_there_is_one_line_and_exit_status_1(
        self, command: Sequence[str], nobody: str
    ) -> None:
        result = flowc(*command, "--url", nobody)
        assert result.exit_code == 1
        assert result.stderr == f"flowc: no platform at {nobody}; start one with `flowc up`\n"
        assert result.stdout == ""

    def test_the_address_can_come_from_the_environment(self, nobody: str) -> None:
        assert nobody in flowc("flows", FLOWC_URL=nobody).stderr

    def test_submitting_tries_a_few_times_and_then_gives_up(
        self, nobody: str, decision_file: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submission, "PAUSES", (0.01, 0.01))
        result = flowc("submit", decision_file, "--url", nobody)
        assert result.exit_code == 1
        first, last = result.stderr.splitlines()
        assert first == f"flowc: no platform at {nobody}; trying again for 0.02 s"
        assert last == f"flowc: no platform at {nobody}; start one with `flowc up`"


def test_the_sample_is_a_sound_plan_that_uses_an_upstream_output() -> None:
    sample = read_decision(SAMPLE.read_bytes())
    assert check_plan(sample, NOW) == ((), ())
    assert 10 <= len(sample.cognitive_plan.tasks) <= 15
    assert '"$output"' in SAMPLE.read_text(encoding="utf-8")
