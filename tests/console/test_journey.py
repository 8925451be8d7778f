"""A person and a flow: submitted, watched, found stuck, explained, approved, failed, redriven, done; two tabs agree."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from tests.console.browser import Person, title
from tests.support.processes import Platform
from tests.support.world import decision, task

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

MESSAGE = "May the release be shipped?"


def release(repaired: Path, skill: str) -> Mapping[str, Any]:
    """Return a decision that needs a skill nobody has, a person, and a second try."""
    return decision(
        task("prepare", parameters={"output": {"version": "1.2.3"}}),
        task("provision", "prepare", required_capabilities=[skill]),
        {
            "task_id": "agree",
            "task_type": "APPROVE",
            "description": "ask",
            "dependencies": ["provision"],
            "approval": {"message": MESSAGE, "form": {"type": "object", "properties": {"note": {"type": "string"}}}},
        },
        task("ship", "agree", max_retries=0, parameters={"error": "the harbour is closed", "repaired": str(repaired)}),
        decision_id=f"release-{uuid4()}",
    )


async def is_said(page: Page, text: str | re.Pattern[str]) -> None:
    await expect(page.get_by_role("main")).to_contain_text(text, ignore_case=True)


async def test_a_flow_is_submitted_watched_found_stuck_explained_approved_and_redriven(
    person: Person, platform: Platform, tmp_path: Path
) -> None:
    skill = f"terraform-{uuid4().hex[:8]}"
    told = release(tmp_path / "repaired", skill)
    watching = await person.tab("/console/flows")
    await expect(title(watching, "Flows")).to_be_visible()
    flow_id = await platform.submit(told)

    # It appears by itself, and its row leads to its page.
    await watching.get_by_role("link", name=told["decision_id"]).click()
    await expect(watching).to_have_url(f"{person.url}/console/flows/{flow_id}")
    await expect(title(watching, told["plan_id"])).to_be_visible()
    await is_said(watching, "C1")
    await is_said(watching, skill)  # why: always open on what is stuck

    other = await person.tab("/console/flows")
    await expect(title(other, "Flows")).to_be_visible()

    # Somebody brings the skill; both tabs go on without a reload.
    platform.hire(f"provider-{skill}", "--capability", skill, "--call", "tests.console.working:work")
    await is_said(watching, "waiting")
    await other.keyboard.press("g")
    await other.keyboard.press("i")
    await expect(title(other, "Inbox")).to_be_visible()
    await other.get_by_role("button", name=f"Approve: {MESSAGE}").first.click()
    asked = other.get_by_role("dialog")
    await asked.get_by_label(re.compile("note")).fill("after lunch")
    await asked.get_by_label(re.compile("Reason")).fill("the tests are green")
    await asked.get_by_role("button", name="Dry run").click()
    await expect(asked).to_contain_text("agree")
    await asked.get_by_role("button", name="Approve").click()
    await expect(asked).to_have_count(0)

    # The last task fails: both tabs say so, and why.
    await expect(watching).to_have_title(re.compile("^failed", re.IGNORECASE))
    await is_said(watching, "the harbour is closed")
    await other.goto(f"{person.url}/console/flows/{flow_id}")
    await expect(other).to_have_title(re.compile("^failed", re.IGNORECASE))

    # It is repaired and redriven in one tab; the other one follows.
    (tmp_path / "repaired").touch()
    await other.get_by_role("button", name="Redrive", exact=True).click()
    asked = other.get_by_role("dialog")
    await asked.get_by_label("Reason").fill("the harbour is open")
    await asked.get_by_role("button", name="Dry run").click()
    await expect(asked).to_contain_text("ship")
    assert (await platform.flow(flow_id) or {})["status"] == "FAILED"  # a dry run changes nothing
    await asked.get_by_role("button", name="Redrive this flow").click()
    for tab in (watching, other):
        await expect(tab).to_have_title(re.compile("^completed", re.IGNORECASE))
    history = await platform.history(flow_id)
    assert any("the harbour is open" in str(entry["detail"]) for entry in history)


async def test_what_is_stuck_is_shown_together_with_the_reason(person: Person, platform: Platform) -> None:
    skill = f"telepathy-{uuid4().hex[:8]}"
    nobody = [task(name, required_capabilities=[skill]) for name in ("one", "two")]
    flow_id = await platform.submit(decision(*nobody))
    page = await person.tab("/console/stuck")
    await expect(page.get_by_role("main").get_by_role("heading", name=re.compile(skill))).to_be_visible()
    await page.get_by_role("link", name="one", exact=True).first.click()
    await expect(page).to_have_url(re.compile("/console/tickets/"))
    await platform.send(f"/api/v1/flows/{flow_id}/cancel")


async def test_a_paused_flow_is_resumed_and_a_cancelled_one_stays_so(person: Person, platform: Platform) -> None:
    flow_id = await platform.submit(decision(task("never", required_capabilities=[f"none-{uuid4().hex[:8]}"])))
    first, second = await person.tab(f"/console/flows/{flow_id}"), await person.tab(f"/console/flows/{flow_id}")
    for verb, state in (("Pause", "paused"), ("Resume", "executing"), ("Cancel", "cancelled")):
        await first.get_by_role("button", name=verb, exact=True).click()
        await first.get_by_role("dialog").get_by_role("button", name=f"{verb} this flow").click()
        for tab in (first, second):
            await expect(tab).to_have_title(re.compile(f"^{state}", re.IGNORECASE))


async def test_flows_are_filtered_by_the_address_and_told_a_command_together(
    person: Person, platform: Platform
) -> None:
    team = f"team-{uuid4().hex[:8]}"
    nobody = task("never", required_capabilities=[f"none-{team}"])
    flows = [await platform.submit(decision(nobody, labels={"team": team})) for _ in range(3)]
    await platform.submit(decision(nobody, labels={"team": "another"}))
    page = await person.tab(f"/console/flows?label=team:{team}")
    rows = page.get_by_role("checkbox", name=re.compile("^Choose (?!all)"))
    await expect(rows).to_have_count(3)
    await page.get_by_label("Choose all on this page").check()
    await expect(page.get_by_role("region", name="Commands for the chosen flows")).to_contain_text("3 flows chosen")
    await page.get_by_role("button", name="Cancel 3").click()
    asked = page.get_by_role("dialog")
    await asked.get_by_role("button", name="Dry run").click()
    await expect(asked).to_contain_text("changes")
    await asked.get_by_role("button", name="Cancel 3 flows").click()
    await expect(asked).to_have_count(0)
    for flow_id in flows:
        await platform.reached(flow_id, "CANCELLED")
