"""Hostile templates and hostile answers through all stages of the forge, from the template to the merge request.

Each stage has attack tests of its own. Here nothing is stubbed between them: what one stage lets through is what the
next one gets, and at the end stands what was contained, where, and that nothing outside of the store has changed.
"""

import asyncio
import re
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._executors.registry import executors_named
from functions._worker.context import CONTEXT, TaskContext
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from functions._worker.written import Written
from tests.support.code_hosts import CodeHostWorld, code_host
from tests.support.forge_desk import ALLOWED, SHOP
from tests.support.forge_projects import written
from tests.support.forge_templates import card
from tests.support.gitlab_requests import TOKEN, GitlabRequests
from tests.support.jobs import assigned

STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "gate", "merge_request")
TYPES = {"select_template": "BUILD", "compose_code": "BUILD", "run_tests": "TEST"}
ASKS = "project_name: {type: str}\nnote: {type: str, default: none}\n"
FAILING = "def test_fails() -> None:\n    raise AssertionError\n"
ANSWERS = {"project_name": "shop"}


class Stages:
    """Hands on what each stage makes, as the plan of a pipeline does; `outputs` and `log` are of all that were done."""

    def __init__(self, world: CodeHostWorld) -> None:
        folder = world.folder
        settings = world.settings(
            SANDBOX="off",
            COMMANDS=",".join(ALLOWED),
            FOLDER=str(folder / "work"),
            TEMPLATES=str(folder / "templates"),
            READABLE=str(folder),
        )
        names = ",".join(f"forge_{name}" for name in STAGES)
        self.world = world
        self.outputs: dict[str, dict[str, Any]] = {}
        self.log = ""
        self.jobs = JobsExecutor(executors_named(names, settings), pauses=(0.0,), settings=settings)

    def template(self, files: Mapping[str, str], config: str = ASKS) -> Path:
        return written(self.world.folder / "templates" / "any", {"copier.yml": config, **files})

    async def run(self, inputs: Mapping[str, Any], last: str = STAGES[-1]) -> tuple[str, TaskFailed | None]:
        """Go on as far as the stages do, up to `last`; return the last one, and how it failed."""
        for name in STAGES[: STAGES.index(last) + 1]:
            try:
                self.outputs[name] = await self._stage(name, self._given(name, inputs))
            except TaskFailed as failed:
                return name, failed
            if name == "gate" and self.outputs[name]["outcome"] != "REVIEW":
                return name, None
        return last, None

    def _given(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        done, code = self.outputs, {"code": self.outputs.get("compose_code")}
        measured = {"validation": done.get("validate_code"), "tests": done.get("run_tests")}
        verdict = done.get("gate", {})
        parameters: dict[str, dict[str, Any]] = {
            "select_template": {"artifact_id": "acme/shop", "templates": [card("any")]},
            "compose_code": {"artifact_id": "acme/shop", "template": done.get("select_template"), "inputs": inputs},
            "validate_code": code,
            "run_tests": code,
            "gate": code | measured,
            "merge_request": {
                "artifact_id": "acme/shop",
                **code,
                **measured,
                **{part: verdict.get(part) for part in ("score", "reason")},
            },
        }
        return {"provider": f"forge_{name}", **parameters[name]}

    async def _stage(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assignment = assigned(parameters, task_type=TYPES.get(name, "VALIDATE"), ticket_id=f"t-{name}")
        said = Written(assignment.mask)
        token = CONTEXT.set(TaskContext(assignment, said, lambda *_, **__: None))
        try:
            output = await self.jobs.run(assignment)
        finally:
            self.log += said.text()
            CONTEXT.reset(token)
        assert isinstance(output, dict)
        return {part: value for part, value in output.items() if part not in {"job", "logs_uri"}}

    def everything(self) -> bytes:
        """Return all bytes of the store and of the repository, which people and later stages see."""
        kept = [path.read_bytes() for path in (self.world.folder / "store").rglob("*") if path.is_file()]
        heads = [str(self.world.repository.head(branch)) for branch in self.world.branches]
        files = [
            self.world.repository.content(head, path) for head in heads for path in self.world.repository.files(head)
        ]
        return b"\n".join([*kept, *files, self.log.encode(), repr(self.outputs).encode()])


@pytest.fixture
async def stages(tmp_path: Path) -> AsyncIterator[Stages]:
    (tmp_path / "outside.txt").write_text("untouched")
    async with code_host(GitlabRequests, tmp_path) as world:
        made = Stages(world)
        yield made
        await made.jobs.aclose()
    assert (tmp_path / "outside.txt").read_text() == "untouched"
    assert not [*(tmp_path / "work").glob("*")], "nothing of a job is left"


INJECTION = "{{ ''.__class__.__mro__ }} {% include '/etc/passwd' %} `\n/merge\n@all <script>"


async def test_answers_and_names_that_want_to_be_code_are_text_up_to_the_merge_request(stages: Stages) -> None:
    stages.template({**SHOP, "tests/test_bad.py": FAILING, "notes/{{ project_name }}.txt.jinja": "{{ note }}"})
    stages.template({".github/workflows/x.yml": "on: push\n"})
    running = asyncio.create_task(stages.run({**ANSWERS, "note": INJECTION}))
    while not stages.world.requests and not running.done():
        await asyncio.sleep(0.02)
    assert stages.world.requests, running.result()
    await stages.world.looked_at()
    head = stages.world.repository.head(stages.world.branch())
    assert head is not None
    assert stages.world.repository.content(head, "acme/shop/notes/shop.txt").decode().rstrip() == INJECTION
    changed = set(stages.world.repository.files(head)) - set(stages.world.repository.files("main"))
    assert {path.split("/")[0] for path in changed} == {"acme"}
    server = stages.world.server
    assert isinstance(server, GitlabRequests)
    assert server.commands == []
    assert "1 of 3 tests failed" in stages.world.text_of()
    stages.world.merge()
    assert await running == ("merge_request", None)
    assert stages.outputs["gate"]["outcome"] == "REVIEW"


async def test_an_answer_in_a_name_leads_out_of_no_project_and_into_no_repository(stages: Stages) -> None:
    stages.template({**SHOP, "{{ note }}.md": "x"})
    for note in ("../../../outside", "/outside", "a/../../outside"):
        name, failed = await stages.run({**ANSWERS, "note": note}, "compose_code")
        assert (name, failed and failed.retryable) == ("compose_code", False), (note, name, failed)
        stages.outputs.clear()
    name, failed = await stages.run({**ANSWERS, "note": ".git/config"}, "compose_code")
    assert (name, failed) == ("compose_code", None)
    made = stages.outputs["compose_code"]["content"]["uri"].removeprefix("file://")
    with tarfile.open(made) as project:
        assert not [one for one in project.getnames() if ".git" in one]  # it is left out
    stages.outputs.clear()


async def test_what_a_project_must_not_have_is_rejected_by_the_gate_and_put_before_nobody(stages: Stages) -> None:
    spying = """
import os
from pathlib import Path

def test_spies() -> None:
    print(os.environ)
    Path("found.txt").write_text(repr(os.environ))
    for name in ("../../outside.txt", "../../../outside.txt"):
        assert not Path(name).exists()
    assert False, os.environ
"""
    stages.template({**SHOP, "Dockerfile": "FROM python\nUSER root\n", "tests/test_spy.py": spying})
    name, failed = await stages.run(ANSWERS)
    assert (name, failed and (failed.kind, failed.retryable)) == ("gate", ("rejected", False))
    assert failed is not None
    assert "the quality is capped: denied by " in failed.message
    assert stages.outputs["validate_code"]["quality"] <= 0.49
    assert stages.world.requests == []
    assert stages.world.branches == ["main"]
    seen = stages.everything()
    assert TOKEN.encode() not in seen
    assert not re.search(rb"WORKER_(?!LOGS|COMMANDS|FORGE_POLICIES)\w+=", seen)


LINKS = {"passwd": "/etc/passwd", "outside": "../../outside.txt"}


@pytest.mark.parametrize(("name", "leads"), LINKS.items(), ids=LINKS)
async def test_a_template_with_links_is_no_template(stages: Stages, name: str, leads: str) -> None:
    (stages.template(SHOP) / name).symlink_to(leads)
    stage, failed = await stages.run(ANSWERS)
    assert (stage, failed and failed.retryable) == ("select_template", False)
    assert b"root:" not in stages.everything()


CONFIGS = {
    "tasks": ASKS + "_tasks: ['touch ../../outside.txt']\n",
    "extensions": ASKS + "_jinja_extensions: [os.system]\n",
    "object": "!!python/object/apply:os.system ['touch ../../outside.txt']\n",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
async def test_a_template_that_runs_something_runs_nothing(stages: Stages, config: str) -> None:
    stages.template(SHOP, config)
    stage, failed = await stages.run(ANSWERS, "compose_code")
    assert stage in {"select_template", "compose_code"}
    assert failed is not None
    assert not failed.retryable
    assert "root:" not in failed.message


SIZES = {
    "loop": "{% for a in range(10**9) %}x{% endfor %}",
    "power": "{{ 'x' * 10**10 }}",
}


@pytest.mark.parametrize("content", SIZES.values(), ids=SIZES)
async def test_a_template_that_grows_is_ended(stages: Stages, content: str) -> None:
    stages.template({**SHOP, "large.txt.jinja": content})
    stage, failed = await stages.run(ANSWERS, "compose_code")
    assert stage == "compose_code"
    assert failed is not None
    assert sum(path.stat().st_size for path in stages.world.folder.rglob("*") if path.is_file()) < 8 * 1024 * 1024
