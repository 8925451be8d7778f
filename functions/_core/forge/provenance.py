"""The provenance of a build: an in-toto statement (v1) with SLSA provenance (v1), and links of in-toto for its steps.

The statement says what was made (subject), of what and how (buildDefinition), by whom and when (runDetails). Links say
which files went into a step and which came out of it, by hash; a layout of the owner says which ones may.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from functions._core.executors.execute import KeptFile
from functions._core.forge.facts import BuildFacts, Hashes
from functions._core.passport.seal import canonical
from functions._core.passport.statement import PAYLOAD_TYPE, STATEMENT
from functions._core.records.values import format_time

SLSA = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://neuralhive.io/flowc/code-forge/v1"
BUILDER = "https://neuralhive.io/flowc/worker/v1"
"""The builder, where the worker's owner names none."""

COMPOSE, PACKAGE = "compose_code", "package"

JsonPart = dict[str, Any]


def statement_of(
    facts: BuildFacts, made: Hashes, lists: Sequence[KeptFile], *, builder: str, software: str
) -> JsonPart:
    """Return the statement: `made` are hashes by names of files, `lists` those of components.

    `software` is our version.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": made[name]}} for name in sorted(made)],
        "predicateType": SLSA,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _asked_for(facts),
                "internalParameters": {"confidence": facts.code.confidence_score, "model": facts.code.model},
                "resolvedDependencies": [*_dependencies(facts)],
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"flowc": software}},
                "metadata": {
                    "invocationId": f"flow:{facts.flow_id}/ticket:{facts.ticket_id}/attempt:{facts.attempt}",
                    "startedOn": format_time(facts.began_at),
                    "finishedOn": format_time(facts.ended_at),
                },
                "byproducts": [*_byproducts(facts, lists)],
            },
        },
    }


def _asked_for(facts: BuildFacts) -> JsonPart:
    return {
        "artifact_id": facts.artifact_id,
        "version": facts.version,
        "template": {"id": facts.code.template_id, "version": facts.code.template_version},
        "code_sha256": facts.code.content.sha256,
        "generation_method": facts.code.generation_method.value,
    }


def _dependencies(facts: BuildFacts) -> list[JsonPart]:
    """Return template, project and base images, by hash."""
    found = [_file("project", facts.code.content)]
    if (template := facts.template) is not None:
        about = {"id": template.template_id, "version": template.version}
        digest = {"gitCommit": template.commit} if template.commit else {}
        part = _file("template", template.content)
        found.insert(0, {**part, "digest": {**part["digest"], **digest}, "annotations": about})
    for base in facts.bases:
        digest = {"sha256": base.digest.removeprefix("sha256:")}
        found.append({"name": f"base image {base.name}", "uri": base.purl, "digest": digest})
    return found


def _byproducts(facts: BuildFacts, lists: Sequence[KeptFile]) -> list[JsonPart]:
    """Return what was found before, and the lists of components."""
    found = [_file(f"components ({kept.name.rpartition('/')[2]})", kept) for kept in lists]
    if (tests := facts.tests) is not None:
        said = tests.model_dump(mode="json", include={"passed", "failed", "skipped", "coverage", "minimum", "score"})
        found.append(_said("tests", said))
        found += [_file("report of the tests", tests.junit)] if tests.junit else []
    if (validation := facts.validation) is not None:
        tools = {"tool_name", "tool_version", "validation_type", "status", "score", "issues"}
        said = validation.model_dump(
            mode="json", include={"quality": True, "capped_by": True, "validation_results": {"__all__": tools}}
        )
        found.append(_said("validation", said))
        found += [_file("findings", validation.report)] if validation.report else []
    if facts.worker_id:
        found.append(_said("worker", {"worker_id": facts.worker_id}))
    return found


def _file(name: str, kept: KeptFile) -> JsonPart:
    return {"name": name, "uri": kept.uri, "digest": {"sha256": kept.sha256}}


def _said(name: str, value: object) -> JsonPart:
    return {"name": name, "mediaType": "application/json", "content": b64encode(canonical(value)).decode()}


def compose_link(facts: BuildFacts, files: Hashes) -> JsonPart:
    """Return the link of the step that made a project of a template."""
    materials = {} if facts.template is None else {"template.tar.gz": facts.template.content.sha256}
    command = ["forge_compose_code", facts.code.template_id, facts.code.template_version]
    return _link(COMPOSE, command, materials, files)


def package_link(facts: BuildFacts, files: Hashes, made: Hashes) -> JsonPart:
    """Return the link of the step that made packages of a project."""
    return _link(PACKAGE, ["forge_package", facts.artifact_id, facts.version], files, made)


def _link(name: str, command: Sequence[str], materials: Hashes, products: Hashes) -> JsonPart:
    return {
        "_type": "link",
        "name": name,
        "command": [*command],
        "materials": _hashes(materials),
        "products": _hashes(products),
        "byproducts": {},
        "environment": {},
    }


def _hashes(files: Hashes) -> Mapping[str, Mapping[str, str]]:
    return {name: {"sha256": files[name]} for name in sorted(files)}


def unsigned(statement: JsonPart) -> bytes:
    """Return the envelope of a statement that nobody has signed."""
    payload = b64encode(canonical(statement)).decode()
    outer: JsonPart = {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": []}
    return json.dumps(outer, separators=(",", ":")).encode() + b"\n"
