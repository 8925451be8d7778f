"""Texts that would like to be markup, in every field that a decision, a worker or a person can fill: shown as text."""

import re
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from tests.console.browser import Person
from tests.console.pages import settled, something
from tests.support.http_world import AWAY
from tests.support.processes import Platform
from tests.support.world import decision, task

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

MARKUP = (
    "\"><img src=x onerror=\"window.attacked='image'\"><script>window.attacked='script'</script>"
    '<svg/onload="window.attacked=\'svg\'"></textarea></title><iframe srcdoc="<script>top.attacked=1</script>">'
    "{{constructor.constructor('window.attacked=1')()}}${window.attacked=1}' onmouseover='window.attacked=1"
)
LINK = "javascript:window.attacked='link'"
HIDDEN = "invoice\u202egnp.exe\u2066 zero\u200bwidth \u0007bell \U0001f3f4 e\u0301"
ELEMENTS = ", ".join(f"main {name}" for name in ("img", "script", "iframe", "object", "embed", "image", "[onerror]"))
"""Elements that only markup of an attack would make."""

LEVELS = {"slos": {"text", "service", "status"}, "freezes": {"days", "cursor"}, "what-if": {"policy"}}
"""What the pages of service levels, freezes and trials take from their query."""


async def is_harmless(page: Page) -> None:
    """Look at all that a page shows: every part open, every row under the mouse."""
    await expect(page.locator(ELEMENTS)).to_have_count(0)
    links = await page.evaluate(
        "[...document.querySelectorAll('a[href], form[action], [formaction]')].map((a) => a.href)"
    )
    assert [link for link in links if not re.match(r"https?://|mailto:", link or "http://")] == []
    await page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    await expect(page.locator(ELEMENTS)).to_have_count(0)
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 1, f"{page.url}: wider than the window by {wide} px"


async def test_no_text_of_a_decision_a_worker_or_an_output_becomes_markup(person: Person, platform: Platform) -> None:
    text = f"{MARKUP} {LINK} {HIDDEN} {'W' * 2000}"
    mark = uuid4().hex[:8]
    shown = await something(
        platform,
        text,
        decision_id=f"{MARKUP[:90]}{mark}",
        intent_id=HIDDEN[:24].replace("\u0007", "") + MARKUP[:60],
    )
    page = await person.tab("/console/flows")
    seen = set()
    for path in shown.pages():
        await settled(person, page, path)
        await is_harmless(page)
        if "onerror=" in await page.get_by_role("main").inner_text():
            seen.add(path.partition("?")[0].split("/")[2])
    assert {"flows", "tickets", "inbox", "slos", "freezes", "admission"} & {
        one.split("/")[2].partition("?")[0] for one in shown.pages()
    } <= seen


async def test_a_worker_may_be_called_anything(person: Person, platform: Platform) -> None:
    names = [f"{MARKUP[:80]}-{uuid4().hex[:4]}", LINK, "w/../../x", "robot.js", "ü %2F ?#&"]
    page = await person.tab("/console/workers")
    for name in names:
        status, _ = await platform.call(
            "POST",
            "/api/v1/workers",
            {"worker_id": name, "endpoint": "http://127.0.0.1:1/w", "capabilities": [MARKUP[:60]], "slots": 1},
        )
        assert status != AWAY
        if status < 300:
            await settled(person, page, "/console/workers")
            await is_harmless(page)
            await page.get_by_role("link", name=name, exact=True).first.click()
            await expect(page.locator("main h1").first).to_contain_text(name[:20])
            await is_harmless(page)


async def test_what_people_say_with_a_command_is_text_too(person: Person, platform: Platform) -> None:
    flow_id = await platform.submit(decision(task("a", required_capabilities=["nobody"])))
    said = {"reason": MARKUP[:200], "requested_by": MARKUP[:60]}
    await platform.send(f"/api/v1/flows/{flow_id}/pause", said)
    await platform.send(f"/api/v1/flows/{flow_id}/cancel", said)
    page = await person.tab("/console/audit")
    await expect(page.get_by_role("main")).to_contain_text("onerror=")
    for path in ("/console/audit", f"/console/flows/{flow_id}?tab=history"):
        await settled(person, page, path)
        await is_harmless(page)


async def test_a_query_cannot_write_the_page(person: Person, platform: Platform) -> None:
    person.expect_refusals()
    page = await person.tab("/console/flows")
    for name in ("text", "label", "status", "plan", "since", "tab", "cursor", "kind", "service", "days", "policy"):
        for path in ("flows", "inbox", "audit", "incidents", "workers", "dead-letters", "settings", *LEVELS):
            if path == "flows" or name in LEVELS.get(path, {"tab", "cursor", "kind"}):
                await page.goto(f"{person.url}/console/{path}?{name}={MARKUP.replace('#', '%23').replace('&', '%26')}")
                await expect(page.locator("main h1, main [role=alert]").first).to_be_visible()
                await is_harmless(page)
    assert await platform.get("/health")
