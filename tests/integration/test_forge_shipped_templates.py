"""The templates that Flow C brings: each project that comes of them passes its own tests, and what looks at code."""

import json
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
import httpx
import pytest
import yaml
from jsonschema import Draft7Validator

from tests.conftest import ROOT, require
from tests.support.charts import merged, rendered_chart
from tests.support.dockerfile import stages
from tests.support.kubernetes import func_problems, problems
from tests.support.processes import free_port
from tests.support.scans import ScanDesk
from tests.support.shipped_templates import NAMES, ODD, TEMPLATES, files_of, linted, own_tests, questions, rendered, run

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
    "odd service": (
        "python-service",
        {
            **ODD,
            "consumes": "a-1.b2",
            "namespace": "123",
            "broker": "off",
            "image": "127.0.0.1:5000/a_b/c.d--e",
            "base_image": f"registry.example.com/python@sha256:{'0' * 64}",
            "max_scale": 1,
        },
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

    async def test_no_tool_finds_anything_in_any_of_them(self, tmp_path: Path) -> None:
        for name, (template, answers) in PROJECTS.items():
            rendered(template, tmp_path / "all" / name, answers)
        desk = ScanDesk(tmp_path / "desk", WORKER_SCAN_FOLDER=str(tmp_path))
        found = await desk.run({"tools": ["bandit", "detect-secrets"], "target": {"folder": "all"}})
        assert (found["findings"], found["score"], found["not_run"]) == ([], 1, [])
        for project in (tmp_path / "all").iterdir():
            assert linted(project) == ""

    @pytest.mark.slow
    @of_all
    def test_its_types_are_right(self, project: Path) -> None:
        done = run("mypy", "--no-incremental", "--cache-dir=/dev/null", cwd=project)
        assert done.returncode == 0, done.stdout

    @pytest.mark.parametrize("template", NAMES)
    def test_it_is_built_without_a_network(self, template: str, tmp_path: Path) -> None:
        project = rendered(template, tmp_path / "project", ODD)
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


class TestServices:
    @pytest.fixture(params=["python-service", "odd service"])
    def service(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        """Give a service, and one whose answers are hard on YAML."""
        answers = {"project_name": "no"} if request.param == "python-service" else PROJECTS[request.param][1]
        return rendered("python-service", tmp_path / "project", answers)

    def test_manifests_are_what_knative_takes_and_the_chart_makes_the_same(self, service: Path) -> None:
        manifests = list(yaml.safe_load_all((service / "manifests" / "service.yaml").read_text(encoding="utf-8")))
        assert [one["kind"] for one in manifests] == ["Service", "Trigger"]
        assert [problem for one in manifests for problem in problems(one)] == []
        name, namespace = manifests[0]["metadata"]["name"], manifests[0]["metadata"]["namespace"]
        charted = list(rendered_chart(service / "chart", name, namespace))
        assert [problem for one in charted for problem in problems(one)] == []
        for one in charted:
            for place in (one, one["spec"].get("template", {})):
                labels = place.get("metadata", {}).get("labels", {})
                for label in ("instance", "managed-by", "version"):
                    labels.pop(f"app.kubernetes.io/{label}", None)
        assert charted == manifests

    def test_the_chart_takes_a_digest_and_a_sink_or_no_trigger_at_all(self, service: Path) -> None:
        digest = f"sha256:{'a' * 64}"
        changes = {"image": {"digest": digest}, "trigger": {"deadLetterService": "dead-letters"}}
        made, trigger = rendered_chart(service / "chart", "one", "two", changes)
        assert made["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f"@{digest}")
        assert trigger["spec"]["delivery"]["deadLetterSink"]["ref"]["name"] == "dead-letters"
        assert problems(trigger) == []
        kinds = [
            one["kind"] for one in rendered_chart(service / "chart", "one", "two", {"trigger": {"enabled": False}})
        ]
        assert kinds == ["Service"]

    def test_values_of_the_chart_are_checked_by_its_schema(self, service: Path) -> None:
        schema = json.loads((service / "chart" / "values.schema.json").read_text(encoding="utf-8"))
        values = yaml.safe_load((service / "chart" / "values.yaml").read_text(encoding="utf-8"))
        Draft7Validator.check_schema(schema)
        checked = Draft7Validator(schema)
        assert list(checked.iter_errors(values)) == []
        mistakes: list[dict[str, Any]] = [
            {"imagee": {}},
            {"image": {"tag": "latest"}},
            {"image": {"digest": "sha256:0"}},
            {"scale": {"max": 0}},
        ]
        for wrong in mistakes:
            assert list(checked.iter_errors(merged(values, wrong))), wrong

    def test_func_takes_its_document_and_the_image_runs_as_nobody_special(self, service: Path) -> None:
        document = yaml.safe_load((service / "func.yaml").read_text(encoding="utf-8"))
        assert func_problems({**document, "created": document["created"].isoformat()}) == []
        build, image = stages((service / "Dockerfile").read_text(encoding="utf-8")).values()
        assert build.base == image.base
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.last("USER"))
        package = image.command("ENTRYPOINT")[-1]
        assert (service / "src" / package / "__main__.py").is_file()

    @pytest.mark.slow
    def test_helm_finds_nothing_wrong(self, service: Path) -> None:
        require(shutil.which("helm") is not None, "Helm, from helm.sh")
        done = subprocess.run(["helm", "lint", "--strict", "chart"], cwd=service, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode()

    def test_it_answers_events_over_http_and_refuses_what_is_too_large(self, tmp_path: Path) -> None:
        project = rendered("python-service", tmp_path / "project")
        address = f"127.0.0.1:{free_port()}"
        environment = {"PATH": os.environ["PATH"], "LISTEN_ADDRESS": address, "PYTHONPATH": "src"}
        command = [sys.executable, "-m", "sample_service"]
        headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "com.example.order.placed"}
        order = {"order_id": "o-1", "article": "pen", "quantity": 3, "unit_price": "1.20"}
        with subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                lines = [next(process.stdout) for _ in range(2)]
                with httpx.Client(base_url=f"http://{address}", headers=headers) as client:
                    assert client.get("/health/readiness").status_code == 200
                    answer = client.post("/", json=order)
                    large = client.post("/", content=b" " * 1_048_577)
            finally:
                process.terminate()
        assert all(json.loads(line)["message"] for line in lines)
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, "ACCEPTED")
        assert large.status_code == 400


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
            ("version", "latest"),
            ("version", "v1.2.0"),
            ("version", "1.2.0\n"),
            ("version", '1.2.0"'),
            ("version", "1.2.0" + "0" * 60),
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
