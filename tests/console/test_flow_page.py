"""The page of a flow, by what a person sees: why it waits, its graph, its time, its history, its data, another run."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.console.browser import Person, title
from tests.support.processes import Platform
from tests.support.world import decision, task, until

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<img src=x onerror='window.attacked=1'>"
NOBODY = "rockets"
"""A capability that no worker offers."""


async def shown(person: Person, flow_id: str, **query: str) -> Page:
    said = "&".join(f"{name}={value}" for name, value in query.items())
    return await person.tab(f"/console/flows/{flow_id}?{said}")


async def done(platform: Platform, *tasks: Any, **more: Any) -> str:
    """Submit a plan and wait for its end."""
    flow_id = await platform.submit(decision(*tasks, **more))
    await platform.ended(flow_id)
    return flow_id


async def test_a_flow_is_watched_to_its_end_without_being_loaded_again(
    person: Person, platform: Platform, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    flow_id = await platform.submit(
        decision(task("build", parameters={"until": str(gate)}), task("ship", "build"), labels={"team": "blue"})
    )
    page = await shown(person, flow_id)
    head = page.locator(".head")
    await expect(head).to_contain_text("executing")
    await expect(head.locator(".sla")).to_contain_text("left")
    await expect(head.get_by_role("link", name="team: blue")).to_be_visible()
    await expect(head).to_contain_text("◆ 2.0 s estimated")
    await expect(page.locator(".why details[open]")).to_contain_text("waits for 2 of its 2 tickets")
    await page.evaluate("window.same = true")
    gate.touch()
    await expect(head).to_contain_text("2 completed")
    await expect(page.locator(".why")).to_contain_text("has ended as COMPLETED")
    await expect(page).to_have_title("completed · " + await head.get_by_role("heading").inner_text() + " · Flow C")
    assert await page.evaluate("window.same")


async def test_a_page_that_is_left_while_it_reads_says_nothing(person: Person, platform: Platform) -> None:
    flow_id = await done(platform, task("build"))
    page = await shown(person, flow_id)
    await expect(page.locator(".why")).to_contain_text("has ended as COMPLETED")
    held: list[str] = []

    async def hold(route: Route) -> None:
        held.append(route.request.url.rpartition("/")[2])

    await page.route(re.compile(rf"/api/v1/(why/{flow_id}|flows/{flow_id}/tickets|flows/{flow_id}/history)"), hold)
    await page.get_by_role("link", name="Flows", exact=True).first.click()
    await page.go_back()
    await until(lambda: _both(held), "the page to read two things at once")
    await page.get_by_role("link", name="Workers", exact=True).first.click()
    await expect(title(page, "Workers")).to_be_visible()
    await person.check()


async def _both(held: list[str]) -> bool | None:
    return len(held) > 1 or None


async def test_a_stuck_flow_says_why_and_is_cancelled_after_a_dry_run(person: Person, platform: Platform) -> None:
    flow_id = await platform.submit(decision(task("launch", required_capabilities=[NOBODY])))
    page = await shown(person, flow_id)
    await expect(page.locator(".why")).to_contain_text(f"waits for a worker that offers '{NOBODY}'")
    await page.get_by_text("As a command").click()
    await expect(page.locator(".as")).to_contain_text(f"flowc replan {flow_id} plan.json --dry-run")
    await page.get_by_role("button", name="Cancel", exact=True).click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("button", name="Dry run").click()
    await expect(dialog).to_contain_text("launch pending → cancelled")
    assert (await platform.flow(flow_id) or {})["status"] == "EXECUTING"
    await dialog.get_by_role("button", name="Cancel this flow").click()
    await expect(page.locator(".head .badge").first).to_have_text("cancelled")


class TestGraph:
    async def test_the_critical_path_is_marked_and_a_click_opens_the_ticket(
        self, person: Person, platform: Platform
    ) -> None:
        slow = task("slow", "first", estimated_duration_ms=9000)
        flow_id = await done(platform, task("first"), slow, task("quick", "first"), task("last", "slow", "quick"))
        page = await shown(person, flow_id)
        boxes = page.locator(".canvas .box")
        await expect(boxes).to_have_count(4)
        await expect(page.locator(".canvas .box.critical .name")).to_have_text(["◆ first", "◆ slow", "◆ last"])
        await page.locator(".canvas").focus()
        width = (await page.locator(".canvas svg").bounding_box() or {"width": 0})["width"]
        await page.keyboard.press("+")
        assert (await page.locator(".canvas svg").bounding_box() or {"width": 0})["width"] > width
        person.expect_refusals()  # the page of a ticket may not be there yet
        await page.locator(".canvas a", has_text="quick").click()
        await expect(page).to_have_url(
            f"{person.url}/console/tickets/{(await platform.tickets(flow_id))['quick']['ticket_id']}"
        )

    async def test_a_large_plan_is_grouped_and_a_group_opens(self, person: Person, platform: Platform) -> None:
        tasks = [
            task(f"t{n}", *([f"t{n - 60}"] if n >= 60 else []), required_capabilities=[NOBODY]) for n in range(180)
        ]
        page = await shown(person, await platform.submit(decision(*tasks)))
        groups = page.locator(".canvas .box.group")
        await expect(groups).to_have_count(3)
        await page.get_by_role("button", name="level 1 · 60 tickets").first.click()
        await expect(page.locator(".canvas .box:not(.group)")).to_have_count(60)
        await page.reload()  # the address keeps what is open
        await expect(page.locator(".canvas .box:not(.group)")).to_have_count(60)
        await page.get_by_label("Group tickets").select_option("none")
        await expect(page.locator(".canvas .box:not(.group)").first).to_be_visible()
        await expect(groups).to_have_count(0)

    async def test_children_are_under_their_parent(self, person: Person, platform: Platform) -> None:
        each = task("each", foreach={"items": [1, 2, 3]})
        page = await shown(person, await done(platform, each, task("after", "each")))
        await expect(page.locator(".canvas .box")).to_have_count(2)
        await page.get_by_role("button", name="Open each").click()
        await expect(page.locator(".canvas .box .name")).to_contain_text(["each", "each[0]", "each[1]", "each[2]"])


async def test_the_timeline_splits_the_time_and_has_the_deadline(person: Person, platform: Platform) -> None:
    failing = task("again", parameters={"error": "no luck", "repaired": "/nowhere"}, max_retries=1)
    flow_id = await done(platform, task("a"), failing)
    page = await shown(person, flow_id, tab="timeline")
    row = page.get_by_role("listitem").filter(has_text="again")
    await expect(row.locator(".bars")).to_have_attribute("aria-label", re.compile("retrying"))
    await expect(row.locator("i.slack")).to_have_count(1)
    await page.get_by_label("Scale").select_option("deadline")
    await expect(page.locator(".axis .deadline")).to_be_visible()
    await page.get_by_label("Find a task").fill("aga")
    await expect(page.locator(".line.time")).to_have_count(1)


async def test_history_is_stepped_through_with_the_state_then(person: Person, platform: Platform) -> None:
    page = await shown(person, await done(platform, task("only")), tab="history")
    box = page.locator(".canvas .box")
    await expect(box).to_contain_text("completed")
    for status in ("assigned", "pending"):
        while status not in (await box.text_content() or ""):
            await page.get_by_role("button", name="Previous").click()
        await expect(box).to_contain_text(status)
    await page.get_by_role("slider", name="Event").press("End")
    await expect(box).to_contain_text("completed")


async def test_data_and_logs_of_an_attack_are_text(person: Person, platform: Platform) -> None:
    first = task(ATTACK, description=ATTACK, parameters={"output": {ATTACK: ATTACK}, "log": ATTACK})
    second = task("bad", parameters={"error": ATTACK}, max_retries=0)
    plan = {"plan_id": ATTACK, "tasks": [first, second]}
    flow_id = await done(platform, plan_id=ATTACK, intent_id=ATTACK, cognitive_plan=plan)
    page = await shown(person, flow_id, tab="data")
    await expect(title(page, ATTACK)).to_be_visible()
    await expect(page.locator("details.json", has_text="Output").last).to_contain_text("onerror")
    await page.get_by_text("Log of").click()
    await expect(page.locator("details.json[open]", has_text="Log of")).to_contain_text(ATTACK)
    await page.get_by_label("Ticket", exact=True).fill("bad")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("pick="))
    await expect(page.locator("section.panel", has=page.get_by_label("Ticket", exact=True))).to_contain_text("failed")
    await page.get_by_text("Decision", exact=True).last.click()
    await expect(page.locator("details.json[open]", has_text="Decision").first).to_contain_text("cognitive_plan")
    for tab in ("Graph", "Timeline", "History", "Compare"):
        await page.get_by_role("tab", name=tab).click()
        await expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
    await expect(page.locator("main img")).to_have_count(0)


async def test_two_runs_of_a_plan_are_compared_differences_first(
    person: Person, platform: Platform, tmp_path: Path
) -> None:
    repaired = tmp_path / "repaired"
    tasks = (task("same"), task("differs", parameters={"error": "bad day", "repaired": str(repaired)}, max_retries=0))
    plan = decision(*tasks)
    first = await done(platform, *tasks, plan_id=plan["plan_id"], cognitive_plan=plan["cognitive_plan"])
    repaired.touch()
    second = await done(platform, *tasks, plan_id=plan["plan_id"], cognitive_plan=plan["cognitive_plan"])
    page = await shown(person, second, tab="compare")
    rows = page.locator(".line.pair[role=listitem]")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("differs")
    await expect(rows.first).to_contain_text("status")
    await expect(page.get_by_role("link", name="the other run")).to_have_attribute("href", f"/console/flows/{first}")
