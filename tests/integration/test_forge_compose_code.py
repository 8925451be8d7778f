"""The stage compose_code: the same project for the same inputs, and templates and answers that want something else."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from functions._core.executors.execute import Limits
from functions._executors.forge import compose_code
from functions._executors.settings import ExecutorSettings
from functions._worker.tasks import TaskFailed
from tests.conftest import ROOT, require
from tests.support.forge_projects import archive, kept_project, stored_context, written
from tests.support.forge_templates import ANSWERS, SERVICE, card, committed, compose, git, select, settings_for
from tests.support.loopback import until

WAYS = [pytest.param("on", marks=pytest.mark.slow), "off"]
ASKS = "project_name: {type: str}\n"
HELLO = {"project_name": "hello"}


@pytest.fixture(params=WAYS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> ExecutorSettings:
    """Give a worker that renders in the sandbox, and one without it."""
    require(request.param == "off" or shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    return settings_for(tmp_path, request.param)


@pytest.fixture
def worker(tmp_path: Path) -> ExecutorSettings:
    return settings_for(tmp_path)


def template(folder: Path, files: dict[str, str], config: str = ASKS) -> dict[str, Any]:
    """Keep a template in the store of a worker; return the output of select_template."""
    name = sha256(repr((files, config)).encode()).hexdigest()[:8]
    source = written(folder / f"source-{name}", {"copier.yml": config, **files})
    kept = kept_project(stored_context(folder / "store"), source)
    return {"template_id": "any", "score": 0.9, "version": "1", "content": kept.model_dump()}


def project(output: dict[str, Any], folder: Path) -> dict[str, str]:
    shutil.unpack_archive(output["content"]["uri"].removeprefix("file://"), folder)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


async def failure(
    settings: ExecutorSettings, chosen: dict[str, Any], inputs: dict[str, Any], **more: Any
) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await compose(settings, chosen, inputs, **more)
    assert not [*settings.folder.glob("t-compose*")], "nothing of the job is left"
    return failed.value


class TestProject:
    async def test_files_of_four_kinds_with_their_hashes(self, settings: ExecutorSettings, tmp_path: Path) -> None:
        written(tmp_path / "templates" / "service", SERVICE)
        chosen = await select(settings, card())
        output = await compose(settings, chosen, ANSWERS)
        assert {one["artifact_type"]: one["files"] for one in output["artifacts"]} == {
            "CODE": 3,
            "DOCUMENTATION": 1,
            "IAC": 1,
            "TEST": 1,
        }
        files = project(output, tmp_path / "seen")
        assert files["src/shop_cart/main.py"] == "PORT = 9000\nFLAVOUR = 'plain'\n"
        assert files[".copier-answers.yml"].splitlines()[1:] == [
            "_src_path: flowc:service",
            "project_name: shop-cart",
            "port: 9000",
            "flavour: plain",
        ]
        (document,) = (one for one in output["artifacts"] if one["artifact_type"] == "DOCUMENTATION")
        line = f"{sha256(files['README.md'].encode()).hexdigest()}  README.md\n"
        assert document["content_hash"] == sha256(line.encode()).hexdigest()
        expected = {"generation_method": "TEMPLATE", "template_id": "service", "language": "python", "files": 6}
        assert {name: output[name] for name in expected} == expected
        assert output["confidence_score"] == round(0.98 * 2.5 / 3, 4)
        again = await compose(settings, chosen, ANSWERS)
        assert again["content"]["sha256"] == output["content"]["sha256"]

    async def test_the_same_inputs_make_the_same_bytes_in_another_process_and_after_a_kill(
        self, worker: ExecutorSettings, tmp_path: Path
    ) -> None:
        sets = {"a.txt.jinja": "{{ ['a', 'b', 'c', 'd', 'e'] | unique | join }}{{ more }}", "b/c.txt": "c"}
        chosen = template(tmp_path, sets, ASKS + "more: {type: json, default: '{}'}\n")
        inputs = {"project_name": "é😀", "more": {"z": 1, "a": [True, None, 0.1]}}
        here = await compose(worker, chosen, inputs)
        asked = json.dumps([str(tmp_path / "elsewhere"), str(tmp_path / "store"), chosen, inputs])
        script = (
            "import asyncio, json, sys\nfrom pathlib import Path\nfrom tests.support.forge_templates import *\n"
            "folder, store, chosen, inputs = json.loads(sys.argv[1])\n"
            "settings = settings_for(Path(folder), WORKER_LOGS=store)\n"
            "print(json.dumps(asyncio.run(compose(settings, chosen, inputs, 2))))"
        )
        about = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo", "LANG": "C"}
        command = [sys.executable, "-c", script, asked]
        await killed(command, about, tmp_path / "elsewhere" / "work" / "t-compose-2" / "one" / "made")
        done = subprocess.run(command, env=about, capture_output=True, text=True, check=True)  # noqa: ASYNC221
        there = json.loads(done.stdout.splitlines()[-1])
        assert there["content"]["uri"] != here["content"]["uri"]
        assert there["content"]["sha256"] == here["content"]["sha256"]

    async def test_copier_updates_a_project_of_a_repository(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        repository = tmp_path / "repositories" / "service"
        answers = {"{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}"}
        committed(repository, {**SERVICE, **answers}, "v1.0.0")
        chosen = await select(worker, card(source={"git": repository.as_uri()}))
        output = await compose(worker, chosen, ANSWERS)
        made = tmp_path / "made"
        remembered = project(output, made)[".copier-answers.yml"]
        assert f"_commit: v1.0.0\n_src_path: git+{repository.as_uri()}\n" in remembered
        assert str(worker.folder) not in remembered
        committed(repository, {"README.md.jinja": "# The {{ project_name }}\n"}, "v1.1.0")
        committed(made, {})
        copier = [sys.executable, "-m", "copier", "update", "--defaults", "--quiet", str(made)]
        who = {f"GIT_{one}_{what}": "a@b.c" for one in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        subprocess.run(copier, env={**os.environ, **who}, capture_output=True, check=True)  # noqa: ASYNC221
        assert git(made, "diff", "--name-only").splitlines() == [".copier-answers.yml", "README.md"]
        assert seen(made / "README.md") == "# The shop-cart\n"
        assert "_commit: v1.1.0" in seen(made / ".copier-answers.yml")


HOSTILE = (
    "{{ ''.__class__.__mro__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ project_name | attr('__class__') }}",
    "{{ '{0.__class__}'.format(project_name) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ _copier_conf.settings.from_file('/etc/passwd') }}",
    "{{ _copier_conf.src_path.read_text() }}",
    "{{ undefined_name }}",
    "{{ project_name.undefined }}",
    "{% include '/etc/passwd' %}",
    "{% include '../../../../../../../etc/passwd' %}",
    "{{ '/etc/*' | fileglob }}",
    "{{ '$PATH $HOME' | expandvars }}",
    "{{ '~' | expanduser }}",
    "{{ '.' | realpath }}",
    "{{ '%Y' | strftime }}",
    "{{ 9 | ans_random }}",
    "{{ [1, 2, 3] | random }}",
    "{{ '52:54' | random_mac }}",
    "{{ now() }}",
    "{{ make_secret() }}",
    "{{ lipsum() }}",
    "{% for i in range(99999999) %}{% endfor %}",
    "{{ 1 / 0 }}",
    "{% broken",
)
"""Contents of a template that would look at the worker, the clock or chance, or at nothing that there is."""

RENDERED = """
import json, sys
from functions._executors.forge import render
folders, made = json.loads(sys.argv[1])
said = []
for number, folder in enumerate(folders):
    about = {"template": folder, "project": f"{made}{number}", "data": {"project_name": "hello"}, "remembered": {}}
    try:
        render.render(about)
        said.append(["rendered", open(f"{made}{number}/a.txt").read()])
    except Exception as error:
        said.append([*render.told(error).values()])
