"""What was composed: which files are code, infrastructure, tests or documents, and how sure one may be of it.

Paths are relative, with `/` between their parts; hashes are SHA-256 in hexadecimal digits.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from functions._core.forge.questions import share_answered
from functions._core.forge.stages import CodeArtifact, ForgeArtifactType

ANSWERS = ".copier-answers.yml"
"""Which template, at which version, a project was made of, and with which answers: `copier update` reads it."""

TEST_FOLDERS = frozenset({"test", "tests", "spec", "specs", "e2e", "__tests__", "testdata"})
TEST_FILE = re.compile(
    r"test_.+\.py|.+_test\.(py|go|rb)|conftest\.py|.+\.(test|spec)\.[cm]?[jt]sx?|.+\.tftest\.(hcl|json)"
)

DOCUMENT_FOLDERS = frozenset({"doc", "docs"})
DOCUMENT_FILE = re.compile(
    r".+\.(md|rst|adoc)|(license|licence|notice|authors|changelog|contributing|readme)(\.[a-z]+)?", re.IGNORECASE
)

IAC_FOLDERS = frozenset(
    {
        *("deploy", "infra", "infrastructure", "terraform", "helm", "chart", "charts", "manifests"),
        *("k8s", "kubernetes", "knative", ".github"),
    }
)
IAC_FILE = re.compile(
    r"(dockerfile|containerfile)(\..+)?|.+\.dockerfile|.+\.(tf|tfvars|hcl)|(docker-)?compose.*\.ya?ml|samconfig\.toml"
    r"|(template|serverless|kustomization|chart|buildspec|\.gitlab-ci)\.ya?ml|jenkinsfile|skaffold\.ya?ml",
    re.IGNORECASE,
)

DIGITS = 4
"""Digits of a confidence."""


def kind_of(path: str) -> ForgeArtifactType:
    """Return what a file of a project is: a test first, then a document, then infrastructure, else code."""
    *folders, name = path.lower().split("/")
    if not TEST_FOLDERS.isdisjoint(folders) or TEST_FILE.fullmatch(name):
        return ForgeArtifactType.TEST
    if not DOCUMENT_FOLDERS.isdisjoint(folders) or DOCUMENT_FILE.fullmatch(name):
        return ForgeArtifactType.DOCUMENTATION
    if not IAC_FOLDERS.isdisjoint(folders) or IAC_FILE.fullmatch(name):
        return ForgeArtifactType.IAC
    return ForgeArtifactType.CODE


def tree_hash(hashes: Mapping[str, str]) -> str:
    """Return the hash of files: that of a line `<hash>  <path>` for each, sorted by path, as sha256sum writes them."""
    lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return sha256(lines.encode()).hexdigest()


def artifacts_of(artifact_id: str, hashes: Mapping[str, str], content_uri: str) -> Sequence[CodeArtifact]:
    """Return what a project has of each kind; `hashes` are those of its files by their paths."""
    kinds: dict[ForgeArtifactType, dict[str, str]] = {}
    for path, digest in hashes.items():
        kinds.setdefault(kind_of(path), {})[path] = digest
    return tuple(
        CodeArtifact(
            artifact_id=f"{artifact_id}:{kind.value.lower()}",
            artifact_type=kind,
            content_uri=content_uri,
            content_hash=tree_hash(files),
            files=len(files),
        )
        for kind, files in sorted(kinds.items())
    )


def confidence(score: float, questions: Mapping[str, Any], inputs: Mapping[str, Any]) -> float:
    """Return the score of a template times the share of its questions that were answered."""
    return round(score * share_answered(questions, inputs), DIGITS)
