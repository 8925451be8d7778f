"""The card by which other agents know the platform: what it does, where, and how they prove themselves (A2A 1.0)."""

from typing import Any

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from functions._core.records.values import Model

JSON = "application/json"


class CardPart(Model):
    """Base of the parts of a card, which have the names of the protocol's JSON."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class CardInterface(CardPart):
    """Where the agent is, and what it speaks there."""

    url: str
    protocol_binding: str = "JSONRPC"
    protocol_version: str


class CardCapabilities(CardPart):
    """What of the protocol is offered beside the plain requests."""

    streaming: bool = False
    push_notifications: bool = False
    extended_agent_card: bool = False


class CardSkill(CardPart):
    """Something that the agent can do."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...]
    input_modes: tuple[str, ...] = (JSON,)
    output_modes: tuple[str, ...] = (JSON,)


class AgentCardView(CardPart):
    """The card of this platform."""

    name: str
    description: str
    version: str
    supported_interfaces: tuple[CardInterface, ...]
    capabilities: CardCapabilities = CardCapabilities()
    default_input_modes: tuple[str, ...] = (JSON,)
    default_output_modes: tuple[str, ...] = (JSON,)
    security_schemes: dict[str, Any]
    security_requirements: tuple[dict[str, Any], ...]
    skills: tuple[CardSkill, ...]

    @classmethod
    def of(cls, url: str, version: str, protocol_version: str) -> "AgentCardView":
        """Return the card of a platform whose endpoint is `url`."""
        skill = CardSkill(
            id="carry-out",
            name="Carry out a decision",
            description="Takes a decision with its plan, or a plan alone, as one data part, and carries it out as a "
            "flow of tickets within its deadline. The result of the flow is the artifact of the task.",
            tags=("workflow", "orchestration", "sla"),
        )
        return cls(
            name="Flow C",
            description="Turns decisions into done work inside their SLA.",
            version=version,
            supported_interfaces=(CardInterface(url=url, protocol_version=protocol_version),),
            security_schemes={
                "bearer": {"httpAuthSecurityScheme": {"scheme": "bearer"}},
                "key": {"apiKeySecurityScheme": {"location": "header", "name": "X-API-Key"}},
            },
            security_requirements=({"schemes": {"bearer": {}}}, {"schemes": {"key": {}}}),
            skills=(skill,),
        )
