"""What the stages of a pipeline of the code forge hand on: each is the output of one ticket and a parameter of others.

Contents are files of the worker's store (WORKER_LOGS), named by place, size and hash; a record has no content itself.
Scores lie between 0 and 1.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.execute import KeptFile
from functions._core.records.values import Model, Timestamp, Word

STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "package", "approve")
"""The stages in their order; each is a task of the pipeline's flow."""

MOST_ARTIFACTS = 100

Score = Annotated[float, Field(ge=0, le=1)]


class ForgeArtifactType(Word):
    """What an artifact is."""

    CODE = "CODE"
    IAC = "IAC"
    TEST = "TEST"
    DOCUMENTATION = "DOCUMENTATION"
    CONTAINER = "CONTAINER"
    CHART = "CHART"
    FUNCTION = "FUNCTION"


class GenerationMethod(Word):
    """How code came to be."""

    TEMPLATE = "TEMPLATE"
    LLM = "LLM"
    HYBRID = "HYBRID"


class TemplateSource(Model):
    """Where a template is: shipped with Flow C, a folder of the worker's owner, or a git repository."""

    shipped: str | None = None
    """The name of one that Flow C brings."""
    folder: str | None = None
    """A folder below those of the worker's owner (WORKER_TEMPLATES)."""
    git: str | None = None
    """The address of a repository that the worker's owner allows (WORKER_REPOSITORIES)."""
    ref: str | None = None
    """Of a repository: a tag, a branch or a commit; None: the newest tag that is a version, else the default branch."""
    subfolder: str = "."
    """The folder of the template within it."""


class TemplateCard(Model):
    """A template, as one chooses among templates."""

    template_id: str
    """Its name in the registry of templates."""
    description: str = ""
    """What it makes."""
    artifact_type: str = ""
    """The kind of thing that it makes: service, function, library or module."""
    language: str = ""
    """The language of its code, in lower case."""
    capabilities: tuple[str, ...] = ()
    """What its result can do, such as http, cloudevents, knative or sam."""
    quality: Score = 0.5
    """How good its results are, as its owner says."""
    source: TemplateSource
    """Where it is."""


class SelectedTemplate(Model):
    """The output of select_template: one template, with its content at one version."""

    template_id: str
    """The template."""
    score: Score
    """How well it fits; 1 for one that was named."""
    version: str = ""
    """The version: a tag, or a commit, or the version of Flow C for one that it ships."""
    commit: str | None = None
    """The commit, of a git repository."""
    artifact_type: str = ""
    """See `TemplateCard`."""
    language: str = ""
    """See `TemplateCard`."""
    content: KeptFile
    """The template, as a .tar.gz whose bytes depend on nothing but its files."""
    questions: Mapping[str, Any] = {}
    """JSON Schema of what the template asks for."""
    source: TemplateSource | None = None
    """Where it is; of a repository with the tag, the branch or the commit that was taken as `ref`."""
    cached: bool = False
    """Whether it was looked up within the last hour."""


class CodeArtifact(Model):
    """Files of one kind among what was composed or made."""

    artifact_id: str
    """Its id: the artifact of the pipeline, and what it is of that."""
    artifact_type: ForgeArtifactType
    """What it is."""
    content_uri: str
    """Where it is."""
    content_hash: str
    """SHA-256 of its content, in hexadecimal digits; of several files that of the list of their paths and hashes."""
    files: int = 1
    """How many files it is."""


class ComposedCode(Model):
    """The output of compose_code: a project."""

    content: KeptFile
    """The project, as a .tar.gz whose bytes depend on nothing but its files: same inputs, same hash."""
    artifacts: tuple[CodeArtifact, ...]
    """Its files by kind: CODE, IAC, TEST and DOCUMENTATION."""
    confidence_score: Score
    """The template's score times the share of its questions that were answered."""
    generation_method: GenerationMethod = GenerationMethod.TEMPLATE
    """How it was made."""
    template_id: str
    """The template."""
    template_version: str = ""
    """Its version."""
    artifact_type: str = ""
    """See `TemplateCard`: service, function, library or module."""
    language: str = ""
    """The language of its code."""
    files: int
    """How many files it has."""
    model: str | None = None
    """The language model that has changed files; None for none."""


class ValidatedCode(Model):
    """The output of validate_code."""

    validation_results: tuple[ForgeValidation, ...]
    """What came of each tool."""
    quality: Score
    """The kinds of validation by their weights (SAST .30, security .30, lint .20, policy .20); one that no tool has
    looked at counts as 0. At most 0.49 with a critical finding or a policy that denies."""
    capped_by: str = ""
    """Why it is at most 0.49; empty where it is not."""
    report: KeptFile | None = None
    """All findings, as SARIF."""


