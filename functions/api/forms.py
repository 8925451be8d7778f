"""What people and tools may ask for in a body, beside the events of the catalogue."""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool

from functions._core.placement.workers import MAX_CAPABILITIES, Clearance
from functions._core.records.values import Record, SecurityLevel, WholeNumber, a_number
from functions._core.rules import CANDIDATES_PER_TICKET


class OrderForm(Record):
    """Who gives an order, and why.

    The same `order_id` again changes nothing. With `dry_run` nothing is changed, and the answer tells what would be.
    A field that is not known is refused: a misspelt `dry_run` must not do the thing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requested_by: str = Field(default="a user", max_length=255)
    reason: str = Field(default="no reason given", max_length=1000)
    order_id: str | None = Field(default=None, min_length=1, max_length=255)
    dry_run: StrictBool = False


class RedriveForm(OrderForm):
    """`sla_seconds` is the time that the flow has from now on; without it as much as it had at first."""

    sla_seconds: Annotated[float, Field(gt=0, le=365 * 86_400), BeforeValidator(a_number)] | None = None


class SkipForm(OrderForm):
    """`output` is what the ticket's dependants get to see as its result."""

    output: Any = None


class Flush(Record):
    """The intent whose telemetry is to be sent now; without it, all. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    intent_id: str | None = Field(default=None, max_length=255)


class Wanted(Record):
    """What a worker has to offer; without capabilities any worker will do that is cleared for `security_level`.

    A field that is not known is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    capabilities: tuple[str, ...] = Field(default=(), max_length=MAX_CAPABILITIES)
    security_level: Clearance = SecurityLevel.INTERNAL
    limit: WholeNumber = Field(default=CANDIDATES_PER_TICKET, ge=1, le=CANDIDATES_PER_TICKET)
