"""The text of a merge request: what people need to decide, as Markdown in which nothing from outside is markup.

Names and reasons come from templates, plans and tools. Each is a code span of one line: so it makes no link, no
heading, no mention, no reference that closes an issue, and no quick action of GitLab, which begins a line with a slash.
"""

import unicodedata
from collections.abc import Iterator

from functions._core.executors.forge import MergeRequestParameters
from functions._core.forge.gate import APPROVING, REVIEWED, findings_text, shown_score
from functions._core.forge.stages import PackagedArtifact, TestedCode, ValidatedCode

MOST_NAMED = 50
"""Tools and artifacts that are named each; of more their number is said."""

MOST_NAME, MOST_REASON = 200, 1_000
"""Characters of a name and of a reason."""


def request_title(artifact_id: str) -> str:
    """Return the title of the merge request; an artifact's id has no letters that mean anything in one."""
    return f"Flow C: {artifact_id}"


def request_text(given: MergeRequestParameters, folder: str, base: str, flow_id: str) -> str:
    """Return the text of the merge request."""
    return "\n".join(_lines(given, folder, base, flow_id)) + "\n"


def _lines(given: MergeRequestParameters, folder: str, base: str, flow_id: str) -> Iterator[str]:
    code = given.code
    yield f"The code forge has made {span(given.artifact_id)}, and somebody has to decide about it."
    yield ""
    yield f"- Score: **{shown_score(given.score)}** ({APPROVING} approves, below {REVIEWED} is rejected)"
    if given.reason:
        yield f"- Reason: {span(given.reason, MOST_REASON)}"
    yield f"- Template: {span(code.template_id)} {span(code.template_version)}".rstrip()
    yield f"- Made by: {span(code.generation_method.value)}{f' with {span(code.model)}' if code.model else ''}"
    yield f"- Files: {code.files}, in the folder {span(folder)}"
    yield f"- Content: {span('sha256:' + code.content.sha256)}"
    if flow_id:
        yield f"- Flow: {span(flow_id)}"
    if given.validation is not None:
        yield from _validated(given.validation)
    if given.tests is not None:
        yield from _tested(given.tests)
    if given.package is not None:
        yield from _listed("Artifacts", [_artifact(one) for one in given.package.artifacts])
    yield from ("", "## How to decide", "")
    yield f"Merge into {span(base)} to approve: the pipeline goes on within about a minute."
    yield "Close without a merge to reject: the pipeline ends as rejected. The branch may be changed before the merge;"
    yield "what was tested and packaged is the content that is named above."


def _validated(validation: ValidatedCode) -> Iterator[str]:
    results = [
        f"{span(one.tool_name)} ({one.validation_type}): {one.status}"
        + ("" if one.score is None else f", {shown_score(one.score)}")
        for one in validation.validation_results
    ]
    yield from _listed(f"Findings: {findings_text(validation)}", results)


def _tested(tests: TestedCode) -> Iterator[str]:
    covered = "nobody has measured coverage" if tests.coverage is None else f"{tests.coverage:.2%} is covered"
    counts = f"{tests.passed} passed, {tests.failed} failed, {tests.skipped} skipped"
    yield from ("", "## Tests", "", f"{counts}; {covered}, {tests.minimum:.2%} is asked for.")


def _listed(title: str, items: list[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    yield from (f"- {item}" for item in items[:MOST_NAMED])
    if len(items) > MOST_NAMED:
        yield f"- and {len(items) - MOST_NAMED} more"


def _artifact(one: PackagedArtifact) -> str:
    return f"{one.artifact_type.value} {span(one.name)}, {one.size} bytes, {span(one.checksum)}"


def span(text: str, most: int = MOST_NAME) -> str:
    """Return text as a code span of one line: without controls, marks of direction and backticks; empty for none."""
    plain = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text[:most])
    words = " ".join(plain.replace("`", "'").split())
    cut = "…" if len(text) > most else ""
    return f"`{words}{cut}`" if words else ""