class TestedCode(Model):
    """The output of run_tests."""

    __test__ = False  # it is no test itself

    passed: int
    """Tests that passed."""
    failed: int = 0
    """Tests that failed, or broke."""
    skipped: int = 0
    """Tests that were skipped."""
    coverage: Score | None = None
    """The share of lines that were run; None where nothing measured it."""
    minimum: Score = 0.8
    """The coverage that is asked for."""
    score: Score
    """Passed of all, times coverage by its minimum, 1 at most."""
    junit: KeptFile | None = None
    """The report of the tests."""


class PackagedArtifact(Model):
    """One thing that can be delivered."""

    artifact_id: str
    """Its id: the artifact of the pipeline, and what it is of that, such as `acme/shop:wheel`."""
    artifact_type: ForgeArtifactType
    """What it is: CODE (wheel, sdist, archive), CONTAINER, CHART or FUNCTION."""
    name: str
    """The name of its file, or of its image."""
    location: str
    """Where it is: in the worker's store, or in a registry by its digest."""
    checksum: str
    """`sha256:` and the hash of its content; of an image that of its manifest."""
    size: int
    """Bytes."""
    media_type: str = "application/octet-stream"
    """What its bytes are."""
    file: KeptFile | None = None
    """Its file in the worker's store; of an image the layout as a .tar."""
    signature: str | None = None
    """Signature of its content, base64; ECDSA with SHA-256, or Ed25519."""
    bundle: KeptFile | None = None
    """The signature as a Sigstore bundle."""


class SbomRecord(Model):
    """The list of components of what was made."""

    format: str = "CycloneDX"
    """The format of `cyclonedx`."""
    version: str = "1.6"
    """Its version."""
    components: int
    """How many components there are."""
    cyclonedx: KeptFile
    """The list as CycloneDX JSON."""
    spdx: KeptFile
    """The list as SPDX 2.3 JSON."""


class TransparencyEntry(Model):
    """Where a transparency log has the provenance."""

    log_id: str
    """The log: the hash of its public key."""
    index: int
    """The number of the entry, from 0."""
    integrated_at: Timestamp
    """When it was taken."""
    tree_size: int
    """Entries of the log with which the proof was made."""
    root_hash: str
    """The root of the tree of so many entries, in hexadecimal digits."""
    proof: tuple[str, ...] = ()
    """The inclusion proof of RFC 6962, in hexadecimal digits, from the leaf on."""
    checkpoint: str = ""
    """The signed head of the tree, as a signed note."""


class PackagedCode(Model):
    """The output of package."""

    artifacts: Annotated[tuple[PackagedArtifact, ...], Field(max_length=MOST_ARTIFACTS)]
    """What was made."""
    sbom: SbomRecord
    """What it is made of."""
    provenance: KeptFile
    """How it was made: in-toto statement with SLSA v1 provenance, in a DSSE envelope."""
    links: tuple[KeptFile, ...] = ()
    """Links of in-toto for the steps compose_code and package."""
    signature: str | None = None
    """That of the provenance, base64."""
    key_id: str = ""
    """The key of the signatures; empty where nothing was signed."""
    public_key: str = ""
    """It, as PEM."""
    log: TransparencyEntry | None = None
    """The entry of the transparency log."""
    pushed: tuple[str, ...] = ()
    """What is in registries since, by digest: compensation takes it away again."""


class GateOutcome(Word):
    """What the approval gate says."""

    APPROVED = "APPROVED"
    REVIEW = "REVIEW"
    REJECTED = "REJECTED"


class GateVerdict(Model):
    """The output of the approval gate; a rejection is a failure of the stage in its place."""

    outcome: GateOutcome
    """What follows."""
    score: Score
    """0.6 quality + 0.3 tests + 0.1 confidence."""
    reason: str
    """Why, in a sentence."""
    review: Literal["merge_request", "person"] | None = None
    """Who decides: those who merge on a code host, or a person here. None where nobody has to."""


class MergeRequest(Model):
    """The output of a merge request that was merged; one that was closed is a failure in its place."""

    url: str
    """Where it is."""
    branch: str
    """The branch with the code."""
    commit: str = ""
    """The commit that the merge made."""
    merged_by: str = ""
    """Who merged it, as the code host says."""
