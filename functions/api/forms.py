"""What people and tools may ask for in a body, beside the events of the catalogue."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, RootModel, StrictBool, field_validator, model_validator

from functions._core.decision.vocabulary import PriorityWord
from functions._core.events.commands import QuarantineRuling
from functions._core.placement.workers import MAX_CAPABILITIES, Clearance
from functions._core.records.principal import Role
from functions._core.records.values import FIRST_FAULT, JsonObject, Model, SecurityLevel, Texts, WholeNumber, a_number
from functions._core.rules import CANDIDATES_PER_TICKET
from functions.api.actions import PRINTABLE
from functions.api.roles import AREAS


class OrderForm(Model):
    """Who gives an order, and why.

    The same `order_id` again changes nothing. With `dry_run` nothing is changed, and the answer tells what would be.
    A field that is not known is refused: a misspelt `dry_run` must not do the thing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requested_by: str = Field(default="a user", max_length=255)
    """The person who gives the command, for the history; it is not checked."""
    reason: str = Field(default="no reason given", max_length=1000)
    """The reason, for the history and for everybody whom it concerns."""
    order_id: str | None = Field(default=None, min_length=1, max_length=255)
    """Id of the command, 1 to 255 characters; the same id again changes nothing."""
    dry_run: StrictBool = False
    """True: nothing is changed, and the answer tells what would be."""


class RedriveForm(OrderForm):
    """`sla_seconds` is the time that the flow has from now on; without it as much as it had at first."""

    sla_seconds: Annotated[float, Field(gt=0, le=365 * 86_400), BeforeValidator(a_number)] | None = None
    """The time that the flow has from now on, in seconds; None: as much as it had before."""


class AdjustForm(OrderForm):
    """What the open tickets of a flow get from now on; what is absent stays as it is."""

    priority: PriorityWord | None = None
    """How much the open tickets matter."""
    max_retries: Annotated[int, Field(ge=0, le=100), BeforeValidator(a_number)] | None = None
    """How often each open ticket is tried again at most, those before included."""
    sla_seconds: Annotated[float, Field(gt=0, le=365 * 86_400), BeforeValidator(a_number)] | None = None
    """How long the flow has from now on, in seconds."""


class ReplanForm(OrderForm):
    """Another plan. Work that workers have begun stays, or `force` takes it from them; what is done stays done."""

    cognitive_plan: JsonObject
    """The new plan, in the form of that in a decision; its `plan_id` stays that of the decision."""
    force: StrictBool = False
    """Whether work that workers have begun may be taken from them where its task is another one, or gone."""


class SkipForm(OrderForm):
    """`output` is what the ticket's dependants get to see as its result."""

    output: Any = None
    """The ticket's output for its dependants, any JSON value."""


class QuarantineForm(OrderForm):
    """The decision of a person about a ticket that a guard holds back."""

    ruling: QuarantineRuling
    """`release`: it goes on, and no guard puts it into quarantine again; `reject`: it fails."""
    reason: str = Field(min_length=1, max_length=1000)
    """The reason, for the history and for everybody whom it concerns."""


class DecideForm(OrderForm):
    """The decision of a person about a ticket, with the data that its form asks for."""

    data: Any = None
    """The data of the ticket's form, any JSON value; None where it has none."""


class Flush(Model):
    """The intent whose telemetry is to be sent now; without it, all. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intent_id: str | None = Field(default=None, max_length=255)
    """The intent whose telemetry is sent now; None: all telemetry that waits."""


class Wanted(Model):
    """What a worker has to offer; without capabilities any worker will do that is cleared for `security_level`.

    A field that is not known is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capabilities: Texts = Field(default=(), max_length=MAX_CAPABILITIES)
    """Capabilities that a worker has to offer, all of them."""
    security_level: Clearance = SecurityLevel.INTERNAL
    """The clearance that a worker must have at least."""
    domain: str | None = Field(None, min_length=1, max_length=64)
    """The domain of the work, in which the pheromone score is looked up: a plan's `original_domain` or a task type."""
    limit: WholeNumber = Field(default=CANDIDATES_PER_TICKET, ge=1, le=CANDIDATES_PER_TICKET)
    """How many workers are named at most."""


LONGEST_SECONDS = 10 * 365 * 86_400
"""How long a key may hold at most; one that is to hold longer says nothing."""


Scope = Annotated[str, Field(json_schema_extra={"enum": sorted(AREAS)})]
"""An area of the API; `KeyForm` refuses others, and names those that there are."""


class KeyForm(Model):
    """A key that is to be made. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100, pattern=PRINTABLE)
    """The name that is kept with everything that the holder does."""
    roles: Annotated[tuple[Role, ...], FIRST_FAULT] = Field(min_length=1, max_length=len(Role))
    """The roles of the holder."""
    scopes: Annotated[tuple[Scope, ...], FIRST_FAULT] = Field(default=(), max_length=len(AREAS))
    """Areas of the API that the key opens, such as `flows` or `metrics`; empty: all."""
    worker_id: str | None = Field(default=None, min_length=1, max_length=255, pattern=PRINTABLE)
    """The only worker that the holder acts for, where the one role is `worker`; None: any."""
    expires_in_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS), BeforeValidator(a_number)] | None = None
    """How long the key holds, in seconds; None: until it is revoked."""

    @field_validator("scopes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - AREAS)
        if unknown:
            raise ValueError(f"no such scope: {unknown[0][:100]!r}; known are {', '.join(sorted(AREAS))}")
        return value

    @model_validator(mode="after")
    def _of_a_worker(self) -> Self:
        if self.worker_id is not None and set(self.roles) != {Role.WORKER}:
            raise ValueError("a key for one worker has the role worker alone")
        return self


class PlanForm(RootModel[JsonObject]):
    """A plan, in the form of that in a decision; it needs no `plan_id`, and gets that of the decision that uses it."""

    root: JsonObject
    """The plan."""


VISIBLE = r"^[\x21-\x7e]+$"


class SessionForm(Model):
    """A code of the provider, and proof that the sender has asked for it. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = Field(min_length=1, max_length=4096, pattern=VISIBLE)
    """The code with which the provider has sent the browser back."""
    code_verifier: str = Field(min_length=43, max_length=128, pattern=r"^[A-Za-z0-9._~-]+$")
    """The secret whose SHA-256 the browser has sent to the provider (PKCE)."""
    nonce: str = Field(min_length=16, max_length=255, pattern=VISIBLE)
    """The text that the browser has sent to the provider, and that has to come back in the ID token."""
