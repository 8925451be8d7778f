"""Programs as jobs: what they get and give, and what they cannot do, in the sandbox and without it."""

import asyncio
import json
import os
import shutil
import socket
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functions._executors.command import CommandExecutor
from functions._executors.python import PythonExecutor
from functions._executors.sandbox import Sandbox
from functions._executors.settings import ExecutorSettings
from functions._executors.tail import FLOOD_BYTES
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.conftest import require
from tests.support.jobs import assigned
from tests.support.loopback import until

WAYS = [pytest.param("on", marks=pytest.mark.slow), "off"]
"""Slow, as those of Prometheus: machines of CI may have no bubblewrap, and none that permits namespaces."""
BRINGS_IT = "sudo apt-get install bubblewrap"
FREE = ("sh", "python", "echo", "env", "cat", "sleep", "true", "json:loads", "tests.support.job_functions:double")

Output = dict[str, Any]


@pytest.fixture(params=WAYS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> ExecutorSettings:
    """Give each test in the sandbox, and outside of it with an allow-list."""
    require(request.param == "off" or shutil.which("bwrap") is not None, BRINGS_IT)
    return settings_for(tmp_path, request.param)


def settings_for(folder: Path, sandbox: str = "on", **changes: Any) -> ExecutorSettings:
    allowed = () if sandbox == "on" else FREE
    here = Path(__file__).parents[2]
    given = {"sandbox": sandbox, "folder": folder / "work", "commands": allowed, "readable": [here], **changes}
    return ExecutorSettings.model_validate(given)


@pytest.fixture
def confined(tmp_path: Path) -> ExecutorSettings:
    require(shutil.which("bwrap") is not None, BRINGS_IT)
    return settings_for(tmp_path)


async def run(settings: ExecutorSettings, parameters: dict[str, Any], **changes: Any) -> Output:
    jobs = JobsExecutor([CommandExecutor(settings), PythonExecutor(settings)], pauses=(0.0,))
    try:
        output = await jobs.run(assigned(parameters, **changes))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return output


async def shell(settings: ExecutorSettings, text: str, **more: Any) -> Output:
    return await run(settings, {"provider": "command", "shell": text, **more})


async def failure(settings: ExecutorSettings, parameters: dict[str, Any], **changes: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(settings, parameters, **changes)
    return failed.value


def inside(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def text_at(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


class TestCommand:
    async def test_arguments_are_no_text_for_a_shell(self, settings: ExecutorSettings) -> None:
        hostile = ["; touch /tmp/pwned", "$(id)", "`id`", "a b", "", "* | cat", "--", "\n"]
        script = "import sys, json; print(json.dumps(sys.argv[1:]))"
        settings = settings.model_copy(update={"commands": (*settings.commands, sys.executable)})
        argv = [sys.executable, "-c", script, *hostile]
        output = await run(settings, {"provider": "command", "argv": argv, "read": "json"})
        assert output["value"] == hostile
        assert output["exit_code"] == 0

    async def test_a_program_reads_what_it_is_given_and_its_streams_are_outputs(
        self, settings: ExecutorSettings
    ) -> None:
        output = await shell(settings, "cat; echo warning >&2", stdin="hello\n")
        assert (output["stdout"], output["stderr"]) == ("hello\n", "warning\n")
        assert output["job"]["executor"] == "command"

    async def test_a_shell_gets_values_as_variables(self, settings: ExecutorSettings) -> None:
        output = await shell(settings, 'printf %s "$WORD"', env={"WORD": "'; id; '"})
        assert output["stdout"] == "'; id; '"

    async def test_the_variables_are_those_of_the_task_and_none_of_the_worker(
        self, settings: ExecutorSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLOWC_API_KEY", "secret-of-the-worker")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-cloud")
        output = await shell(settings, "env", env={"COLOUR": "green"})
        lines = dict(line.split("=", 1) for line in output["stdout"].splitlines() if "=" in line)
        assert "secret-of" not in output["stdout"]
        assert (lines["FLOWC_TICKET_ID"], lines["FLOWC_IDEMPOTENCY_KEY"], lines["COLOUR"]) == ("t-1", "t-1-0", "green")
        assert lines.keys() - {"_", "PWD", "SHLVL", "OLDPWD", "LC_CTYPE"} == {
            *("PATH", "HOME", "LANG", "COLOUR", "FLOWC_TICKET_ID", "FLOWC_FLOW_ID", "FLOWC_PLAN_ID", "FLOWC_TASK_ID"),
            *("FLOWC_TASK_TYPE", "FLOWC_ATTEMPT", "FLOWC_CORRELATION_ID", "FLOWC_IDEMPOTENCY_KEY", "FLOWC_TRACEPARENT"),
        }

    async def test_an_exit_code_fails_the_task_unless_it_is_expected(self, settings: ExecutorSettings) -> None:
        given = {"provider": "command", "shell": "echo the last word >&2; exit 3"}
        failed = await failure(settings, given)
        assert (failed.kind, failed.message, failed.retryable) == ("exit_status", "exit status 3: the last word", True)
        assert (await run(settings, {**given, "expected_exit": [0, 3]}))["exit_code"] == 3

    async def test_a_program_that_is_not_there_has_failed(self, settings: ExecutorSettings) -> None:
        settings = settings.model_copy(update={"commands": ("no-such-program",)})
        failed = await failure(settings, {"provider": "command", "argv": ["no-such-program"]})
        assert failed.message == "exit status 127: no-such-program: No such file or directory"

    async def test_standard_output_is_a_value_where_it_is_json(self, settings: ExecutorSettings) -> None:
        output = await shell(settings, "echo '{\"a\": [1]}'", read="json")
        assert output["value"] == {"a": [1]}
        failed = await failure(settings, {"provider": "command", "shell": "echo no", "read": "json"})
        assert (failed.kind, failed.retryable) == ("output_not_json", False)

    async def test_artifacts_are_named_with_size_and_hash_and_kept(self, settings: ExecutorSettings) -> None:
        text = "mkdir -p dist/deep; printf wheel > dist/a.whl; printf x > dist/deep/b.whl; printf y > other"
        output = await shell(settings, text, artifacts=["dist/*.whl", "**/b.whl"])
        assert [(one["name"], one["size"]) for one in output["artifacts"]] == [
            ("dist/a.whl", 5),
            ("dist/deep/b.whl", 1),
        ]
        assert output["artifacts"][0]["sha256"] == sha256(b"wheel").hexdigest()
        assert text_at(Path(output["artifacts"][0]["uri"].removeprefix("file://"))) == "wheel"
        failed = await failure(settings, {"provider": "command", "shell": "true", "artifacts": ["none-*"]})
        assert failed.message == "no file fits none-*"

    async def test_without_artifacts_nothing_of_a_job_is_left(self, settings: ExecutorSettings) -> None:
        await shell(settings, "mkdir -p a/b; echo 1 > a/b/c; chmod -R 0 a || true")
        assert inside(settings.folder) == []

    async def test_a_program_runs_where_it_is_told_to(self, settings: ExecutorSettings) -> None:
        before = os.umask(0o077)
        try:
            output = await shell(settings, "pwd; touch ../beside", folder="deep/er")
        finally:
            os.umask(before)
        assert output["stdout"].splitlines()[0].endswith("/deep/er")

    async def test_a_program_that_is_not_allowed_does_not_run(self, settings: ExecutorSettings) -> None:
        settings = settings.model_copy(update={"commands": ("echo", "/usr/bin/env")})
        for argv in (["ls"], ["/bin/echo"], ["./echo"], ["env"], ["sh", "-c", "echo"]):
            failed = await failure(settings, {"provider": "command", "argv": argv})
            assert (failed.kind, failed.retryable) == ("not_allowed", False)
        assert (await failure(settings, {"provider": "command", "shell": "true"})).kind == "not_allowed"
        assert (await run(settings, {"provider": "command", "argv": ["echo", "1"]}))["stdout"] == "1\n"

    async def test_without_a_sandbox_nothing_is_allowed_that_is_not_named(self, tmp_path: Path) -> None:
        settings = settings_for(tmp_path, "off", commands=())
        assert (await failure(settings, {"provider": "command", "argv": ["true"]})).kind == "not_allowed"


class TestPython:
    async def test_a_function_is_called_with_its_input(self, settings: ExecutorSettings) -> None:
        given = {"provider": "python", "callable": "tests.support.job_functions:double", "input": {"n": 21}}
        output = await run(settings, given)
        assert (output["value"], output["stderr"]) == ({"n": 42}, "a print is no value\n")

    async def test_a_function_that_raises_says_so(self, settings: ExecutorSettings) -> None:
        failed = await failure(settings, {"provider": "python", "callable": "json:loads", "input": "{"})
        assert failed.kind == "exit_status"
        assert "JSONDecodeError" in failed.message

    async def test_a_script_reads_its_input_and_prints_its_value(self, settings: ExecutorSettings) -> None:
        text = "import json, sys\nprint(json.dumps(sorted(json.load(sys.stdin))))"
        assert (await run(settings, {"provider": "python", "script": text, "input": [3, 1]}))["value"] == [1, 3]
        output = await run(settings, {"provider": "python", "script": "print('no json')"})
        assert (output["stdout"], output.get("value")) == ("no json\n", None)

    @pytest.mark.skipif(shutil.which("uv") is None and not Path(sys.prefix, "bin/uv").exists(), reason="uv is not here")
    async def test_a_script_that_names_what_it_needs_is_run_by_uv(self, settings: ExecutorSettings) -> None:
        text = (
            '# /// script\n# requires-python = ">=3.11"\n# dependencies = []\n# ///\nimport sys\nprint(sys.argv[0])\n'
        )
        output = await run(settings, {"provider": "python", "script": text, "limits": {"memory_mb": 8_192}})
        assert output["stdout"].endswith("script.py\n")

    async def test_a_script_whose_metadata_is_none_does_not_run(self, settings: ExecutorSettings) -> None:
        text = "# /// script\n# dependencies = [\n# ///\n"
        assert (await failure(settings, {"provider": "python", "script": text})).kind == "bad_parameters"


class TestTime:
    async def test_lines_about_progress_are_progress(self, settings: ExecutorSettings) -> None:
        from functions._executors.port import JobContext

        said: list[tuple[float | None, str]] = []
        executor = CommandExecutor(settings)
        text = "echo '::progress 40 half way'; echo ::progress nan; echo ::progress 900"
        parameters = executor.Parameters.model_validate({"shell": text})
        context = JobContext(
            parameters=parameters,
            ticket_id="t-1",
            attempt=1,
            idempotency_key="t-1-0",
            tell=lambda percent, words: said.append((percent, words)),
        )
        handle = await executor.start(context)
        while not await ended(executor, context, handle):
            pass
        assert said == [(40.0, "half way"), (100.0, "")]

    async def test_a_cancelled_program_leaves_no_process(self, settings: ExecutorSettings) -> None:
        mark = f"sleep 3{os.getpid()}"
        running = asyncio.create_task(shell(settings, f"trap '' TERM; {mark} & {mark} & wait"))
        await until(lambda: len(running_with(mark)) >= 2, "the program")
        running.cancel()
        await asyncio.wait({running})
        assert running_with(mark) == []
        assert inside(settings.folder) == []

    async def test_a_program_that_writes_without_end_is_ended(self, settings: ExecutorSettings) -> None:
        failed = await failure(
            settings, {"provider": "command", "shell": f"head -c {2 * FLOOD_BYTES} /dev/zero; sleep 60"}
        )
        assert (failed.kind, failed.retryable) == ("output_too_large", False)

    async def test_of_long_output_the_end_is_kept(self, settings: ExecutorSettings) -> None:
        output = await shell(settings, "seq 100000")
        assert output["stdout"].endswith("99999\n100000\n")
        assert len(output["stdout"]) == 64 * 1024

    async def test_a_limit_of_the_processor_and_of_files_holds(self, settings: ExecutorSettings) -> None:
        failed = await failure(
            settings, {"provider": "command", "shell": "while :; do :; done", "limits": {"cpu_seconds": 1}}
        )
        assert failed.kind == "exit_status"
        given = {"shell": "head -c 3000000 /dev/zero > big", "limits": {"file_mb": 1}}
        assert (await failure(settings, {"provider": "command", **given})).kind == "exit_status"

    async def test_a_limit_of_memory_holds(self, settings: ExecutorSettings) -> None:
        given = {"script": "x = bytearray(10**9)", "limits": {"memory_mb": 256}}
        assert "MemoryError" in (await failure(settings, {"provider": "python", **given})).message


async def ended(executor: CommandExecutor, context: Any, handle: Any) -> bool:
    from functions._executors.port import JobRunning

    return not isinstance(await executor.poll(context, handle), JobRunning)


def running_with(words: str) -> list[int]:
    """Return the processes whose command line is these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if line == words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
class TestSandbox:
    async def test_the_system_is_read_only_and_the_rest_of_the_machine_is_not_there(
        self, confined: ExecutorSettings, tmp_path: Path
    ) -> None:
        (tmp_path / "treasure").write_text("gold")
        text = f"""
            cat {tmp_path}/treasure; ls -d /home /srv /mnt; ls /root; cat /etc/shadow
            touch /usr/x /etc/x /x /root/x; echo 1 > /proc/sys/kernel/hostname
            mount -t tmpfs none /mnt; chroot /usr; kill -9 1; exit 0
        """
        output = await shell(confined, text)
        assert output["stdout"] in {"", ".\n"}
        assert "gold" not in str(output)
        assert [text_at(Path(path)) for path in ("/usr/x", "/etc/x", "/x")] == [None, None, None]

    async def test_other_processes_are_not_seen(self, confined: ExecutorSettings) -> None:
        output = await shell(confined, "ls /proc | grep -c '^[0-9]'")
        assert int(output["stdout"]) <= 6

    async def test_there_is_no_network_unless_owner_and_plan_want_it(self, confined: ExecutorSettings) -> None:
        count = {"provider": "python", "script": "import socket; print(len(socket.if_nameindex()))"}
        assert (await run(confined, count))["value"] == 1
        assert (await run(confined, {**count, "network": True}))["value"] == 1
        open_ = confined.model_copy(update={"program_network": True})
        assert (await run(open_, count))["value"] == 1
        assert (await run(open_, {**count, "network": True}))["value"] == len(socket.if_nameindex())

    async def test_a_program_is_nobody_special(self, confined: ExecutorSettings) -> None:
        output = await shell(
            confined, "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; id -u; unshare -r true; echo $?"
        )
        lines = output["stdout"].split()
        assert lines[lines.index("CapEff:") + 1] == "0" * 16
        assert lines[lines.index("NoNewPrivs:") + 1] == "1"
        if os.geteuid() == 0:
            assert int(lines[-2]) >= 1_900_000_000

    async def test_a_fork_bomb_is_contained(self, confined: ExecutorSettings) -> None:
        bomb = "import os, time\nend = time.monotonic() + 2\nmost = 0\n"
        bomb += (
            "while time.monotonic() < end:\n    try:\n        if os.fork() == 0: time.sleep(60)\n        most += 1\n"
        )
        bomb += "    except OSError: time.sleep(0.01)\nprint(most)\n"
        output = await run(confined, {"provider": "python", "script": bomb, "limits": {"processes": 20}})
        assert 0 < output["value"] <= 20
        await until(lambda: running_with(f"{sys.executable} /job/script.py") == [], "its processes to end")

    async def test_links_out_of_the_folder_are_no_artifacts(self, settings_link: tuple[ExecutorSettings, Path]) -> None:
        settings, treasure = settings_link
        for text in (f"ln -s {treasure} out", f"mkdir d; ln -s {treasure.parent} d/out", "mkfifo out"):
            given = {"provider": "command", "shell": text, "artifacts": ["**/out", "**/treasure"]}
            failed = await failure(settings, given)
            assert failed.kind == "artifacts"
            assert "gold" not in failed.message

    async def test_two_jobs_do_not_see_each_other(self, confined: ExecutorSettings) -> None:
        jobs = JobsExecutor([CommandExecutor(confined)])
        first = asyncio.create_task(jobs.run(assigned({"shell": "echo 1 > mine; sleep 30"}, ticket_id="t-a")))
        await until((confined.folder / "t-a-1" / "mine").exists, "the first job")
        output = await jobs.run(assigned({"shell": f"ls {confined.folder} /job/.. 2>&1; ls"}, ticket_id="t-b"))
        assert isinstance(output, dict)
        assert "mine" not in output["stdout"]
        first.cancel()
        await asyncio.wait({first})
        await jobs.aclose()


@pytest.fixture
def settings_link(settings: ExecutorSettings, tmp_path: Path) -> tuple[ExecutorSettings, Path]:
    treasure = tmp_path / "far" / "treasure"
    treasure.parent.mkdir()
    treasure.write_text("gold")
    return settings, treasure


async def test_without_bubblewrap_nothing_runs_unless_the_owner_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_kwargs: None)
    failed = await failure(settings_for(tmp_path), {"provider": "command", "argv": ["true"]})
    assert (failed.kind, failed.retryable) == ("no_sandbox", False)
    assert "WORKER_SANDBOX=off" in failed.message
    assert inside(tmp_path) == []


async def test_where_namespaces_are_not_permitted_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2; exit 1\n")
    refusing.chmod(0o755)
    sandbox = Sandbox(settings_for(tmp_path))
    monkeypatch.setattr(sandbox, "_bwrap", str(refusing))
    assert await sandbox.fault() == "bubblewrap is not permitted here: No permissions to create a new namespace"


async def test_secrets_are_masked_in_outputs_and_never_arguments(settings: ExecutorSettings) -> None:
    secret = "hunter2-hunter2"
    given: Output = {"provider": "command", "argv": ["echo", f"x{secret}"]}
    failed = await failure(settings, given, secrets=["/argv/1"])
    assert failed.kind == "secret_in_arguments"
    assert secret not in failed.message
    given = {"provider": "command", "shell": 'printf "%0*d" 65520 7; printf %s%s "$T" "$T"', "env": {"T": secret}}
    output = await run(settings, given, secrets=["/env/T"])
    assert json.dumps(output).count("***") == 2
    assert "hunter2" not in json.dumps(output)
