"""The executor `sam`: a template of the worker's owner becomes a stack of CloudFormation, by the SAM CLI.

CloudFormation goes on when the CLI ends, and takes back what fails by itself. Another attempt waits for what an earlier
one has begun, and then there is nothing left to change.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from functions._core.executors.deploy import DEPLOYING, FAMILY
from functions._core.executors.sam import SamOutputs, SamParameters
from functions._core.records.values import TaskType
from functions._executors.patterns import admit
from functions._executors.plan_files import hash_of_folder
from functions._executors.port import JobContext, JobFailed, JobState, JobSucceeded, ToolCheck
from functions._executors.tools import ToolExecutor, ToolJob, project_in, projects_check

CHANGE_SET = re.compile(rb"\barn:[\w-]+:cloudformation:[\w-]*:\d*:changeSet/[\w/-]+")
IN_PROGRESS = re.compile(r"\b[A-Z_]+_IN_PROGRESS\b")
ENV = {"SAM_CLI_TELEMETRY": "0"}

Context = JobContext[SamParameters]


class SamExecutor(ToolExecutor[SamParameters]):
    """Deploys stacks."""

    name: ClassVar[str] = "sam"
    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING
    PROGRAMS = ("sam",)
    Parameters = SamParameters
    Outputs = SamOutputs
    pause_seconds = 15.0
    """Between two tries at a stack that changes just now."""

    def admit(self, context: Context) -> None:
        """Refuse a stack, and a template, that are not the owner's."""
        given = context.parameters
        admit(given.stack, self.settings.applications, "this stack (WORKER_APPLICATIONS)")
        project_in(self.settings, given.project)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the tool, and at what the owner allows."""
        allowed = ", ".join(self.settings.applications)
        return (
            *await super().check(),
            ToolCheck("applications", bool(allowed), f"WORKER_APPLICATIONS allows {allowed or 'none'}"),
            projects_check(self.settings),
        )

    async def work(self, context: Context, job: ToolJob) -> JobState:
        """Make a change set, and carry it out where that is wanted."""
        given = context.parameters
        project = project_in(self.settings, given.project)
        template = (project / given.template).resolve()
        if not template.is_relative_to(project) or not template.is_file():
            return JobFailed("no_template", "the project has no such template", retryable=False)
        revision = await asyncio.to_thread(hash_of_folder, project)
        if given.revision and given.revision != revision:
            text = f"the project is not {given.revision[:64]}: its hash is {revision}"
            return JobFailed("another_revision", text, retryable=False)
        argv = (self.tool, "deploy", *_options(given, project, template))
        if given.mode == "plan":
            end = await job.good(*argv, "--no-execute-changeset", quiet=True, env=ENV)
            job.context.write(end.read)
            made = CHANGE_SET.search(end.read)
            arn = made[0].decode() if made else ""
            return JobSucceeded(SamOutputs(revision=revision, health="Planned", change_set=arn))
        while (end := await job.run(*argv, env=ENV)).code:
            if not IN_PROGRESS.search(end.said) or context.seconds_left < 2 * self.pause_seconds:
                return _failed(end.said, given)
            context.log("the stack changes just now")
            await asyncio.sleep(self.pause_seconds)
        values = await self._values(job, given, project)
        return JobSucceeded(SamOutputs(revision=revision, health="Deployed", values=values))

    async def _values(self, job: ToolJob, given: SamParameters, project: Path) -> Mapping[str, Any]:
        """Return the outputs of the stack."""
        asked = ("list", "stack-outputs", f"--stack-name={given.stack}", "--output=json", *_config(project))
        end = await job.good(self.tool, *asked, quiet=True, env=ENV)
        said = end.json if end.read.strip() else []
        found = [each for each in (said if isinstance(said, list) else ()) if isinstance(each, Mapping)]
        return {str(each.get("OutputKey")): each.get("OutputValue") for each in found}


def _options(given: SamParameters, project: Path, template: Path) -> Sequence[str]:
    pairs = [f"ParameterKey={name},ParameterValue={value}" for name, value in given.overrides.items()]
    return (
        f"--stack-name={given.stack}",
        f"--template-file={template}",
        "--no-confirm-changeset",
        "--no-fail-on-empty-changeset",
        "--no-progressbar",
        *_config(project),
        *([] if given.rollback_on_failure else ["--disable-rollback"]),
        *(["--parameter-overrides", " ".join(pairs)] if pairs else []),
    )


def _config(project: Path) -> Sequence[str]:
    file = project / "samconfig.toml"
    return [f"--config-file={file}"] if file.exists() else []


def _failed(said: str, given: SamParameters) -> JobState:
    if IN_PROGRESS.search(said):
        return JobFailed("busy", "the stack changes just now")
    if "ROLLBACK" in said and given.rollback_on_failure:
        return JobFailed("rolled_back", f"CloudFormation has taken it back: {said}", retryable=False)
    return JobFailed("deployment_failed", f"sam deploy has failed: {said}", retryable=False)
