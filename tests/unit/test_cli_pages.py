"""`flowc open`, and the pages of the console that views name."""

import re
import webbrowser
from collections.abc import AsyncIterator

import pytest

from tests.support.command_line import FLOW, FLOW_ID, TICKET, Api, a_reason, a_row, problem, watched
from tests.support.loopback import Loopback

PAGE_SAID = re.compile(r"^in the browser: (\S+)$", re.MULTILINE)
EMPTY: dict[str, object] = {"items": [], "cursor": None, "complete": True}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with Loopback() as server:
        standin = Api(server, {"GET /health": {"status": "ok"}, FLOW: a_row()})
        server.answer = standin.answer
        yield standin


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the addresses that were opened in the browser."""
    addresses: list[str] = []

    def remember(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", remember)
    return addresses


async def test_the_console_is_opened_and_its_address_printed(api: Api, opened: list[str]) -> None:
    result = await api.flowc("open")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{api.server.url}/console/\n", "")
    assert opened == [f"{api.server.url}/console/"]


async def test_a_flow_and_a_ticket_have_pages_of_their_own(api: Api, opened: list[str]) -> None:
    ticket_id = TICKET["ticket_id"]
    api.answers[f"GET /api/v1/tickets/{ticket_id}"] = TICKET
    api.answers["GET /api/v1/flows/resolve"] = {"flow_id": FLOW_ID}
    for named in (FLOW_ID, "decision-1"):
        await api.flowc("open", named)
    await api.flowc("open", f"{FLOW_ID}/task-1")
    nothing = problem(404, "there is no flow", "unknown_flow")
    api.answers |= {"GET /api/v1/flows/resolve": nothing, f"GET /api/v1/flows/{ticket_id}": nothing}
    await api.flowc("open", ticket_id)
    flow, ticket = f"{api.server.url}/console/flows/{FLOW_ID}", f"{api.server.url}/console/tickets/{ticket_id}"
    assert opened == [flow, flow, ticket, ticket]


async def test_nothing_is_opened_where_only_the_address_is_wanted(api: Api, opened: list[str]) -> None:
    result = await api.flowc("open", FLOW_ID, "--print")
    assert (result.stdout, opened) == (f"{api.server.url}/console/flows/{FLOW_ID}\n", [])


async def test_without_a_browser_the_address_is_printed_all_the_same(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda _address: False)
    result = await api.flowc("open")
    assert (result.exit_code, result.stdout) == (0, f"{api.server.url}/console/\n")
    assert "no browser" in result.stderr


async def test_the_key_is_never_in_the_address(api: Api, opened: list[str]) -> None:
    result = await api.flowc("open", FLOW_ID, FLOWC_API_KEY="a-secret-key")
    assert "a-secret-key" not in result.output + opened[0]
    assert api.server.requests[0].headers["x-api-key"] == "a-secret-key"


async def test_what_is_not_there_is_not_opened(api: Api, opened: list[str]) -> None:
    api.answers["GET /api/v1/flows/resolve"] = problem(404, "there is no flow 'nope'", "unknown_flow")
    result = await api.flowc("open", "nope")
    assert (result.exit_code, opened) == (1, [])
    nobody = await api.flowc("open", FLOWC_URL="http://127.0.0.1:1")
    assert (nobody.exit_code, nobody.stdout, opened) == (1, "", [])


@pytest.mark.parametrize(
    ("command", "page"),
    [
        (("flows",), "flows"),
        (("show", FLOW_ID), f"flows/{FLOW_ID}"),
        (("show", FLOW_ID, "--watch"), f"flows/{FLOW_ID}"),
        (("why", FLOW_ID), f"flows/{FLOW_ID}"),
        (("inbox",), "inbox"),
        (("workers",), "workers"),
        (("incidents",), "incidents"),
        (("audits",), "audit"),
        (("dead-letters", "list"), "dead-letters"),
    ],
    ids=lambda given: " ".join(given[:1] + given[2:]) if isinstance(given, tuple) else "",
)
async def test_a_view_names_its_page_but_never_to_programs(api: Api, command: tuple[str, ...], page: str) -> None:
    watched(api, "COMPLETED")
    api.answers[f"GET /api/v1/why/{FLOW_ID}"] = a_reason("flow", FLOW_ID, "it ended")
    for path in ("flows", "inbox", "workers", "incidents", "audits", "dead-letters"):
        api.answers[f"GET /api/v1/{path}"] = EMPTY
    result = await api.flowc(*command)
    assert result.exit_code == 0, result.output
    assert PAGE_SAID.findall(result.stderr) == [f"{api.server.url}/console/{page}"]
    assert "/console/" not in result.stdout
    if "--watch" not in command:
        assert "/console/" not in (await api.flowc(*command, "--json")).output
