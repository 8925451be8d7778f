"""The list of flows and what is stuck, by what a person sees: filters, live rows, commands for many at once."""

from collections.abc import Iterable
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from playwright.async_api import Locator, Page, expect

from tests.console.browser import Person, title
from tests.support.processes import Platform
from tests.support.world import decision, task

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<img src=x onerror='window.attacked=1'>"
NOBODY = "submarines"
"""A capability that no worker offers."""


async def waiting(platform: Platform, group: str, names: Iterable[str]) -> None:
    """Submit flows that wait for a worker; `group` is in their ids."""
    for name in names:
        plan = task("dive", required_capabilities=[NOBODY])
        await platform.submit(decision(plan, decision_id=f"{group}-{name}", labels={"crew": name}))


def rows(page: Page) -> Locator:
    return page.locator("tbody tr")


async def listed(person: Person, **query: str) -> Page:
    return await person.tab(f"/console/flows?{urlencode(query)}")


async def test_filters_are_in_the_address_and_can_be_taken_away(person: Person, platform: Platform) -> None:
    group = f"f{uuid4().hex[:6]}"
    await waiting(platform, group, ["red", "blue"])
    ended = await platform.submit(decision(task("quick"), decision_id=f"{group}-done"))
    await platform.ended(ended)
    page = await listed(person)
    await page.get_by_role("searchbox", name="Text in ids").fill(group)
    await expect(rows(page)).to_have_count(3)
    await expect(rows(page).first).to_contain_text("1 completed")
    await expect(rows(page).first.locator(".sla")).to_contain_text("met")
    await page.get_by_role("button", name="Open", exact=True).click()
    await expect(rows(page)).to_have_count(2)
    await expect(page).to_have_title("Flows: open · Flow C")
    await page.get_by_text("Filters").click()
    await page.get_by_role("textbox", name="Labels").fill("crew:red")
    await expect(rows(page)).to_have_count(1)
    await page.reload()
    await expect(rows(page)).to_have_count(1)
    await expect(rows(page)).to_contain_text("crew:red")
    await page.get_by_role("button", name="Remove the filter label").click()
    await expect(rows(page)).to_have_count(2)
    await page.get_by_role("button", name="Remove the filter status").click()
    await expect(rows(page)).to_have_count(3)
    await page.get_by_role("searchbox", name="Text in ids").fill("there is no such flow")
    await expect(page.get_by_role("main")).to_contain_text("No flow fits")


async def test_the_time_of_a_flow_that_waits_for_a_person_stands_still(person: Person, platform: Platform) -> None:
    name = f"p{uuid4().hex[:6]}"
    await waiting(platform, name, ["still"])
    page = await listed(person, text=name)
    bar = rows(page).first.locator(".sla")
    await expect(bar).to_have_attribute("data-tick", "")
    await page.get_by_role("link", name=f"{name}-still").click()
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    await expect(page.locator(".head .badge").first).to_have_text("paused")
    await expect(page.locator(".head .sla")).to_contain_text("left")
    await expect(page.locator(".head .sla[data-tick]")).to_have_count(0)


async def test_new_flows_come_by_themselves_but_not_under_the_hand(person: Person, platform: Platform) -> None:
    group = f"n{uuid4().hex[:6]}"
    await waiting(platform, group, ["one"])
    page = await listed(person, text=group)
    await expect(rows(page)).to_have_count(1)
    await waiting(platform, group, ["two"])
    await expect(rows(page)).to_have_count(2)
    await rows(page).first.get_by_role("checkbox").check()
    await waiting(platform, group, ["three", "four"])
    await expect(page.get_by_role("button", name="2 new")).to_be_visible()
    await expect(rows(page)).to_have_count(2)
    await expect(rows(page).first).to_contain_text(f"{group}-two")
    await page.get_by_role("button", name="2 new").click()
    await expect(rows(page).first).to_contain_text(f"{group}-four")
    await expect(page.get_by_role("checkbox", name=f"Choose {group}-two")).to_be_checked()


async def test_many_flows_are_told_at_once_after_a_dry_run(person: Person, platform: Platform) -> None:
    group = f"b{uuid4().hex[:6]}"
    await waiting(platform, group, (str(number) for number in range(7)))
    page = await listed(person, text=group, status="EXECUTING,PAUSED")
    await page.get_by_role("button", name="Choose all that fit").click()
    chosen = page.get_by_role("region", name="Commands for the chosen flows")
    await expect(chosen).to_contain_text("7 flows chosen")
    await rows(page).last.get_by_role("checkbox").uncheck()
    await chosen.get_by_role("button", name="Pause 6").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Reason").fill("the dock is closed")
    await dialog.get_by_role("button", name="Dry run").click()
    await expect(dialog).to_contain_text("6 changes")
    assert {flow["status"] for flow in (await platform.call("GET", f"/api/v1/flows?text={group}"))[1]["items"]} == {
        "EXECUTING"
    }
    await dialog.get_by_role("button", name="Pause 6 flows").click()
    await expect(rows(page).filter(has_text="paused")).to_have_count(6)
    await expect(chosen).to_have_count(0)
    await page.get_by_role("checkbox", name="Choose all on this page").check()
    await expect(chosen.get_by_role("button", name="Resume 6")).to_be_visible()
    await chosen.get_by_role("button", name="Cancel 7").click()
    row = await rows(page).first.bounding_box()
    assert row is not None
    await page.mouse.move(row["x"] + 5, row["y"] + 5)  # when the dialog is gone, the hand is over the rows
    await dialog.get_by_role("button", name="Cancel 7 flows").press("Enter")
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_role("main")).to_contain_text("No flow fits")


async def test_pages_go_on_and_back(person: Person, platform: Platform) -> None:
    group = f"p{uuid4().hex[:6]}"
    await waiting(platform, group, (str(number) for number in range(53)))
    page = await listed(person, text=group)
    await expect(rows(page)).to_have_count(50)
    await page.get_by_role("button", name="Next page").click()
    await expect(rows(page)).to_have_count(3)
    await page.get_by_role("button", name="First page").click()
    await expect(rows(page)).to_have_count(50)


async def test_texts_of_users_stay_texts(person: Person, platform: Platform) -> None:
    await platform.submit(decision(task("t", required_capabilities=[NOBODY]), decision_id=f"{ATTACK}{uuid4()}"))
    page = await listed(person)
    await expect(rows(page).filter(has_text=ATTACK).first).to_be_visible()
    page = await listed(person, text=ATTACK, plan=ATTACK)
    await expect(page.get_by_role("button", name="Remove the filter plan")).to_contain_text("<img")


async def test_what_is_stuck_is_told_in_groups_and_one_by_one(person: Person, platform: Platform) -> None:
    group = f"s{uuid4().hex[:6]}"
    plans = [task(group, required_capabilities=[group]) for _ in range(2)]
    for plan in plans:
        await platform.submit(decision(plan, sla_deadline_seconds=3600))
    page = await person.tab("/console/stuck")
    await expect(title(page, "What is stuck")).to_be_visible()
    sentence = page.locator(".panel", has_text=f"2 tickets wait for a worker that offers '{group}': nobody offers it.")
    await expect(sentence).to_contain_text(f"flowc worker -c {group} --shell 'echo done'")
    await expect(rows(page).filter(has_text=f"offers '{group}'")).to_have_count(2)
    await rows(page).filter(has_text=f"offers '{group}'").first.get_by_role("link", name=group).click()
    await expect(title(page, group)).to_be_visible()
