"""Documents of SLOs and policies, as operators of clusters write them: `SLODefinition`, `SLAPolicy`, and OpenSLO's SLO.

A document is read into the form that a client would have sent; whatever it says that cannot be kept is refused with
its place. The spec has the fields of the form in camel case. `metadata.namespace` is the namespace of the service.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from functions._core.errors import Rejected
from functions._core.records.models import Reason
from functions._core.records.record import fields_of
from functions._core.records.values import NAMESPACE, JsonObject, Model, name_uuid
from functions._core.slo.definition import HistoryQuery, SliQuery, SloForm, Text200
from functions._core.slo.freezing import FreezePolicyForm, SloSelector

API_VERSION = "neural-hive.io/v1"
SLO_KIND, POLICY_KIND, OPENSLO_KIND = "SLODefinition", "SLAPolicy", "SLO"
KINDS = (SLO_KIND, POLICY_KIND, OPENSLO_KIND)
"""The kinds of documents; an SLO and a policy may have the same name."""

NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
"""Names of Kubernetes objects: lower case, digits, `-` and `.`; at most 253 characters."""

MAX_FAULTS = 100

OWN_NAMES = {"trigger_threshold_percent": "triggerThreshold", "unfreeze_threshold_percent": "unfreezeThreshold"}


def written_name(field: str) -> str:
    """Return the name that a field of a form has in a document."""
    return OWN_NAMES.get(field) or to_camel(field)


M = TypeVar("M", bound=BaseModel)

WRITTEN = ConfigDict(frozen=True, extra="forbid", alias_generator=written_name)

FIELDS = frozenset(
    field
    for form in (SloForm, FreezePolicyForm, SliQuery, HistoryQuery, SloSelector)
    for field in form.model_fields
    if "_" in field
)
"""Fields of forms whose names are other ones in documents."""


class InvalidDocument(Rejected):
    """A document that cannot be kept as it is; `members` names every fault."""

    def __init__(self, faults: Sequence[Reason], where: str = "") -> None:
        """Carry up to `MAX_FAULTS` faults; `where` names the document among others."""
        first, more = faults[0], len(faults) - 1
        text = f"{where}{first.where}: {first.message}" + (f" (and {more} more)" if more else "")
        super().__init__(text, code="invalid_data", status=422)
        self.faults = faults
        self.members = {"errors": [fields_of(fault) for fault in faults[:MAX_FAULTS]]}


class HistorySpec(HistoryQuery):
    """What of the platform's own history counts."""

    model_config = WRITTEN


class SliQuerySpec(SliQuery):
    """How the indicator (SLI) is measured: by `query`, or by `history`."""

    model_config = WRITTEN

    history: HistorySpec | None = None
    """In place of `query`: the platform's own history."""


class SloSpec(SloForm):
    """An objective."""

    model_config = WRITTEN

    name: Annotated[str, Field(max_length=200)] = ""
    """Name, unique for its service; absent: that of the metadata."""
    sli_query: SliQuerySpec
    """How it is measured."""


class SelectorSpec(SloSelector):
    """Which SLOs a policy looks at; absent: those of its target."""

    model_config = WRITTEN

    slo_names: tuple[Annotated[str, Field(pattern=NAME)], ...] = Field(default=(), max_length=200)
    """Names of SLODefinition documents."""


class PolicySpec(FreezePolicyForm):
    """A freeze policy."""

    model_config = WRITTEN

    name: Annotated[str, Field(max_length=200)] = ""
    """Name, unique among the policies; absent: that of the metadata."""
    slo_selector: SelectorSpec = SelectorSpec()
    """The SLOs whose budgets it looks at; absent: those of its target."""


class DocumentMetadata(Model):
    """The names of a document. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=NAME)]
    """Name, unique for its kind: applying a document again changes what it has made before."""
    namespace: Annotated[str, Field(pattern=NAME)] | None = None
    """Namespace of the service: the label `namespace` of what is made, and the target of a policy that names none."""
    labels: Annotated[Mapping[Text200, Text200], Field(max_length=16)] = {}
    """Labels; those of the spec count before them."""
    annotations: Mapping[str, str] = {}
    """Anything for people and tools."""


class SloDocument(Model):
    """An SLO as a document. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    apiVersion: Literal["neural-hive.io/v1"]  # noqa: N815 as it is written
    """Version of the form."""
    kind: Literal["SLODefinition"]
    """Kind of the document."""
    metadata: DocumentMetadata
    """Its names."""
    spec: SloSpec
    """The objective."""


class PolicyDocument(Model):
    """A freeze policy as a document. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    apiVersion: Literal["neural-hive.io/v1"]  # noqa: N815 as it is written
    """Version of the form."""
    kind: Literal["SLAPolicy"]
    """Kind of the document."""
    metadata: DocumentMetadata
    """Its names."""
    spec: PolicySpec
    """The policy."""


class SloResource(NamedTuple):
    """A document that has been read: `form` is what it makes, `document` what it says."""

    kind: str
    name: str
    form: SloForm | FreezePolicyForm
    document: JsonObject

    @property
    def key(self) -> str:
        """The document among all, as `SLODefinition/name`."""
        return key_of(self.kind, self.name)

    @property
    def made_id(self) -> str:
        """Id of the SLO or policy that it makes."""
        return made_id(self.kind, self.name)


def key_of(kind: str, name: str) -> str:
    """Return what names a document among all."""
    return f"{kind}/{name}"


def made_id(kind: str, name: str) -> str:
    """Return the id of what a document makes: the same document makes the same SLO or policy again."""
    return name_uuid(str(NAMESPACE), f"document/{key_of(kind, name)}")


def read_as(model: type[M], value: object, where: str, root: Sequence[str] = ()) -> M:
    """Return `value` as a `model`; raise `InvalidDocument` with every fault, its place below `root`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidDocument([fault_of(root, one) for one in error.errors(include_url=False)], where) from None


def fault_of(root: Iterable[str], error: Mapping[str, Any]) -> Reason:
    """Return a fault that pydantic has found, in the words of the document."""
    unknown = error["type"] == "extra_forbidden"
    message = "is not known here" if unknown else str(error["msg"]).removeprefix("Value error, ")
    for field in FIELDS:
        message = re.sub(rf"\b{field}\b", written_name(field), message)
    return Reason(code=str(error["type"]), message=message, where=place((*root, *error["loc"])))


def place(path: Iterable[str | int]) -> str:
    """Return the place of a fault, such as `spec.objectives[0].op`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".") or "document"


def labels_of(metadata: DocumentMetadata, labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels of what is made: those of the spec, of the metadata, and the namespace."""
    of_namespace = {} if metadata.namespace is None else {"namespace": metadata.namespace}
    return {**of_namespace, **metadata.labels, **labels}
