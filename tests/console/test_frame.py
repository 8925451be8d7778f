"""The console before any page: it is there for browsers, asks for a key, and has its keyboard."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.console.browser import Person, agree, dialog, sign_in, title
from tests.console.browser import person as somebody
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "k" * 40


async def test_a_browser_at_the_root_is_shown_the_flows(person: Person) -> None:
    page = await person.tab("/")
    await expect(page).to_have_url(f"{person.url}/console/flows")
    await expect(page.get_by_role("link", name="Flows", exact=True).first).to_have_attribute("aria-current", "page")


async def test_a_page_that_is_not_there_is_said_and_the_way_goes_on(person: Person) -> None:
    page = await person.tab("/console/nowhere")
    await expect(page.get_by_role("main")).to_contain_text("There is no page at /console/nowhere")
    await page.get_by_role("link", name="Incidents", exact=True).first.click()
    await expect(page).to_have_url(f"{person.url}/console/incidents")
    await expect(title(page, "Incidents")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_role("main")).to_contain_text("There is no page")


async def test_an_address_that_cannot_be_decoded_is_a_page_like_others(person: Person) -> None:
    person.expect_refusals()
    page = await person.tab("/console/flows/%E0%A4%A")
    await expect(page.get_by_role("main")).not_to_contain_text("Loading")
    await page.get_by_role("link", name="Incidents", exact=True).first.click()
    await expect(title(page, "Incidents")).to_be_visible()


async def test_a_word_of_the_language_is_no_tab(person: Person, platform: Platform) -> None:
    flow_id = await platform.submit(decision(task("a")))
    for word in ("__proto__", "constructor", "toString"):
        page = await person.tab(f"/console/flows/{flow_id}?tab={word}")
        await expect(page.get_by_role("tab", name="Graph")).to_have_attribute("aria-selected", "true")


async def test_letters_lead_to_pages_and_say_what_they_do(person: Person) -> None:
    page = await person.tab("/console/incidents")
    await expect(title(page, "Incidents")).to_be_visible()
    await page.keyboard.press("?")
    help_ = page.get_by_role("dialog")
    await expect(help_).to_contain_text("Flows")
    await page.keyboard.press("Escape")
    await expect(help_).to_have_count(0)
    await page.keyboard.press("/")
    await expect(page.locator("input:focus")).to_have_count(1)
    await page.locator("input:focus").blur()
    await page.keyboard.press("g")
    await page.keyboard.press("f")
    await expect(page).to_have_url(f"{person.url}/console/flows")


async def test_what_is_looked_for_and_not_there_is_said(person: Person) -> None:
    person.expect_refusals()
    page = await person.tab("/console/incidents")
    await page.get_by_role("searchbox").first.fill("<img src=x onerror='window.attacked=1'>")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("<img src=x onerror=")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give a platform with a key set, which limits nobody."""
    settings = {"api_key": KEY, "rate_limits": "off"}
    folder = tmp_path_factory.mktemp("guarded")
    async with running_platform(folder, **settings) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(browser: Browser, guarded: Platform) -> AsyncIterator[Person]:
    """Give somebody who looks at that platform."""
    async with somebody(browser, guarded.url) as found:
        found.expect_refusals()
        yield found


class TestKey:
    """A platform that asks for a key."""

    async def test_the_key_is_asked_for_refused_and_taken(self, stranger: Person) -> None:
        page = await stranger.tab("/console/incidents")
        await expect(title(page, "Sign in")).to_be_visible()
        await sign_in(page, "wrong-key")
        await expect(page.get_by_role("main")).to_contain_text("key")
        await sign_in(page, KEY)
        await expect(title(page, "Incidents")).to_be_visible()
        await page.reload()
        await expect(title(page, "Incidents")).to_be_visible()

    async def test_the_key_is_kept_for_the_tab_alone_and_forgotten_at_the_end(self, stranger: Person) -> None:
        first = await stranger.tab("/console/incidents")
        await sign_in(first, KEY)
        await expect(title(first, "Incidents")).to_be_visible()
        kept = (
            "[JSON.stringify(localStorage), document.cookie, location.href, document.documentElement.outerHTML].join()"
        )
        assert KEY not in await first.evaluate(kept)
        second = await stranger.tab("/console/incidents")
        await expect(title(second, "Sign in")).to_be_visible()
        await first.get_by_role("button", name="Sign out").click()
        await expect(title(first, "Sign in")).to_be_visible()
        assert await first.evaluate("JSON.stringify(sessionStorage)") == "{}"

    async def test_a_key_that_reads_changes_nothing_and_a_header_cannot_be_forged_by_it(
        self, stranger: Person, guarded: Platform
    ) -> None:
        page = await stranger.tab("/console/incidents")
        await sign_in(page, f"{KEY}\r\nX-Evil: 1")
        await expect(title(page, "Sign in")).to_be_visible()
        made = await guarded.send("/api/v1/keys", {"name": "reader", "roles": ["viewer"]}, **{"x-api-key": KEY})
        await sign_in(page, made["key"])
        await expect(title(page, "Incidents")).to_be_visible()

    async def test_a_viewer_sees_admission_policies_and_tries_them_an_operator_changes_them(
        self, stranger: Person, guarded: Platform
    ) -> None:
        keys = {}
        for role in ("viewer", "operator"):
            made = await guarded.send("/api/v1/keys", {"name": f"till-{role}", "roles": [role]}, **{"x-api-key": KEY})
            keys[role] = made["key"]
        body = {"action": "LOWER", "flows": {"service": "till"}}
        path = "/api/v1/admission-policies/till"
        assert (await guarded.call("PUT", path, body, **{"x-api-key": keys["viewer"]}))[0] == 403
        assert (await guarded.call("PUT", path, body, **{"x-api-key": keys["operator"]}))[0] == 201
        page = await stranger.tab("/console/admission")
        await sign_in(page, keys["viewer"])
        lines = page.get_by_role("region", name="Admission policies").locator("tbody tr")
        await expect(lines).to_contain_text("till")
        await lines.get_by_role("button", name="Delete").click()
        await dialog(page).get_by_role("button", name="Delete").click()
        await expect(dialog(page)).to_contain_text("takes the role operator")
        await page.keyboard.press("Escape")
        await lines.get_by_role("link", name="What if?").click()
        await page.get_by_role("button", name="Try it").click()
        await expect(page.get_by_role("main")).to_contain_text("Nothing would have been held")
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(page, keys["operator"])
        await page.goto(f"{stranger.url}/console/admission")
        await lines.get_by_role("button", name="Delete").click()
        await agree(page, "Delete")
        await expect(page.get_by_role("main")).to_contain_text("flowc slo admission set")
