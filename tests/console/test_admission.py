"""Admission policies, and what a policy would have done, by what a person sees."""

import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Locator, Page, expect

from tests.console.browser import Person, agree, dialog, title
from tests.console.pages import ATTACK, flow, objective
from tests.support.processes import Platform

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name="Admission policies").get_by_role("row").filter(has_text=name)


async def figures(page: Page | Locator) -> Mapping[str, str]:
    """Return the figures of a trial by their names."""
    region = page.get_by_role("region", name="What would have been")
    await expect(region).to_be_visible()
    names, values = await region.locator("dt").all_inner_texts(), await region.locator("dd").all_inner_texts()
    return dict(zip((name.lower() for name in names), values, strict=True))


async def spent(platform: Platform, service: str) -> str:
    """Let two flows of a service fail, so that the second one came while the budget of an SLO was spent."""
    slo_id = await objective(platform, service)
    for _ in range(2):
        await flow(platform, service, error="no")
    await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    return slo_id


async def test_a_policy_is_made_tried_changed_and_deleted(person: Person, platform: Platform) -> None:
    person.expect_refusals()
    service = f"till-{uuid4().hex[:8]}"
    slo_id = await spent(platform, service)
    freezing = {"name": f"{service} stands {ATTACK}", "scope": "SERVICE", "target": f"{service}-other"}
    await platform.send("/api/v1/policies", freezing)
    page = await person.tab("/console/flows")
    await expect(title(page, "Flows")).to_be_visible()
    await page.keyboard.press("g")
    await page.keyboard.press("c")
    await expect(title(page, "Admission")).to_be_visible()
    await page.get_by_role("button", name="New policy").click()
    form = dialog(page)
    await form.get_by_role("button", name="Make").click()
    await expect(form.locator(":invalid")).not_to_have_count(0)  # a name and what becomes of a flow are asked for
    await form.get_by_label("Name").fill(f"{service} is no name")
    await form.get_by_label("What it is for").fill(f"one line {ATTACK}\nand another one")
    await form.get_by_label("What becomes of a flow").select_option(label="refuse it")
    await form.get_by_label("Only flows with these labels").fill('{"team": 7}')
    await form.get_by_label("Hold it for at most").fill("0")
    await form.get_by_label("Order").fill("2000")
    await form.get_by_role("group", name="or of these objectives").get_by_label(service).check()
    await form.get_by_role("button", name="Make").click()
    await expect(form.get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await form.get_by_label("Name").fill(service)
    await form.get_by_role("button", name="Make").click()
    for label in ("Only flows with these labels", "Hold it for at most", "Order"):
        await expect(form.get_by_label(label)).to_have_attribute("aria-invalid", "true")
    await expect(form.get_by_label("What it is for")).to_have_attribute("aria-invalid", "false")
    await form.get_by_label("Only flows with these labels").fill(f'{{"team": "{service}"}}')
    await form.get_by_label("Hold it for at most").fill("60")
    await form.get_by_label("Order").fill("7")
    await form.get_by_role("button", name="Dry run").click()
    assert (await figures(form))["refused"] == "1"
    await expect(form.get_by_role("region", name="Budgets")).to_contain_text("500%")
    assert service not in {one["name"] for one in (await platform.get("/api/v1/admission-policies"))["items"]}
    await form.get_by_label("Reason").fill(f"as agreed {ATTACK}")
    await agree(page, "Make")
    await expect(row(page, service)).to_contain_text(f"one line {ATTACK}")
    await expect(row(page, service)).to_contain_text("refuse")
    made = await platform.get(f"/api/v1/admission-policies/{service}")
    assert (made["order"], made["slo_selector"]["slo_ids"], made["statuses"]) == (7, [slo_id], ["EXHAUSTED"])
    assert made["description"] == f"one line {ATTACK}\nand another one"
    await a_name_is_taken_once(page, service)
    await changed_and_deleted(page, platform, made, freezing["name"])


async def a_name_is_taken_once(page: Page, service: str) -> None:
    """Try to make another policy of that name."""
    await page.get_by_role("button", name="New policy").click()
    await dialog(page).get_by_label("Name").fill(service)
    await dialog(page).get_by_label("What becomes of a flow").select_option(label="lower its priority")
    await dialog(page).get_by_role("button", name="Make").click()
    await expect(dialog(page).get_by_label("Name")).to_have_attribute("aria-invalid", "true")
    await page.keyboard.press("Escape")
    await expect(dialog(page)).to_have_count(0)


async def changed_and_deleted(page: Page, platform: Platform, made: Mapping[str, Any], freezing: str) -> None:
    """Change fields of a policy; the others stay as they are. Then delete it."""
    service = made["name"]
    await row(page, service).get_by_role("button", name="Change").click()
    form = dialog(page)
    await form.get_by_label("What becomes of a flow").select_option(label="hold it until the budget has recovered")
    await form.get_by_role("group", name="Only flows with one of these risk bands").get_by_label("high").check()
    await form.get_by_role("group", name="In place of budgets").get_by_label(freezing).check()
    await form.get_by_role("button", name="Change", exact=True).click()
    await expect(form).to_contain_text("freeze_policies are in place of slo_selector")
    await form.get_by_role("group", name="In place of budgets").get_by_label(freezing).uncheck()
    await form.get_by_role("group", name="While a budget is").get_by_label("critical").check()
    await form.get_by_label("Enabled").select_option(label="no")
    await agree(page, "Change")
    await expect(row(page, service)).to_contain_text("up to 1 m")
    await expect(row(page, service)).to_contain_text("disabled")
    now = await platform.get(f"/api/v1/admission-policies/{service}")
    statuses, flows = ["CRITICAL", "EXHAUSTED"], {**made["flows"], "risk_bands": ["high"]}
    new = {"action": "HOLD", "statuses": statuses, "flows": flows, "enabled": False, "updated_at": now["updated_at"]}
    assert now == {**made, **new}
    await row(page, service).get_by_role("button", name="Delete").click()
    await agree(page, "Delete")
    await expect(row(page, service)).to_have_count(0)
    kept = await platform.get("/api/v1/audits", kind="action", limit=500)
    told = [one["action"] for one in kept["items"] if one["target"] == service]
    assert sorted(told) == ["delete_admission_policy", *["put_admission_policy"] * 2]


async def test_policies_are_tried_whether_they_are_stored_or_not(person: Person, platform: Platform) -> None:
    person.expect_refusals()
    service = f"desk-{uuid4().hex[:8]}"
    slo_id = await spent(platform, service)
    looks = {"flows": {"labels": {"team": service}}, "slo_selector": {"slo_ids": [slo_id]}, "enabled": False}
    await platform.call("PUT", f"/api/v1/admission-policies/{service}", {**looks, "action": "APPROVE"})
    page = await person.tab("/console/admission")
    await row(page, service).get_by_role("link", name="What if?").click()
    await expect(page).to_have_url(f"{person.url}/console/what-if?policy=admission%2F{service}")
    await page.get_by_label("Days, up to now").fill("1")
    await page.get_by_role("button", name="Try it").click()
    assert await figures(page) == {"sent to a person": "1"}
    budget = page.get_by_role("region", name="Budgets").get_by_role("row").filter(has_text=service)
    await expect(budget).to_contain_text(f"flows succeed {ATTACK}")
    assert await budget.get_by_role("cell").all_inner_texts() == [
        f"flows succeed {ATTACK}\n{service}",
        "1,000%",
        "1,000%",
        "500%",
    ]
    touched = page.get_by_role("region", name="Flows that it touches").locator("tbody tr")
    await expect(touched).to_contain_text(f"of the error budget of {service} is left")
    await page.get_by_role("combobox", name="Policy", exact=True).select_option(label="one that is not stored")
    await expect(page).to_have_url(f"{person.url}/console/what-if")
    text = page.get_by_label("An admission policy as JSON")
    for wrong, said in (("{", "JSON"), ('{"action": "EAT"}', "body.policy.action")):
        await text.fill(wrong)
        await page.get_by_role("button", name="Try it").click()
        await expect(page.get_by_role("alert")).to_contain_text(said)
    await text.fill(f'{{"name": "x", "scope": "SERVICE", "target": "{service}", "unfreeze_threshold_percent": 60}}')
    await page.get_by_role("button", name="Try it").click()
    await expect(page.get_by_role("region", name="Freezes that it begins")).to_contain_text("it lasts")
    assert "frozen, all together" in await figures(page)
    await page.get_by_role("link", name="flows succeed").first.click()
    await expect(page).to_have_url(re.compile(f"/console/slos/{slo_id}"))


async def test_a_freeze_policy_that_is_stored_is_tried_from_the_page_of_freezes(
    person: Person, platform: Platform
) -> None:
    name = f"quiet-{uuid4().hex[:8]} {ATTACK}"
    await platform.send("/api/v1/policies", {"name": name, "scope": "SERVICE", "target": name[:14]})
    page = await person.tab("/console/freezes")
    policy = page.get_by_role("region", name="Policies").get_by_role("row").filter(has_text=name)
    await policy.get_by_role("link", name="What if?").click()
    chosen = page.get_by_role("combobox", name="Policy", exact=True).locator("option:checked")
    await expect(chosen).to_have_text(f"{name} (freeze)")
    await page.keyboard.press("Tab")
    await page.get_by_role("button", name="Try it").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("Nothing would have been held")
    await expect(page.get_by_role("main")).to_contain_text("The policy looks at no objective")
