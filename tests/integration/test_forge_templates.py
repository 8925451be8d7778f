"""The templates that Flow C brings: each project that comes of them passes its own tests, and what looks at code."""

import keyword
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.conftest import ROOT, require
from tests.support.forge_templates import NAMES, ODD, TEMPLATES, files_of, own_tests, questions, rendered, run
from tests.support.scans import ScanDesk

PROJECTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in NAMES},
    "odd function": (
        "lambda-function",
        {**ODD, "event_source": "eventbridge", "architecture": "x86_64", "memory_mb": 10240, "timeout_seconds": 28},
    ),
    "odd library": ("python-library", {**ODD, "python_version": "3.13", "with_cli": True}),
    "odd module": (
        "terraform-module",
        {**ODD, "terraform_version": "1.7", "regions": "us-gov-west-1 eu-west-1 eu-west-1"},
    ),
    "function by http": ("lambda-function", {"event_source": "http-api", "license": "LicenseRef-Proprietary"}),
}
"""Projects by what they are called here: the template, and the answers to it."""

MINIMUM = 0.8
"""The share of lines that a project's own tests run: what the forge asks for."""


@pytest.fixture
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a project, made new for each test, as tools leave files."""
    template, answers = PROJECTS[request.param]
    return rendered(template, tmp_path / "project", answers)


of_all = pytest.mark.parametrize("project", PROJECTS, indirect=True)


class TestProjects:
    @of_all
    def test_its_own_tests_pass_and_run_most_of_its_lines(self, project: Path, tmp_path: Path) -> None:
        report = own_tests(project, tmp_path)
        assert (report.failed, report.errors, report.skipped) == (0, 0, 0)
        assert report.passed >= 5
        assert report.coverage is not None
        assert report.coverage >= MINIMUM

    @of_all
    async def test_no_tool_finds_anything(self, project: Path, tmp_path: Path) -> None:
        desk = ScanDesk(tmp_path / "desk", WORKER_SCAN_FOLDER=str(tmp_path))
        found = await desk.run({"tools": ["bandit", "detect-secrets"], "target": {"folder": "project"}})
        assert (found["findings"], found["score"], found["not_run"]) == ([], 1, [])
        for options in (["check"], ["check", "--isolated"], ["format", "--check"], ["format", "--check", "--isolated"]):
            done = run("ruff", *options, "--no-cache", ".", cwd=project)
            assert done.returncode == 0, done.stdout + done.stderr

    @pytest.mark.slow
    @of_all
    def test_its_types_are_right(self, project: Path) -> None:
        done = run("mypy", "--no-incremental", "--cache-dir=/dev/null", cwd=project)
        assert done.returncode == 0, done.stdout

    @of_all
    def test_it_is_built_without_a_network(self, project: Path, tmp_path: Path) -> None:
        done = run("build", "--no-isolation", "--outdir", tmp_path / "dist", ".", cwd=project)
        assert done.returncode == 0, done.stdout + done.stderr
        assert sorted(path.name.rpartition("0.1.0")[2] for path in (tmp_path / "dist").iterdir()) == [
            "-py3-none-any.whl",
            ".tar.gz",
        ]


class TestFunctions:
    @pytest.mark.slow
    @pytest.mark.parametrize("source", ["sqs", "eventbridge", "http-api"])
    def test_the_template_is_what_sam_and_cloudformation_take(self, source: str, tmp_path: Path) -> None:
        lint = ROOT / ".venv" / "sam" / "bin" / "cfn-lint"
        require(lint.exists(), "make sam")
        project = rendered("lambda-function", tmp_path / "project", {**ODD, "event_source": source})
        done = subprocess.run([lint, "template.yaml"], cwd=project, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


def terraform(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Terraform, which may ask nobody."""
    require(shutil.which("terraform") is not None, "Terraform, from terraform.io")
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    command = ["terraform", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


class TestModules:
    @pytest.mark.parametrize("name", ["terraform-module", "odd module"])
    def test_each_file_is_hcl(self, name: str, tmp_path: Path) -> None:
        project = rendered("terraform-module", tmp_path / "project", PROJECTS[name][1])
        paths = [*project.rglob("*.tf"), *project.rglob("*.hcl")]
        assert len(paths) == 6
        for path in paths:
            with path.open(encoding="utf-8") as file:
                assert hcl2.load(file)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["terraform-module", "odd module"])
    def test_terraform_takes_its_form_and_its_own_tests_pass(self, name: str, tmp_path: Path) -> None:
        project = rendered("terraform-module", tmp_path / "project", PROJECTS[name][1])
        for folder, *arguments in (
            (".", "fmt", "-check", "-recursive", "-diff"),
            (".", "init", "-input=false"),
            (".", "validate"),
            (".", "test"),
            ("examples/basic", "init", "-input=false"),
            ("examples/basic", "validate"),
        ):
            done = terraform(*arguments, cwd=project / folder)
            assert done.returncode == 0, done.stdout + done.stderr
        assert "7 passed, 0 failed" in terraform("test", "-no-color", cwd=project).stdout


class TestTemplates:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_same_answers_make_the_same_files(self, name: str, tmp_path: Path) -> None:
        answers = {**ODD, "project_name": "twice"}
        assert files_of(rendered(name, tmp_path / "one", answers)) == files_of(
            rendered(name, tmp_path / "two", answers)
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_each_question_has_a_type_a_text_and_a_default_and_nothing_runs(self, name: str) -> None:
        said = questions(name)
        asked = {key: value for key, value in said.items() if not key.startswith("_")}
        settings = {"_min_copier_version", "_subdirectory", "_answers_file", "_templates_suffix", "_envops"}
        assert said.keys() - asked.keys() == settings
        for key, question in asked.items():
            assert {"type", "default"} <= question.keys(), key
            assert "help" in question or question["when"] is False, key
            free = question["type"] in {"str", "int"} and question.get("when") is not False
            assert not free or {"validator", "choices"} & question.keys(), key

    @pytest.mark.parametrize("name", NAMES)
    def test_each_name_that_a_package_must_not_have_is_refused(self, name: str) -> None:
        reserved = set(questions(name)["reserved_names"]["default"].split())
        words = {*sys.stdlib_module_names, *keyword.kwlist}
        assert {word for word in words if re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", word)} <= reserved
        assert {"pytest", "tests", "func_python", "aws_lambda_powertools", "hcl2"} <= reserved

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("project_name", "json"),
            ("project_name", "func-python"),
            ("project_name", "class"),
            ("project_name", "a--b"),
            ("project_name", "../out"),
            ("project_name", "Shop"),
            ("project_name", "shop\n"),
            ("project_name", "a" * 41),
            ("description", 'a "quoted" word'),
            ("description", "two\nlines"),
            ("description", "{{ 7 * 7 }}"),
            ("description", "${var.secret}"),
            ("description", "\x1b[2J"),
            ("description", ""),
            ("author", "back\\slash"),
            ("license", "GPL-3.0"),
        ],
    )
    def test_an_answer_that_would_break_a_file_is_refused(
        self, name: str, question: str, answer: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ValueError, match=question):
            rendered(name, tmp_path / "project", {question: answer})
        assert not (tmp_path / "project").exists()

    def test_no_file_of_a_template_is_a_module_of_ours_or_a_link(self) -> None:
        paths = [path for name in NAMES for path in (TEMPLATES / name).rglob("*")]
        assert [path for path in paths if path.suffix == ".py" or path.is_symlink()] == []