print(json.dumps(said))
"""


def told_of(folders: list[Path], made: Path) -> list[tuple[str, str]]:
    """Return kind and message of renderings, which are done in one process."""
    asked = json.dumps([[str(folder) for folder in folders], str(made)])
    command = [sys.executable, "-c", RENDERED, asked]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    return [(kind, message) for kind, message in json.loads(done.stdout.splitlines()[-1])]


async def killed(command: list[str], about: dict[str, str], place: Path) -> None:
    """Run a worker and kill it when something is in the folder of its job."""
    worker = subprocess.Popen(command, env=about, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await until(lambda: place.exists() or worker.poll() is not None, "the job has begun")
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait()


def below(folder: Path, name: str) -> list[Path]:
    return [*folder.rglob(name)]


def seen(path: Path) -> str:
    return path.read_text()


class TestAnswers:
    @pytest.mark.parametrize(
        ("inputs", "fault"),
        [
            ({}, "project_name is missing"),
            ({"project_name": "x", "nothing": 1}, "nothing is nothing that the template asks for"),
            ({"project_name": "x", "port": "80"}, "port has to be of the type integer"),
            ({"project_name": "x", "flavour": "sour"}, "flavour has to be one of plain, rich"),
            ({"project_name": "x", "_src_path": "/etc"}, "_src_path is nothing that the template asks for"),
        ],
    )
    async def test_what_does_not_fit_is_named_before_anything_runs(
        self, worker: ExecutorSettings, tmp_path: Path, inputs: dict[str, Any], fault: str, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(compose_code, "RENDER", "raise SystemExit(9)")
        chosen = template(tmp_path, {"a.txt": "a"}, str(SERVICE["copier.yml"]))
        failed = await failure(worker, chosen, inputs)
        assert (failed.kind, failed.retryable) == ("bad_inputs", False)
        assert fault in failed.message

    async def test_what_the_validator_of_a_template_says_is_told(
        self, worker: ExecutorSettings, tmp_path: Path
    ) -> None:
        rule = "{% if project_name | length > 3 %}too long{% endif %}"
        chosen = template(tmp_path, {"a.txt": "a"}, f"project_name: {{type: str, validator: '{rule}'}}")
        failed = await failure(worker, chosen, HELLO)
        assert (failed.kind, failed.retryable) == ("bad_inputs", False)
        assert failed.message == "Validation error for question 'project_name': too long"

    async def test_an_answer_is_text_whatever_it_looks_like(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        hostile = "".join(
            (*HOSTILE, "{{ 7 * 7 }}", "{% for i in range(9) %}x{% endfor %}", "{# x #}", "a: [b\n- !!python")
        )
        config = ASKS + "title: {type: str, default: 'The {{ project_name }}'}\nany: {type: yaml, default: 1}\n"
        files = {"a.txt.jinja": "{{ project_name }}|{{ title }}|{{ any }}"}
        output = await compose(worker, template(tmp_path, files, config), {"project_name": hostile, "any": hostile})
        assert project(output, tmp_path / "seen")["a.txt"] == f"{hostile}|The {hostile}|{hostile}"

    @pytest.mark.parametrize("name", ["../../out", "/ABSOLUTE/out", "a/../../out", ".git/hooks/post-commit"])
    async def test_an_answer_in_a_path_leads_nowhere_else(
        self, worker: ExecutorSettings, tmp_path: Path, name: str
    ) -> None:
        chosen = template(tmp_path, {"{{ project_name }}/evil.txt": "x", "{{ project_name }}.txt": "y"})
        failed = await failure(worker, chosen, {"project_name": name.replace("/ABSOLUTE", str(tmp_path))})
        assert failed.kind in {"template_failed", "bad_project"}
        assert not failed.retryable
        assert len(below(tmp_path, "evil.txt")) == 1, "that of the template alone"

    async def test_without_copier_nothing_is_composed(
        self, worker: ExecutorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("functions._executors.forge.compose_code.find_spec", lambda _: None)
        failed = await failure(worker, template(tmp_path, {"a.txt": "a"}), HELLO)
        assert (failed.kind, failed.retryable) == ("no_tool", False)

    async def test_a_secret_is_refused(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        chosen = template(tmp_path, {"a.txt": "a"})
        failed = await failure(worker, chosen, {"project_name": "hunter2-hunter2"}, secrets=["/inputs/project_name"])
        assert (failed.kind, failed.retryable) == ("secret_in_inputs", False)


class TestHostileTemplate:
    async def test_a_template_gets_nothing_of_the_worker(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        failed = await failure(worker, template(tmp_path, {"a.txt.jinja": HOSTILE[0]}), HELLO)
        assert (failed.kind, failed.retryable) == ("template_failed", False)
        folders = [
            written(tmp_path / f"t{n}", {"copier.yml": ASKS, "a.txt.jinja": text}) for n, text in enumerate(HOSTILE)
        ]
        said = told_of(folders, tmp_path / "made")
        assert {text: kind for text, (kind, _) in zip(HOSTILE, said, strict=True)} == dict.fromkeys(
            HOSTILE, "template_failed"
        )
        assert not [message for _, message in said if "root:" in message or "/bin:" in message]

    async def test_a_template_takes_no_folder_of_the_worker(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        secret = written(tmp_path / "secret", {"key.txt": "secret"})
        config = f"{ASKS}_subdirectory: '{secret}'\n"
        failed = await failure(worker, template(tmp_path, {"a.txt": "a"}, config), HELLO)
        assert (failed.kind, failed.message) == ("template_failed", f'"{secret}" is forbidden')

    async def test_what_would_differ_elsewhere_is_refused(self, worker: ExecutorSettings, tmp_path: Path) -> None:
        files = {"docs/a.txt.jinja": "{{ _copier_conf.dst_path }}", "b.txt.jinja": "{{ _copier_conf.src_path }}"}
        failed = await failure(worker, template(tmp_path, files), HELLO)
        assert (failed.kind, failed.retryable) == ("not_deterministic", False)
        assert failed.message == "the template makes other files each time: b.txt, docs/a.txt"

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "template_too_costly"),
            ("{{ '" + "a" * 40 + "X' | regex_search('(a+)+$') }}", "template_too_costly"),
            ("{{ 'a' * 3000000000 }}", "template_failed"),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "template_failed"),
        ],
    )
    async def test_a_template_that_does_not_end_is_ended(
        self, worker: ExecutorSettings, tmp_path: Path, text: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if kind == "template_too_costly":
            less = Limits.model_validate({**compose_code.LIMITS.model_dump(), "cpu_seconds": 2})
            monkeypatch.setattr(compose_code, "LIMITS", less)
        failed = await failure(worker, template(tmp_path, {"a.txt.jinja": text}), HELLO)
        assert (failed.kind, failed.retryable) == (kind, False)

    async def test_a_rendering_that_hangs_is_ended(
        self, worker: ExecutorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compose_code, "RENDER_SECONDS", 0.3)
        monkeypatch.setattr(compose_code, "RENDER", "import time; time.sleep(600)")
        failed = await failure(worker, template(tmp_path, {"a.txt": "a"}), HELLO)
        assert (failed.kind, failed.retryable) == ("template_too_costly", False)

    @pytest.mark.parametrize(
        ("files", "most"),
        [
            ({"{% yield i from range(90000) %}{{ i }}{% endyield %}/a.txt": "x"}, ("MOST_FILES", 100)),
            ({"{% yield i from range(90000) %}{{ i }}{% endyield %}.txt": "x" * 9_000}, ("MOST_BYTES", 100_000)),
            ({"a.txt.jinja": "{{ 'x' * 200000 }}"}, ("MOST_BYTES", 100_000)),
        ],
    )
    async def test_a_project_has_bounds_while_it_is_written(
        self,
        worker: ExecutorSettings,
        tmp_path: Path,
        files: dict[str, str],
        most: tuple[str, int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(compose_code, *most)
        failed = await failure(worker, template(tmp_path, files), HELLO)
        assert (failed.kind, failed.retryable) == ("project_too_large", False)

    @pytest.mark.parametrize("config", ["_tasks: ['touch /tmp/pwned']", "_jinja_extensions: [jinja2.ext.do]"])
    async def test_what_runs_is_refused_here_as_well(
        self, worker: ExecutorSettings, tmp_path: Path, config: str
    ) -> None:
        failed = await failure(worker, template(tmp_path, {"a.txt": "a"}, config), {})
        assert (failed.kind, failed.retryable) == ("bad_template", False)

    async def test_copier_itself_refuses_what_we_would_not_see(
        self, worker: ExecutorSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader of settings is another one than copier's: what it has overlooked must not run, either."""
        pwned = tmp_path / "pwned"
        chosen = template(tmp_path, {"a.txt": "a", "COPIER.yml": f"_tasks: ['touch {pwned}']"}, ASKS)
        assert (await failure(worker, chosen, HELLO)).kind == "bad_template"
        known = {"properties": {"project_name": {"type": "string"}}}
        monkeypatch.setattr("functions._executors.forge.compose_code.questions_in", lambda _: known)
        chosen = template(tmp_path, {"a.txt": "a"}, f"{ASKS}_tasks: ['touch {pwned}']\n_jinja_extensions: [os.path]")
        failed = await failure(worker, chosen, HELLO)
        assert failed.kind == "template_failed"
        assert not pwned.exists()

    @pytest.mark.parametrize(
        "content",
        [
            archive(("copier.yml", b""), ("../out.txt", b"x")),
            archive(("copier.yml", b""), compressed=False),
            b"no archive",
        ],
    )
    async def test_a_hostile_archive_is_refused(self, worker: ExecutorSettings, tmp_path: Path, content: bytes) -> None:
        from functions._executors.forge.projects import keep_bytes

        kept = keep_bytes(stored_context(tmp_path / "store"), "template.tar.gz", content).model_dump()
        chosen = {"template_id": "any", "score": 1, "content": kept}
        failed = await failure(worker, chosen, {})
        assert (failed.kind, failed.retryable) == ("bad_project", False)
        changed = {**chosen, "content": {**kept, "sha256": "0" * 64}}
        assert (await failure(worker, changed, {})).kind == "artifact_changed"
        elsewhere = {**chosen, "content": {**kept, "uri": "file:///etc/passwd"}}
        assert (await failure(worker, elsewhere, {})).kind == "artifact_missing"

    @pytest.mark.slow
    async def test_in_the_sandbox_a_template_sees_no_file_and_no_variable_of_the_worker(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
        script = (
            "import json, os, socket, sys\nsaid = {'env': sorted(os.environ), 'files': os.listdir(os.getcwd())}\n"
            "said['store'] = os.path.exists(sys.argv[1].replace('/job', '/nowhere'))\n"
            "try:\n    socket.create_connection(('127.0.0.1', 22), 0.2)\nexcept OSError as error:\n"
            "    said['network'] = type(error).__name__\n"
            f"said['worker'] = os.path.exists({str(tmp_path)!r})\n"
            "print(json.dumps({'kind': 'seen', 'message': json.dumps(said)}))\nsys.exit(3)"
        )
        monkeypatch.setattr(compose_code, "RENDER", script)
        monkeypatch.setenv("WORKER_SECRET", "x")
        variables = {"WORKER_PROGRAM_NETWORK": "true", "WORKER_PROJECTS": str(tmp_path)}
        failed = await failure(settings_for(tmp_path, "on", **variables), template(tmp_path, {"a.txt": "a"}), HELLO)
        said = json.loads(failed.message)
        assert said["worker"] is False
        assert said["network"] in {"ConnectionRefusedError", "OSError"}
        assert not [name for name in said["env"] if name.startswith(("WORKER_", "AWS_"))]
        assert sorted(said["files"]) == ["one", "one.json"]
