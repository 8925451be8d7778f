"""Service levels, freezes and the hot list, by what a person sees."""

import json
import re
from collections.abc import Mapping
from uuid import uuid4

import pytest
from playwright.async_api import Page, Route, expect

from tests.console.browser import Person, agree, dialog, title
from tests.console.pages import ATTACK, flow, objective
from tests.support.processes import Platform
from tests.support.world import decision, task

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


async def nothing(route: Route) -> None:
    """Answer that there is none."""
    await route.fulfill(content_type="application/json", body=json.dumps({"items": [], "cursor": None}))


async def figures(page: Page) -> Mapping[str, str]:
    """Return the figures of a budget by their names."""
    region = page.get_by_role("region", name="Budget")
    names, values = await region.locator("dt").all_inner_texts(), await region.locator("dd").all_inner_texts()
    return dict(zip((name.lower() for name in names), values, strict=True))


async def test_a_person_sees_a_budget_spent_the_freeze_that_follows_and_ends_it(
    person: Person, platform: Platform
) -> None:
    person.expect_refusals()  # there is no budget before the first calculation
    service = f"shop-{uuid4().hex[:8]}"
    slo_id = await objective(platform, service)
    policy = {"name": f"{service} stands {ATTACK}", "scope": "SERVICE", "target": service, "description": ATTACK}
    await platform.send("/api/v1/policies", policy)
    page = await person.tab(f"/console/slos?service={service}")
    row = page.locator("tbody tr")
    await expect(row).to_contain_text(f"flows succeed {ATTACK}")
    await expect(row).to_contain_text("not measured")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{person.url}/console/slos/{slo_id}")
    await expect(page.get_by_role("main")).to_contain_text(f"flowc slo test {slo_id}")

    await page.get_by_role("button", name="Recalculate").click()
    await agree(page, "Recalculate")
    await expect(page).to_have_title(f"flows succeed {ATTACK}: 100% left · Flow C")  # nothing has failed
    await flow(platform, service)
    for _ in range(2):
        await flow(platform, service, error="no space left")
    await page.get_by_role("button", name="Recalculate").click()
    await agree(page, "Recalculate")
    await expect(page).to_have_title(f"flows succeed {ATTACK}: 0% left · Flow C")
    seen = await figures(page)
    assert seen["counted"] == "3"
    assert "spent" in seen["forecast"]
    assert seen["sli"] == "33.3333%"
    assert seen["violations"].startswith("1")
    burns = page.get_by_role("region", name="Burn rates").get_by_role("row").filter(has_text="1 h")
    await expect(burns).to_contain_text("6.7")
    await expect(burns).to_contain_text("fast")
    for name, days in (("Last day", "1"), ("Last 30 days", "30")):
        await page.get_by_role("tab", name=name).click()
        await expect(page).to_have_url(re.compile(rf"days={days}$"))
        mean = re.compile("^What was left;.* left (0|50)%")  # of both calculations, where they share a column
        await expect(page.get_by_role("img", name=mean)).to_be_visible()
    await expect(page.get_by_role("region", name="Freezes that last")).to_contain_text(f"service {service}")
    await ended_by_hand(page, platform, service)


async def ended_by_hand(page: Page, platform: Platform, service: str) -> None:
    """Find the freeze of a service among all, and end it."""
    await page.keyboard.press("g")
    await page.keyboard.press("z")
    await expect(title(page, "Freezes")).to_be_visible()
    mine = page.get_by_role("region", name="Freezes that last").get_by_role("row").filter(has_text=service)
    await expect(mine).to_contain_text(f"0 % of the error budget of {service} is left")
    await expect(mine).to_contain_text("block deploy")
    status = await platform.get(f"/api/v1/freeze-status/{service}", use_cache="false")
    assert status["frozen"] is True
    await mine.get_by_role("button", name="Resolve").click()
    await dialog(page).get_by_role("button", name="Resolve").click()
    await expect(dialog(page).locator("input:invalid")).to_have_count(1)  # a reason is asked for
    await dialog(page).get_by_label("Reason").fill(f"we ship the repair {ATTACK}")
    await agree(page, "Resolve")
    await expect(mine).to_have_count(0)
    before = page.get_by_role("region", name="Past freezes").get_by_role("row").filter(has_text=service)
    await expect(before).to_contain_text(f"we ship the repair {ATTACK}")
    assert (await platform.get(f"/api/v1/freeze-status/{service}", use_cache="false"))["frozen"] is False


