"""A person at the console of any platform: a flow is watched, a stuck one cancelled, the workers looked at."""

import re
from collections.abc import Sequence

from playwright.async_api import Page, expect

from tests.console.browser import Person, chromium, person, sign_in, title
from tests.support.http_world import ClientWorld
from tests.support.world import decision, task

NOBODY = "submarines"
"""A capability that no worker offers."""


async def a_person_works_with_the_console(world: ClientWorld, workers: Sequence[str]) -> None:
    """Sign in with the key of a world and work; it has these workers, which do all that needs `python`."""
    async with chromium() as browser, person(browser, world.url) as somebody:
        page = await _signed_in(somebody, world.client.headers["x-api-key"])
        await _a_flow_is_watched(page, world)
        await _its_page_is_read(page)
        await _a_stuck_flow_is_cancelled(somebody, page, world)
        await page.get_by_role("link", name="Workers", exact=True).first.click()
        await expect(title(page, "Workers")).to_be_visible()
        for worker in workers:
            await expect(page.locator("tbody tr").filter(has_text=worker)).to_contain_text("healthy")


async def _signed_in(somebody: Person, key: str) -> Page:
    """Give the key, before which alone a request may be refused."""
    somebody.expect_refusals()
    page = await somebody.tab("/console/flows")
    await expect(title(page, "Sign in")).to_be_visible()
    await page.wait_for_load_state("networkidle")  # all has been refused that was asked for without the key
    await sign_in(page, key)
    await expect(title(page, "Flows")).to_be_visible()
    somebody.refusals = False
    return page


async def _a_flow_is_watched(page: Page, world: ClientWorld) -> None:
    """Submit a flow: its row comes and says COMPLETED, and its link leads to its page, all without a reload."""
    await page.evaluate("window.same = true")
    told = decision(task("build"), task("ship", "build"))
    flow_id = await world.submit(told)
    row = page.locator("tbody tr").filter(has_text=told["decision_id"])
    await expect(row).to_contain_text("2 completed")
    await expect(row).to_contain_text("completed")
    await row.get_by_role("link", name=told["decision_id"]).click()
    await expect(page).to_have_url(f"{world.url}/console/flows/{flow_id}")
    assert await page.evaluate("window.same")


async def _its_page_is_read(page: Page) -> None:
    await expect(page.locator(".canvas .box")).to_have_count(2)
    await expect(page.locator(".canvas .box").first).to_contain_text("completed")
    await expect(page.locator(".why")).to_contain_text("has ended as COMPLETED")
    await page.get_by_role("tab", name="History").click()
    await expect(page.get_by_role("slider", name="Event")).to_be_visible()
    await page.get_by_role("button", name="Previous").click()
    await expect(page.locator(".canvas .box")).to_have_count(2)


async def _a_stuck_flow_is_cancelled(somebody: Person, page: Page, world: ClientWorld) -> None:
    """Cancel it after a dry run, which changes nothing."""
    flow_id = await world.submit(decision(task("launch", required_capabilities=[NOBODY])))
    await world.reached(flow_id, "EXECUTING")
    await page.get_by_role("link", name="Flows", exact=True).first.click()
    await page.locator(f"tbody a[href$='{flow_id}']").first.click()
    await expect(page.locator(".why")).to_contain_text(f"waits for a worker that offers '{NOBODY}'")
    await page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Dry run").click()
    await expect(dialog).to_contain_text("launch pending → cancelled")
    assert (await world.flow(flow_id) or {})["status"] == "EXECUTING"
    await dialog.get_by_role("button", name="Cancel this flow").click()
    await expect(page.locator(".head .badge").first).to_have_text(re.compile("cancelled"))
    await world.reached(flow_id, "CANCELLED")
    await somebody.check()
