"""The page of a ticket, by what a person sees: why, time, attempts, this worker, inputs, output, log, a decision."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Locator, Page, expect

from tests.console.browser import Person, title
from tests.support.forge_stages import BY_PERSON, WHEEL
from tests.support.pipelines import PIPELINES, forge_worker, seen
from tests.support.processes import Platform
from tests.support.world import decision, task, until

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<img src=x onerror='window.attacked=1'>"


async def shown(person: Person, platform: Platform, flow_id: str, task_id: str) -> Page:
    found = await platform.tickets(flow_id)
    return await person.tab(f"/console/tickets/{found[task_id]['ticket_id']}")


def part(page: Page, heading: str | re.Pattern[str]) -> Locator:
    """Return the part of the page with this heading."""
    return page.locator(".panel").filter(has=page.get_by_role("heading", name=heading))


async def test_a_ticket_is_watched_until_a_worker_has_done_it(
    person: Person, platform: Platform, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    work = task("build", parameters={"until": str(gate), "output": {"image": "v7"}, "log": "built v7"})
    after = task("ship", "build", parameters={"image": {"$output": "build", "path": "/image"}})
    flow_id = await platform.submit(decision(work, after))
    page = await shown(person, platform, flow_id, "build")
    status = page.locator("h1 + .badge")
    await expect(status).to_have_text(re.compile("assigned|running"))
    await expect(page.locator(".why")).to_contain_text("waits for worker worker-1")
    await expect(part(page, "Attempts: 1 of")).to_contain_text("The token of attempt 1 is for worker")
    gate.touch()
    await expect(status).to_have_text("completed")
    await expect(page).to_have_title("build: completed · Flow C")
    await expect(part(page, "Why this worker")).to_contain_text("chosen")
    await expect(part(page, "Log of attempt 1")).to_contain_text("built v7")
    await expect(part(page, "Output")).to_contain_text('"image": "v7"')
    await page.get_by_role("link", name="ship").click()
    await expect(title(page, "ship")).to_be_visible()
    await expect(part(page, "Inputs")).to_contain_text('"$output": "build"')
    await expect(page.get_by_role("region", name="It waits for")).to_contain_text('"image":"v7"')


async def test_a_failed_ticket_says_why(person: Person, platform: Platform) -> None:
    frail = task("frail", parameters={"error": f"no {ATTACK}", "log": ATTACK}, retry={"max_retries": 0})
    flow_id = await platform.submit(decision(frail))
    await platform.ended(flow_id)
    page = await shown(person, platform, flow_id, "frail")
    await expect(page.locator("h1 + .badge")).to_have_text("failed")
    for heading in ("Why it is where it is", "Attempts: 1 of 1", "Output"):
        await expect(part(page, heading)).to_contain_text(f"no {ATTACK}")
    await expect(part(page, "Log of attempt 1")).to_contain_text(ATTACK)


async def test_children_are_listed_under_their_parent(person: Person, platform: Platform) -> None:
    each = task("each", foreach={"items": [{"n": 1}, {"n": 2}]}, parameters={"output": {"$item": "/n"}})
    flow_id = await platform.submit(decision(each))
    await platform.ended(flow_id)
    page = await shown(person, platform, flow_id, "each")
    children = part(page, "Children: 2")
    await expect(children).to_contain_text("2 completed, 0 failed")
    await children.get_by_role("link", name="each[1]").click()
    await expect(title(page, "each[1]")).to_be_visible()
    await expect(page.get_by_role("navigation", name="Where this is").get_by_role("link", name="each")).to_be_visible()
    await expect(part(page, "Inputs")).to_contain_text('"n": 2')


async def test_a_question_is_answered_with_its_form(person: Person, platform: Platform) -> None:
    form = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}
    asked = task(
        "agree", task_type="APPROVE", required_capabilities=[], approval={"message": f"May it? {ATTACK}", "form": form}
    )
    flow_id = await platform.submit(decision(asked))
    page = await shown(person, platform, flow_id, "agree")
    await expect(part(page, "The question")).to_contain_text(f"May it? {ATTACK}")
    await page.get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("amount").fill("7")
    await dialog.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.locator("h1 + .badge")).to_have_text("completed")
    await expect(part(page, "The question")).to_contain_text("approved")
    await expect(part(page, "The question")).to_contain_text('"amount": 7')


async def test_who_reviews_a_pipeline_of_the_forge_sees_score_reason_and_artifacts(
    person: Person, platform: Platform
) -> None:
    async with httpx.AsyncClient(base_url=platform.url) as client, forge_worker(client) as worker:
        worker.outputs["approve/gate"] = BY_PERSON.but(reason=f"0.72 is below 0.9 {ATTACK}")
        begun = await client.post(PIPELINES, json={"artifact_id": "acme/shop"})
        pipeline_id = begun.json()["pipeline_id"]

        async def waits() -> dict[str, Any] | None:
            review: dict[str, Any] | None = (await seen(client, pipeline_id))["review"]
            return review

        review = await until(waits, "the review")
        page = await person.tab(f"/console/tickets/{review['ticket_id']}")
        made = part(page, "What the forge has made")
        for words in ("0.72", f"0.72 is below 0.9 {ATTACK}", "acme/shop:wheel", WHEEL.location, WHEEL.checksum):
            await expect(made).to_contain_text(words)
        await client.post(f"/api/v1/tickets/{review['ticket_id']}/deny", json={"reason": "seen"})
