"""Attacks on executors, by plans, by the programs and services of jobs, and by names that come over the network.

What belongs to one executor alone is tested beside it; here is what must hold whichever it is. By kind:

command injection    here, `test_program_executors.py::TestCommand`
path escape          here, `test_executor_parameters.py`, `test_job_files.py`
SSRF                 here, `test_http_executor.py::TestWhereCallsGo`
secrets              here, `test_program_executors.py`, `test_job_files.py::TestLogs`
bombs of artifacts   here
fork bombs, limits   `test_program_executors.py::TestSandbox`, `::TestTime`
floods of logs       here, `test_job_files.py::TestLogs`
links and races      here, `test_program_executors.py::TestSandbox`
"""

import asyncio
import gzip
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import structlog

from functions._executors.artifacts import ArtifactsRefused, artifacts_in
from functions._executors.command import CommandExecutor
from functions._executors.http import HttpExecutor
from functions._executors.port import CallFailed
from functions._executors.python import PythonExecutor
from functions._executors.services import ServiceApi, ServiceConnection, json_of_reply, part
from functions._executors.settings import ExecutorSettings
from functions._executors.work_folder import remove_folder
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import OUTPUT_LIMIT, TaskFailed
from tests.support.job_service import JobService
from tests.support.jobs import HandExecutor, assigned, away
from tests.support.loopback import Answer, Loopback, until
from tests.support.stand_in_platform import StandIn, working

SECRET = "hunter2-hunter2"
GOLD = "gold-of-the-worker"
PYTHON = "python"


@pytest.fixture
def settings(tmp_path: Path) -> ExecutorSettings:
    given = {
        "sandbox": "off",
        "commands": ("sh", "python", "env", "printf", "sleep"),
        "folder": tmp_path / "deep" / "work",
        "logs": str(tmp_path / "kept"),
        "networks": {"loopback"},
        "trace_file": tmp_path / "spans.jsonl",
    }
    return ExecutorSettings.model_validate(given)


@pytest.fixture
async def jobs(settings: ExecutorSettings) -> AsyncIterator[JobsExecutor]:
    executors = (CommandExecutor(settings), PythonExecutor(settings), HttpExecutor(settings))
    made = JobsExecutor(executors, pauses=(0.0,), settings=settings)
    yield made
    await made.aclose()


@pytest.fixture
async def service() -> AsyncIterator[JobService]:
    async with JobService() as found:
        yield found


