"""`events/asyncapi.json`: sound, whole, and about the same events as the rest of the folder.

Its form was also checked by AsyncAPI's own parser, which needs Node; here every reference is followed.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from functions._core.events.catalogue import BY_TYPE, SINK
from functions._core.events.envelope import type_of
from tests.contract.schemas import EVENTS, document

DOCUMENT = document("asyncapi.json")
CHANNELS = {
    name: {DOCUMENT["components"]["messages"][key]["title"] for key in channel["messages"]}
    for name, channel in DOCUMENT["channels"].items()
}


def references(value: Any) -> Iterator[str]:
    """Yield every reference, at any depth."""
    if isinstance(value, dict):
        yield from (value["$ref"],) if "$ref" in value else ()
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 100
    for reference in found:
        if reference.startswith("./"):
            assert (EVENTS / reference).is_file(), reference
            continue
        place = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in place, reference
            place = place[step]


def test_it_has_what_asyncapi_3_asks_for() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = operation["channel"]["$ref"]
        assert {one["$ref"].rpartition("/messages/")[0] for one in operation["messages"]} == {channel}
    used = {one for channel in DOCUMENT["channels"].values() for one in references(channel["messages"])}
    assert used == {f"#/components/messages/{key}" for key in DOCUMENT["components"]["messages"]}
    for trait in DOCUMENT["components"]["messageTraits"].values():
        Draft202012Validator.check_schema(trait["headers"])


def test_each_channel_has_the_types_that_the_catalogue_has_for_it() -> None:
    told = {event_type for event_type, entry in BY_TYPE.items() if "subscribers" in entry.handled_by.split(", ")}
    assert CHANNELS["ingress"] == {event_type for event_type, entry in BY_TYPE.items() if entry.outside}
    assert CHANNELS["sink"] == {event_type for event_type, entry in BY_TYPE.items() if entry.handled_by == SINK}
    assert CHANNELS["webhook"] == {"subscription.tested"}
    assert CHANNELS["worker"] == {"ticket.assigned", "ticket.cancelled"}
    assert CHANNELS["subscriber"] == told | {"decision.consolidated", "plan.validated", "flow.consolidated"}


@pytest.mark.parametrize("key", DOCUMENT["components"]["messages"])
def test_a_message_is_named_by_its_type_and_has_its_schema(key: str) -> None:
    message = DOCUMENT["components"]["messages"][key]
    assert message["name"] == type_of(message["title"])
    files = list(references(message["payload"]))
    assert f"./{message['title']}.v1.schema.json" in files
    assert len(files) == (2 if key == "decision_consolidated_told" else 1)
