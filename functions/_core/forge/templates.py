"""The registry of templates: those that Flow C brings, and those that people register.

A card says what a template makes and where it is; a worker fetches it from there, if its owner allows the place.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, StringConstraints, field_validator

from functions._core.executors.forge import MOST_TEMPLATES
from functions._core.forge.stages import Score, TemplateCard, TemplateSource
from functions._core.named_records import NamedRecords
from functions._core.ports import KeyValues
from functions._core.records.values import Model, Timestamp

SPACE = "forge-templates"
"""The space of `KeyValues` that holds the templates that people register, by name."""

TEMPLATE_NAME = r"^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$"
"""The name of a template."""

LONGEST_ADDRESS = 2_048
MOST_CAPABILITIES = 32

SCP_ADDRESS = re.compile(r"[a-z_][a-z0-9_-]{0,31}@[A-Za-z0-9][A-Za-z0-9.-]{0,252}:[A-Za-z0-9_~/][\w./~-]{0,1023}")
"""An address of ssh as code hosts show it: `git@host:owner/name.git`."""

SAFE_REF = re.compile(r"[A-Za-z0-9_][\w./+-]{0,199}", re.ASCII)
SAFE_PATH = re.compile(r"[\w.][\w./ -]{0,499}", re.ASCII)

Line = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
ShortName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+#-]{0,63}$")]


class TemplateForm(Model):
    """What a client sends to register or replace a template. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Line
    """What it makes."""
    artifact_type: ShortName
    """The kind of thing that it makes: service, function, library or module."""
    language: ShortName
    """The language of its code."""
    capabilities: Annotated[tuple[ShortName, ...], Field(max_length=MOST_CAPABILITIES)] = ()
    """What its result can do, such as http, cloudevents, knative or sam."""
    quality: Score = 0.5
    """How good its results are, 0 to 1; it decides among templates that fit alike."""
    source: TemplateSource
    """Where it is: a folder of the worker's owner, or a git repository, by https or ssh and without credentials."""

    @field_validator("source")
    @classmethod
    def _safe(cls, source: TemplateSource) -> TemplateSource:
        for fault in source_faults(source):
            raise ValueError(fault)
        return source


class Template(TemplateForm):
    """A template as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Its id."""
    created_by: str
    """Who registered it, or replaced it last."""
    created_at: Timestamp
    """When it was registered."""
    updated_at: Timestamp
    """When somebody changed it last."""

    @property
    def card(self) -> TemplateCard:
        """The template, as one chooses among templates."""
        return TemplateCard(
            template_id=self.name,
            description=self.description,
            artifact_type=self.artifact_type,
            language=self.language.lower(),
            capabilities=self.capabilities,
            quality=self.quality,
            source=self.source,
        )


def source_faults(source: TemplateSource) -> Iterator[str]:
    """Yield what is wrong with the place of a template that somebody registers; no sentence repeats an address."""
    if source.shipped is not None:
        yield "shipped: only Flow C brings templates"
    if (source.git is None) == (source.folder is None):
        yield "names either a folder or a git repository"
    if source.folder is not None and not _safe_path(source.folder):
        yield "folder: is a path below the folders of the worker's owner, without `..`"
    if not _safe_path(source.subfolder):
        yield "subfolder: is a path within the repository, without `..`"
    if source.ref is not None and not _safe_ref(source.ref):
        yield "ref: is a tag, a branch or a commit"
    if source.git is not None:
        yield from _address_faults(source.git)


def _safe_path(path: str) -> bool:
    return SAFE_PATH.fullmatch(path) is not None and ".." not in path.split("/") and ".git" not in path.split("/")


def _safe_ref(ref: str) -> bool:
    return SAFE_REF.fullmatch(ref) is not None and ".." not in ref


def _address_faults(address: str) -> Iterator[str]:
    if SCP_ADDRESS.fullmatch(address) is not None and ".." not in address:
        return
    if len(address) > LONGEST_ADDRESS or re.fullmatch(r"[\x21-\x7e]+", address) is None:
        yield "git: is an address of at most 2,048 printable characters"
        return
    try:
        parts = urlsplit(address)
        host, user, password = parts.hostname or "", parts.username, parts.password
        _ = parts.port
    except ValueError:
        yield "git: is no address"
        return
    if parts.scheme not in {"https", "ssh", "file"}:
        yield "git: is reached by https or ssh"
    elif parts.scheme != "file" and (not host or host.startswith("-")):
        yield "git: names no host"
    elif password is not None or (user is not None and parts.scheme != "ssh") or parts.query or parts.fragment:
        yield "git: has no credentials, query or fragment; the worker's owner says how a repository is reached"
    elif (user or "").startswith("-") or ".." in parts.path.split("/") or len(parts.path.strip("/")) == 0:
        yield "git: is no address of a repository"


def _shipped(template_id: str, description: str, artifact_type: str, language: str, *capabilities: str) -> TemplateCard:
    return TemplateCard(
        template_id=template_id,
        description=description,
        artifact_type=artifact_type,
        language=language,
        capabilities=capabilities,
        quality=0.9,
        source=TemplateSource(shipped=template_id),
    )


SHIPPED = (
    _shipped(
        "lambda-function",
        "A function of AWS Lambda in Python for a queue, a bus or HTTP, with its SAM template, example and tests",
        "function",
        "python",
        *("lambda", "sam", "aws", "serverless", "http"),
    ),
    _shipped(
        "python-library",
        "A library in Python with types, tests and a wheel",
        "library",
        "python",
        *("library", "wheel", "typed"),
    ),
    _shipped(
        "python-service",
        "A service in Python for Knative, which takes CloudEvents, with its image, manifests and chart",
        "service",
        "python",
        *("http", "cloudevents", "knative", "kubernetes", "container", "serverless"),
    ),
    _shipped(
        "terraform-module",
        "A module of Terraform with variables, outputs, an example and tests",
        "module",
        "terraform",
        *("terraform", "infrastructure", "iac"),
    ),
)
"""The templates that Flow C brings, by id."""

SHIPPED_IDS = frozenset(card.template_id for card in SHIPPED)

TEMPLATES = NamedRecords(SPACE, Template, MOST_TEMPLATES - len(SHIPPED))
"""The templates that people have registered."""


async def template_cards(entries: KeyValues) -> Sequence[TemplateCard]:
    """Return all templates: those that Flow C brings, then the registered ones by name."""
    own = (one.card for one in await TEMPLATES.all(entries) if one.name not in SHIPPED_IDS)
    return (*SHIPPED, *own)
