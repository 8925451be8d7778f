"""The templates that Flow C brings, and projects that copier makes of them, without a forge."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from copier import run_copy

from functions._executors.forge import templates
from functions._executors.reports import SuiteReport, read_files

TEMPLATES = Path(templates.__file__).parent
NAMES = sorted(path.parent.name for path in TEMPLATES.glob("*/copier.yml"))

ODD: Mapping[str, Any] = {
    "project_name": "a-b2-c-very-long-name-of-a-project-of-us",
    "description": "50 % — it's: #odd, ünïcode & [more] - *all* of it, !yes; ~no @ 'one' line?",
    "author": "Zoë O'Neil: & Söhne #1",
    "license": "MIT",
}
"""Answers to what all templates ask: legal, and hard on each format that they are written into."""


def questions(template: str) -> dict[str, Any]:
    """Return what `copier.yml` says, settings of copier and questions."""
    read: dict[str, Any] = yaml.safe_load((TEMPLATES / template / "copier.yml").read_text(encoding="utf-8"))
    return read


def rendered(template: str, folder: Path, answers: Mapping[str, Any] | None = None) -> Path:
    """Make a project in `folder`, which is returned; raises `ValueError` for an answer that is refused."""
    run_copy(str(TEMPLATES / template), folder, dict(answers or {}), defaults=True, quiet=True)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a project by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a module of this Python in a project, with an environment that has nothing of ours."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def own_tests(project: Path, reports: Path) -> SuiteReport:
    """Run a project's own tests, as the forge does; return what their reports say."""
    names = reports / "junit.xml", reports / "coverage.xml"
    quiet = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    done = run("pytest", *quiet, f"--junitxml={names[0]}", f"--cov-report=xml:{names[1]}", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    with names[0].open("rb") as junit, names[1].open("rb") as coverage:
        return read_files(iter([("junit.xml", junit), ("coverage.xml", coverage)]))


def linted(project: Path) -> str:
    """Return what ruff says of a project, by the project's rules and by its own; empty where all is right."""
    ruff = Path(sys.executable).parent / "ruff"
    said = ""
    for options in (["check"], ["format", "--check"], ["check", "--isolated"], ["format", "--check", "--isolated"]):
        command = [str(ruff), *options, "--no-cache", "."]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        said += done.stdout + done.stderr if done.returncode else ""
    return said