async def done(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> dict[str, Any]:
    output = await jobs.run(assigned(parameters, **changes))
    assert isinstance(output, dict)
    return output


async def refused(jobs: JobsExecutor, parameters: dict[str, Any], **changes: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await jobs.run(assigned(parameters, **changes))
    return failed.value


def script(text: str, **more: Any) -> dict[str, Any]:
    return {"provider": "command", "argv": [PYTHON, "-c", text], **more}


def text_at(uri: str) -> str:
    return Path(unquote(uri.removeprefix("file://"))).read_text()


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class TestNamesFromTheNetwork:
    @pytest.mark.parametrize(
        "ticket_id", ["../../escape", "/etc/x", "..", ".", "a/b", "a\nb", "a\0b", "-rf", "$(touch x)", "é" * 200]
    )
    async def test_a_ticket_id_is_no_path_and_no_command(
        self, jobs: JobsExecutor, tmp_path: Path, ticket_id: str
    ) -> None:
        given = {"provider": "command", "shell": 'pwd; printf %s "$FLOWC_TICKET_ID" > id', "artifacts": ["id"]}
        output = await done(jobs, given, ticket_id=ticket_id)
        assert output["stdout"].rpartition("/")[0] == str(tmp_path / "deep" / "work")
        [artifact] = output["artifacts"]
        assert text_at(artifact["uri"]) == ticket_id.replace("\0", "")
        assert sorted(names_in(tmp_path)) == ["deep", "kept"]
        assert len(names_in(tmp_path / "kept")) == 1

    async def test_what_a_task_is_called_is_data_of_its_program(self, jobs: JobsExecutor) -> None:
        hostile = dict.fromkeys(("task_id", "flow_id", "plan_id", "correlation_id"), "x\nPATH=/evil\n$(id); `id`")
        output = await done(jobs, {"provider": "command", "argv": ["env", "-0"]}, **hostile)
        told = dict(line.partition("=")[::2] for line in output["stdout"].split("\0") if line)
        assert told["FLOWC_TASK_ID"] == hostile["task_id"]
        assert "/evil" not in told["PATH"]

    async def test_the_key_of_a_job_does_not_change_a_call(self, jobs: JobsExecutor, service: JobService) -> None:
        given = {"provider": "http", "url": f"{service.url}/echo"}
        failed = await refused(jobs, given, ticket_id="x\r\nx-evil: 1")
        assert not any("x-evil" in request.headers for request in service.requests)
        assert "evil" not in failed.message


class TestSecrets:
    async def test_none_reaches_a_log_an_output_an_error_a_trace_or_a_metric(
        self, jobs: JobsExecutor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = "import os, sys; t = os.environ['T']; print(t); print('::progress 10 ' + t, flush=True); "
        text += "print(t[:5], end='', flush=True); import time; time.sleep(0.2); print('x', t, file=sys.stderr); "
        text += "time.sleep(0.2); print(t[5:]); sys.exit(t)"
        parameters = script(text, env={"T": SECRET})
        trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
        async with StandIn() as platform, working(platform, jobs) as desk:
            await desk.assign(parameters=parameters, secrets=["/env/T"], extensions=trace)
            await until(lambda: "FAILED" in platform.statuses, "the end")
            said = "".join(request.body.decode() for request in platform.told("POST", "/reports"))
        kept = "".join(path.read_text() for path in (tmp_path / "kept").rglob("*") if path.is_file())
        shown = capsys.readouterr()
        await jobs.aclose()
        for where in (said, kept, jobs.watch.metrics.text().decode(), shown.out, shown.err, traced(tmp_path)):
            assert SECRET not in where
            assert SECRET[5:] not in where
        assert "***" in said
        assert "***" in kept

    async def test_none_is_seen_by_who_lists_processes_or_reads_folders(
        self, jobs: JobsExecutor, settings: ExecutorSettings
    ) -> None:
        mark = f"sleep 3{os.getpid()}"
        given = {"provider": "command", "shell": mark, "env": {"T": SECRET}, "stdin": SECRET}
        running = asyncio.create_task(done(jobs, given, secrets=["/env/T", "/stdin"]))
        await until(lambda: any(mark in line for line in command_lines()), "the program")
        assert not any(SECRET in line for line in command_lines())
        assert not any(SECRET in path.read_text() for path in settings.folder.rglob("*") if path.is_file())
        assert [oct(path.stat().st_mode & 0o777) for path in settings.folder.iterdir()] == ["0o700"]
        running.cancel()
        await asyncio.wait({running})

    async def test_a_program_has_no_credential_of_its_worker(
        self, jobs: JobsExecutor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("WORKER_JENKINS_TOKEN", "WORKER_METRICS_TOKEN", "FLOWC_API_KEY", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, GOLD)
        output = await done(jobs, {"provider": "command", "argv": ["env"]})
        assert GOLD not in json.dumps(output)

    async def test_the_answer_of_a_service_is_in_no_error(self, service: JobService) -> None:
        api = api_of(service.url)
        service.faults.extend([Answer(401, f"bad token {GOLD}".encode()), Answer(500, GOLD.encode())])
        for status in (401, 500):
            with pytest.raises(CallFailed) as failed:
                await api.good("GET", "/jobs")
            assert str(failed.value) == f"127.0.0.1 answered {status} to GET"
        assert GOLD not in repr(api.connection)
        assert service.requests[-1].headers["authorization"] == f"Bearer {GOLD}"
        await api.aclose()


def traced(folder: Path) -> str:
    file = folder / "spans.jsonl"
    return file.read_text() if file.exists() else ""


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


def api_of(url: str) -> ServiceApi:
    environment = {"WORKER_TOOL_URL": url, "WORKER_TOOL_TOKEN": GOLD}
    return ServiceApi(ServiceConnection.from_settings(ExecutorSettings.from_environment(environment), "TOOL"))


class TestServices:
    """A service of the worker's owner that was taken over, or whose answers a plan steers."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_credential_follows_it_elsewhere(self, service: JobService, status: int) -> None:
        async with Loopback() as stranger:
            api = api_of(service.url)
            service.faults.append(Answer(status, b"", {"location": f"{stranger.url}/steal"}))
            with pytest.raises(CallFailed) as failed:
                await api.good("GET", "/jobs")
            await api.aclose()
            assert stranger.requests == []
        assert failed.value.transient is False

    @pytest.mark.parametrize("word", ["../admin", "..", ".", "a/b", "a?x=1", "a#b", "%2e%2e", "a\r\nx: 1", "a b"])
    async def test_a_word_of_a_plan_is_one_part_of_a_path(self, service: JobService, word: str) -> None:
        api = api_of(service.url)
        await api.call("GET", f"/jobs/{part(word)}")
        await api.aclose()
        [request] = service.requests
        assert request.path == f"/jobs/{word}"
        assert (request.query, "x" in request.headers) == ({}, False)

    async def test_garbage_and_endless_answers_are_failures(self, service: JobService) -> None:
        api = api_of(service.url)
        bomb = gzip.compress(b"0" * 50_000_000)
        answers = {
            "not_json": Answer(200, b"<html>"),
            "answer_too_large": Answer(200, b"[" + b"1," * 3_000_000 + b"1]"),
        }
        for kind, answer in answers.items():
            service.faults.append(answer)
            with pytest.raises(CallFailed) as failed:
                json_of_reply(await api.good("GET", "/jobs"))
            assert failed.value.kind == kind
        service.faults.append(Answer(200, bomb, {"content-encoding": "gzip"}))
        with pytest.raises(CallFailed):
            json_of_reply(await api.good("GET", "/jobs"))
        await api.aclose()

    async def test_a_service_cannot_hold_a_slot_by_asking_to_wait(self) -> None:
        hand = HandExecutor()
        hand.faults = [away(after_seconds=86_400.0)]
        began = time.monotonic()
        assert (await refused(JobsExecutor([hand]), {"word": "x"})).retryable
        assert time.monotonic() - began < 30
        assert hand.calls == ["start"]

    @pytest.mark.parametrize(
        "url",
        ["http://u:p@h/", "ftp://h/", "http://", "http://h/?x=1", "http://h/#x", "file:///etc/passwd", "h:80"],
    )
    def test_an_address_that_is_none_is_refused_at_the_start(self, url: str) -> None:
        with pytest.raises(ValueError, match="WORKER_TOOL_URL"):
            api_of(url)


class TestBombs:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("open('x', 'wb').truncate(2 * 1024**3)", "more than 100 files or 1073741824 bytes"),
            ("[open(f'{n}', 'w').close() for n in range(101)]", "more than 100 files or"),
            ("import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen('x', 'w')", "more than 100 deep"),
        ],
    )
    async def test_artifacts_that_are_too_much_are_refused_at_once_and_nothing_is_left(
        self, jobs: JobsExecutor, settings: ExecutorSettings, text: str, said: str
    ) -> None:
        began = time.monotonic()
        failed = await refused(jobs, script(text, artifacts=["**/*"], limits={"file_mb": 4096}))
        assert said in failed.message
        assert time.monotonic() - began < 60
        assert names_in(settings.folder) == []

    async def test_folders_that_are_very_deep_do_not_hurt_the_next_attempt(
        self, jobs: JobsExecutor, settings: ExecutorSettings
    ) -> None:
        text = "import os\nfor _ in range(5000): os.mkdir('d' * 200); os.chmod('d' * 200, 0o700); os.chdir('d' * 200)"
        assert (await done(jobs, script(text)))["exit_code"] == 0
        assert names_in(settings.folder) == []
        (settings.folder / "t-1-1").mkdir()
        deep = os.open(settings.folder / "t-1-1", os.O_RDONLY)
        for _ in range(1500):  # as a worker leaves it that was killed
            os.mkdir("d", dir_fd=deep)
            below = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = below
        os.close(deep)
        assert (await done(jobs, {"provider": "command", "shell": "true"}))["exit_code"] == 0
        assert names_in(settings.folder) == []

    async def test_a_compressed_answer_is_not_unpacked(self, jobs: JobsExecutor, service: JobService) -> None:
        service.faults.append(Answer(200, gzip.compress(b"0" * 50_000_000), {"content-encoding": "gzip"}))
        output = await done(jobs, {"provider": "http", "url": f"{service.url}/x"})
        assert len(output["text"]) < 100_000

    async def test_an_output_that_no_platform_takes_fails_its_ticket_alone(self, jobs: JobsExecutor) -> None:
        text = f"import json; print(json.dumps('é' * {OUTPUT_LIMIT // 7}))"
        async with StandIn() as platform, working(platform, jobs) as desk:
            await desk.assign(parameters=script(text, read="json"))
            await desk.assign("t-2", parameters=script("print('[' * 100000)", read="json"))
            await until(lambda: len(platform.statuses) == 2, "both ends")
        kinds = {report.data["error"]["type"] for report in platform.reports}
        assert kinds == {"output_too_large", "output_not_json"}


class TestFloods:
    async def test_lines_about_progress_are_neither_reports_nor_lines_of_the_worker(self, jobs: JobsExecutor) -> None:
        text = "for n in range(20000): print('::progress', n % 100, 'word', n)"
        async with StandIn() as platform, working(platform, jobs) as desk:
            with structlog.testing.capture_logs() as lines:
                await desk.assign(parameters=script(text))
                await until(lambda: "COMPLETED" in platform.statuses, "the end")
        assert len(platform.reports) <= 20
        assert len([line for line in lines if line["event"] == "task.log"]) <= 200

    async def test_a_line_without_an_end_is_not_kept_in_memory(self, jobs: JobsExecutor) -> None:
        text = "import sys\nfor _ in range(40): sys.stdout.write('::progress 1 ' + 'x' * 1_000_000)"
        output = await done(jobs, script(text))
        assert len(output["stdout"]) == 64 * 1024


class TestLinks:
    def test_a_link_that_comes_and_goes_never_leads_out(self, tmp_path: Path) -> None:
        """Somebody puts links in place of files and folders while they are read."""
        far, work = tmp_path / "far", tmp_path / "work"
        for folder in (far, work / "d"):
            folder.mkdir(parents=True)
        (far / "x").write_text(GOLD)
        treasure, stop = sha256(GOLD.encode()).hexdigest(), threading.Event()

        def juggle() -> None:
            while not stop.is_set():
                (work / "new").symlink_to(far / "x")
                (work / "new").rename(work / "x")
                (work / "new").write_text("own")
                (work / "new").rename(work / "x")
                (work / "d").rename(work / "e")
                (work / "d").symlink_to(far)
                (work / "d").unlink()
                (work / "e").rename(work / "d")
                (work / "d" / "x").write_text("own")

        thread = threading.Thread(target=juggle)
        thread.start()
        found, refusals = set(), 0
        try:
            for _ in range(400):
                try:
                    found |= {one.sha256 for one in artifacts_in(work, ["x", "**/x"])}
                except (ArtifactsRefused, OSError):
                    refusals += 1
        finally:
            stop.set()
            thread.join()
        assert treasure not in found
        assert refusals < 400

    def test_a_folder_that_is_a_link_is_removed_and_what_it_leads_to_stays(self, tmp_path: Path) -> None:
        far = tmp_path / "far"
        (far / "deep").mkdir(parents=True)
        (far / "x").write_text(GOLD)
        job = tmp_path / "job"
        inner = job
        for _ in range(105):
            inner = inner / "d"
        inner.mkdir(parents=True)
        (inner / "link").symlink_to(far)
        (job / "link").symlink_to(far)
        (tmp_path / "other").symlink_to(far)
        remove_folder(job)
        remove_folder(tmp_path / "other")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["far"]
        assert (far / "x").read_text() == GOLD