async def test_an_objective_and_a_policy_are_disabled_after_a_dry_run_and_enabled_again(
    person: Person, platform: Platform
) -> None:
    service = f"bank-{uuid4().hex[:8]}"
    slo_id = await objective(platform, service)
    await platform.send("/api/v1/policies", {"name": service, "scope": "SERVICE", "target": service})
    await flow(platform, service, error="no")
    await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    page = await person.tab("/console/freezes")
    policy = page.get_by_role("region", name="Policies").get_by_role("row").filter(has_text=service)
    lasting = page.get_by_role("region", name="Freezes that last").get_by_role("row").filter(has_text=service)
    await expect(lasting).to_have_count(1)
    await policy.get_by_role("button", name="Disable").click()
    await dialog(page).get_by_role("button", name="Dry run").click()
    await expect(dialog(page)).to_contain_text("These freezes end:")
    await expect(dialog(page)).to_contain_text(f"service {service}")
    await expect(lasting).to_have_count(1)
    await agree(page, "Disable")
    await expect(lasting).to_have_count(0)
    await expect(policy).to_contain_text("disabled")
    await policy.get_by_role("button", name="Enable").click()
    await agree(page, "Enable")
    await expect(lasting).to_have_count(1)

    await lasting.focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{person.url}/console/slos/{slo_id}")
    await page.get_by_role("button", name="Disable").click()
    await dialog(page).get_by_role("button", name="Dry run").click()
    await expect(dialog(page)).to_contain_text("It began these freezes")
    await dialog(page).get_by_label("Reason").fill("no longer ours")
    await agree(page, "Disable")
    await expect(page).to_have_title(re.compile("disabled"))
    await expect(page.get_by_role("button", name="Recalculate")).to_have_count(0)
    await expect(page.get_by_role("region", name="Freezes that last")).to_have_count(0)
    await page.goto(f"{person.url}/console/slos?service={service}")
    await expect(page.get_by_role("main")).to_contain_text("No objective fits")
    await page.get_by_label("Status").select_option("DISABLED")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.locator("tbody a").click()
    await page.get_by_role("button", name="Enable").click()
    await agree(page, "Enable")
    await expect(page.get_by_role("button", name="Recalculate")).to_be_visible()


async def test_objectives_stand_by_what_is_left_and_are_found(person: Person, platform: Platform) -> None:
    mark = uuid4().hex[:8]
    for service, parameters in ((f"good-{mark}", {}), (f"poor-{mark}", {"error": "no"})):
        slo_id = await objective(platform, service)
        await flow(platform, service, **parameters)
        await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    page = await person.tab("/console/slos")
    await expect(page.get_by_role("searchbox", name="Name or service")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type(mark)
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.nth(0)).to_contain_text(f"poor-{mark}")
    await expect(rows.nth(0)).to_contain_text("exhausted")
    await expect(rows.nth(1)).to_contain_text("healthy")
    await expect(rows.nth(1)).to_contain_text("100%")
    await expect(page).to_have_title(re.compile(r"^Service levels: \d+ spent"))
    await page.get_by_label("Status").select_option("HEALTHY")
    await expect(rows).to_have_count(1)
    await expect(page).to_have_url(re.compile("status=HEALTHY"))


