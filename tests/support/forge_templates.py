"""Templates for tests of the code forge: folders, real repositories of git, workers, and what stages hand on."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from functions._executors.forge.compose_code import ComposeCodeExecutor
from functions._executors.forge.select_template import SelectTemplateExecutor
from functions._executors.port import JobExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from tests.support.forge_projects import written
from tests.support.jobs import assigned

COPIER = """\
project_name:
  type: str
  help: The name of the service
port:
  type: int
  default: 8080
flavour:
  type: str
  choices: [plain, rich]
  default: plain
"""
SERVICE: Mapping[str, str | bytes] = {
    "copier.yml": COPIER,
    "README.md.jinja": "# {{ project_name }}\n",
    "src/{{ project_name | replace('-', '_') }}/main.py.jinja": "PORT = {{ port }}\nFLAVOUR = '{{ flavour }}'\n",
    "tests/test_main.py": "def test_adds():\n    assert 1 + 1 == 2\n",
    "deploy/service.yaml.jinja": "name: {{ project_name }}\n",
    "run.sh": "#!/bin/sh\nexec true\n",
}
"""A template that makes files of all four kinds."""

ANSWERS = {"project_name": "shop-cart", "port": 9000}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, with no configuration of whoever runs the tests."""
    about = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "PATH": os.environ["PATH"]}
    who = {f"GIT_{one}_{what}": "a@b.example" for one in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, env={**about, **who}, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def committed(folder: Path, files: Mapping[str, str | bytes], tag: str | None = None) -> str:
    """Commit files to a repository, which is made where there is none; return the commit."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    written(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a version", "--allow-empty")
    if tag is not None:
        git(folder, "tag", tag)
    return git(folder, "rev-parse", "HEAD")


def settings_for(folder: Path, sandbox: str = "off", **variables: str) -> ExecutorSettings:
    """Return the settings of a worker with a store, folders of templates, and repositories below `folder`."""
    (folder / "templates").mkdir(parents=True, exist_ok=True)
    about = {
        "WORKER_SANDBOX": sandbox,
        "WORKER_FOLDER": str(folder / "work"),
        "WORKER_LOGS": str(folder / "store"),
        "WORKER_TEMPLATES": str(folder / "templates"),
        "WORKER_REPOSITORIES": f"file://{folder}/repositories/**",
        "WORKER_READABLE": str(folder),
    }
    return ExecutorSettings.from_environment({**about, **variables})


def card(template_id: str = "service", **changes: Any) -> dict[str, Any]:
    """Return a template as the registry names it."""
    about = {"artifact_type": "service", "language": "python", "capabilities": ["http"], "quality": 0.9}
    return {"template_id": template_id, **about, "source": {"folder": template_id}, **changes}


async def select(settings: ExecutorSettings, *cards: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    """Have a template selected, as a ticket; return the output."""
    asked = {"provider": "forge_select_template", "artifact_id": "acme/shop", "templates": list(cards), **wanted}
    return await _done(settings, asked, ticket_id="t-select")


async def compose(
    settings: ExecutorSettings,
    template: dict[str, Any],
    inputs: Mapping[str, Any],
    attempt: int = 1,
    secrets: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Have code composed, as a ticket; return the output."""
    about = {"provider": "forge_compose_code", "artifact_id": "acme/shop", "template": template, "inputs": inputs}
    return await _done(settings, {**about, **more}, ticket_id="t-compose", attempt=attempt, secrets=secrets)


async def _done(settings: ExecutorSettings, asked: dict[str, Any], **about: Any) -> dict[str, Any]:
    executors: list[JobExecutor[Any]] = [SelectTemplateExecutor(settings), ComposeCodeExecutor(settings)]
    jobs = JobsExecutor(executors, pauses=(0.0,), settings=settings)
    try:
        output = await jobs.run(assigned(asked, task_type="BUILD", **about))
    finally:
        await jobs.aclose()
    assert isinstance(output, dict)
    return {name: value for name, value in output.items() if name not in {"job", "logs_uri"}}
