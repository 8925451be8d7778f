"""The executor `terraform`: a configuration of the worker's owner is planned and applied, by Terraform or OpenTofu.

Which resources a plan changes goes to the outputs, what it says for people to the log. A plan that is kept is applied
as it is, or not at all: its hash is checked here, whether the world is still as it was, by Terraform. Where a worker
dies, Terraform dies with it; the next attempt plans anew from the state that was stored.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from functions._core.executors.deploy import DEPLOYING, FAMILY
from functions._core.executors.terraform import ResourceChange, TerraformOutputs, TerraformParameters
from functions._core.records.values import TaskType
from functions._executors.plan_files import applied, hash_of_folder, keep_plan, mark_applied, take_plan
from functions._executors.port import JobContext, JobFailed, JobState, JobSucceeded, ToolCheck, json_of
from functions._executors.tools import ToolEnd, ToolExecutor, ToolJob, project_in, projects_check

PLAN = "plan.tfplan"
VARIABLES = "variables.tfvars.json"
MOST_CHANGES = 100
"""Changes that are named in the outputs and in the log."""

ACTIONS: Mapping[tuple[str, ...], str] = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}
"""What Terraform calls what it does to a resource; `no-op` and `read` are no changes."""

SIGNS = {"create": "+", "change": "~", "replace": "-/+", "destroy": "-", "other": "?"}

Context = JobContext[TerraformParameters]


class TerraformExecutor(ToolExecutor[TerraformParameters]):
    """Plans and applies configurations."""

    name: ClassVar[str] = "terraform"
    family: ClassVar[str] = FAMILY
    task_types: ClassVar[frozenset[TaskType]] = DEPLOYING
    PROGRAMS = ("terraform", "tofu")
    NEEDS_NETWORK = False
    Parameters = TerraformParameters
    Outputs = TerraformOutputs

    def admit(self, context: Context) -> None:
        """Refuse a configuration that is not the owner's."""
        project_in(self.settings, context.parameters.project)

    async def check(self) -> Sequence[ToolCheck]:
        """Look at the tool, and at what the owner allows."""
        return (*await super().check(), projects_check(self.settings))

    async def work(self, context: Context, job: ToolJob) -> JobState:
        """Make a plan, or take the one that was made, and apply it where that is wanted."""
        given = context.parameters
        project = project_in(self.settings, given.project)
        revision = await asyncio.to_thread(hash_of_folder, project)
        if given.revision and given.revision != revision:
            text = f"the configuration is not {given.revision[:64]}: its hash is {revision}"
            return JobFailed("another_revision", text, retryable=False)
        key, folder = context.idempotency_key, self.settings.folder
        if given.plan and (done := await asyncio.to_thread(applied, folder, given.plan, key)) is not None:
            return JobSucceeded(TerraformOutputs.model_validate(done))
        run = _Terraform(self.tool, project, job, given)
        await run.init()
        if given.plan is None:
            await run.plan()
        else:
            await asyncio.to_thread(take_plan, folder, given.plan, job.folder / PLAN)
        outputs = await run.summary(revision)
        if given.mode == "plan":
            digest = await asyncio.to_thread(keep_plan, folder, job.folder / PLAN)
            return JobSucceeded(_with(outputs, plan=digest, health="Planned"))
        if outputs.destroy + outputs.replace and not given.destroy:
            named = ", ".join(each.address for each in outputs.changes if each.action in {"destroy", "replace"})
            text = f"it would destroy {named[:1_000]}, which is not asked for"
            return JobFailed("would_destroy", text, retryable=False)
        await run.good("apply", "-input=false", "-no-color", "-auto-approve", f"{job.inside}/{PLAN}")
        outputs = _with(outputs, plan=given.plan or "", health="Applied", values=await run.values())
        if given.plan is not None:
            await asyncio.to_thread(mark_applied, folder, given.plan, key, json_of(outputs))
        return JobSucceeded(outputs)


class _Terraform:
    """The programs of one job."""

    def __init__(self, tool: str, project: Path, job: ToolJob, given: TerraformParameters) -> None:
        self._tool = tool
        self._project = project
        self._job = job
        self._given = given
        self._env = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_DATA_DIR": f"{job.inside}/.terraform"}
        if given.workspace:
            self._env["TF_WORKSPACE"] = given.workspace

    async def good(self, *argv: str, quiet: bool = False) -> ToolEnd:
        """Run it in the project; raise `ToolFailed`."""
        return await self._job.good(self._tool, f"-chdir={self._project}", *argv, quiet=quiet, env=self._env)

    async def init(self) -> None:
        """Fetch providers and modules, those of the lock file where there is one."""
        locked = (self._project / ".terraform.lock.hcl").exists()
        await self.good("init", "-input=false", "-no-color", *(["-lockfile=readonly"] if locked else []))

    async def plan(self) -> None:
        """Make a plan; variables go by a file, which others cannot read."""
        named = []
        if self._given.variables:
            named = [f"-var-file={await self._job.put(VARIABLES, self._given.variables)}"]
        await self.good("plan", "-input=false", "-no-color", f"-out={self._job.inside}/{PLAN}", *named)

    async def summary(self, revision: str) -> TerraformOutputs:
        """Return what the plan changes, and say so in the log. The values in it are nobody's business."""
        said = (await self.good("show", "-json", f"{self._job.inside}/{PLAN}", quiet=True)).json
        found = said.get("resource_changes") if isinstance(said, Mapping) else None
        changes = [change for each in found or () if (change := _change(each)) is not None]
        counts = Counter(change.action for change in changes)
        for change in changes[:MOST_CHANGES]:
            self._job.context.log(f"{SIGNS[change.action]} {change.address}")
        words = (f"{counts[name]} to {name}" for name in ("create", "change", "replace", "destroy"))
        self._job.context.log(f"plan: {', '.join(words)}")
        return TerraformOutputs(
            revision=revision,
            changes=tuple(changes[:MOST_CHANGES]),
            create=counts["create"],
            change=counts["change"],
            replace=counts["replace"],
            destroy=counts["destroy"],
        )

    async def values(self) -> Mapping[str, Any]:
        """Return the outputs of the configuration that are not sensitive."""
        said = (await self.good("output", "-json", "-no-color", quiet=True)).json
        found = said.items() if isinstance(said, Mapping) else ()
        return {
            name: each.get("value") for name, each in found if isinstance(each, Mapping) and not each.get("sensitive")
        }


def _change(each: object) -> ResourceChange | None:
    if not isinstance(each, Mapping) or not isinstance(each.get("change"), Mapping):
        return None
    actions = tuple(map(str, each["change"].get("actions", ())))
    if actions in {("no-op",), ("read",)}:
        return None
    action = ACTIONS.get(actions, "other")
    return ResourceChange.model_validate({"address": str(each.get("address", ""))[:500], "action": action})


def _with(outputs: TerraformOutputs, **changes: object) -> TerraformOutputs:
    return TerraformOutputs.model_validate({**dict(outputs), **changes})