async def test_pages_that_have_nothing_to_show_teach_what_to_do(person: Person) -> None:
    page = await person.tab("/console/settings")
    await page.route("**/api/v1/slos?*", nothing)
    await page.route("**/api/v1/policies*", nothing)
    await page.route("**/api/v1/policies/freezes/**", nothing)
    for path, command in (("slos", "flowc slo create"), ("freezes", "flowc freeze policy create")):
        await page.goto(f"{person.url}/console/{path}")
        await expect(page.get_by_role("main")).to_contain_text(command)


async def test_the_forecast_is_drawn_as_an_interval(person: Person, platform: Platform) -> None:
    service = f"slow-{uuid4().hex[:8]}"
    slo_id = await objective(platform, service)
    for parameters in ({"error": "no"}, *[{}] * 12):
        await flow(platform, service, **parameters)
    budget = await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    soon, later = (f"2{year}-01-01T00:00:00Z" for year in ("100", "101"))

    async def foreseen(route: Route) -> None:
        told = {**budget, "exhaustion_earliest": soon, "exhaustion_latest": later}
        await route.fulfill(content_type="application/json", body=json.dumps(told))

    page = await person.tab("/console/settings")
    await page.route(f"**/api/v1/budgets/{slo_id}", foreseen)
    await page.goto(f"{person.url}/console/slos/{slo_id}")
    drawn = page.get_by_role(
        "img", name=re.compile("^What was left;.*spent at the earliest 23.1%.* at the latest 23.1%")
    )
    await expect(drawn).to_be_visible()
    assert "in" in (await figures(page))["forecast"]


async def test_the_hot_list_is_the_second_tab_of_what_is_stuck(person: Person, platform: Platform) -> None:
    mark = f"hot-{uuid4().hex[:8]}"
    told = decision(task(mark, required_capabilities=["nobody"]), task("after", mark))
    flow_id = await platform.submit(told)
    page = await person.tab("/console/stuck")
    await page.get_by_role("tab", name="Hot list").click()
    await expect(title(page, "What has to begin first")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=mark).first
    await expect(row).to_contain_text("to begin")
    await page.get_by_label("Has to begin within").select_option("900")
    await expect(page).to_have_url(re.compile("tab=hot.*within=900"))
    await expect(row).to_have_count(0)  # it has hours
    await page.get_by_label("Has to begin within").select_option("86400")
    await row.get_by_role("link", name=mark).click()
    await expect(page).to_have_url(re.compile("/console/tickets/"))
    await platform.send(f"/api/v1/flows/{flow_id}/cancel")


async def test_an_objective_of_a_document_is_changed_there_and_a_query_without_a_server_says_what_to_do(
    person: Person, platform: Platform
) -> None:
    person.expect_refusals()
    service, query = f"gate-{uuid4().hex[:8]}", f'sum(rate(good{{a="{ATTACK}"}}[{{{{window}}}}]))'
    spec = {"name": service, "serviceName": service, "target": 0.9999, "sliQuery": {"query": query}}
    kind = {"apiVersion": "neural-hive.io/v1", "kind": "SLODefinition", "metadata": {"name": service}}
    status, _ = await platform.call("PUT", f"/api/v1/resources/SLODefinition/{service}", {**kind, "spec": spec})
    assert status == 201
    page = await person.tab(f"/console/slos?service={service}")
    await page.get_by_role("link", name=service, exact=True).click()
    main = page.get_by_role("main")
    await expect(main).to_contain_text(f"Made from the document SLODefinition/{service}: change that.")
    await expect(main).to_contain_text(query)
    await expect(main).to_contain_text("99.99% in 30 days")
    await expect(page.get_by_role("button", name="Disable")).to_have_count(0)
    await page.get_by_role("button", name="Recalculate").click()
    await dialog(page).get_by_role("button", name="Recalculate").click()
    await expect(dialog(page).get_by_role("alert")).to_contain_text("set FLOWC_PROMETHEUS_URL")
