"""Predictions, insights and "What changed?", by what a person sees; of models and insights a stand-in tells."""

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Page, Route, expect

from functions._core.insights.insight import InsightPriority
from tests.console.browser import Person, title
from tests.console.browser import person as somebody
from tests.console.pages import ATTACK, settled, something
from tests.console.test_accessibility import axe, violations
from tests.console.test_attacks import is_harmless
from tests.support.learnt_views import insight, insights, load, model, models, nothing, predictions, too_little
from tests.support.processes import Platform

pytestmark = [pytest.mark.asyncio(loop_scope="session")]


async def tell(page: Page, **answers: object) -> list[Mapping[str, list[str]]]:
    """Answer routes by what is given, `predictions__load` for `predictions/load`; return what was asked of them."""
    asked: list[Mapping[str, list[str]]] = []

    async def answer(route: Route) -> None:
        address = urlsplit(route.request.url)
        name = address.path.removeprefix("/api/v1/").replace("/", "__")
        asked.append({"route": [name], **parse_qs(address.query)})
        await route.fulfill(content_type="application/json", body=json.dumps(answers[name]))

    await page.route(re.compile(rf"/api/v1/({'|'.join(name.replace('__', '/') for name in answers)})(\?.*)?$"), answer)
    return asked


async def test_predictions_stand_beside_what_happened_with_models_and_the_load_to_come(person: Person) -> None:
    page = await person.tab("/console/settings")
    known = models(model(7, "SERVING", "promoted"), model(8, "REFUSED", f"R² is 0.4 {ATTACK}"))
    asked = await tell(page, predictions=predictions(), models=known, predictions__load=load())
    await settled(person, page, "/console/predictions")
    await expect(title(page, "Predictions")).to_be_visible()
    tickets = page.get_by_role("region", name="Tickets: predicted and actual")
    await expect(tickets.locator("tbody tr")).to_have_count(3)
    await expect(tickets).to_contain_text("20 s over p90")
    await expect(tickets.get_by_role("img", name="p50 50 s, p90 1 m 10 s, took 1 m 30 s")).to_be_visible()
    await expect(page.locator(".figures").first).to_contain_text("67 %")
    await expect(page.get_by_role("region", name="Models")).to_contain_text("MAE 4.2 s, R² 0.91")
    await expect(page.get_by_role("img", name=re.compile("Flows that are to come"))).to_be_visible()
    await is_harmless(page)
    await page.get_by_label("Type").select_option("TRANSFORM")
    await expect(page).to_have_url(re.compile("type=TRANSFORM"))
    assert any(one.get("task_type") == ["TRANSFORM"] for one in asked)


async def test_insights_are_listed_by_filters_and_one_has_its_evidence_and_links(person: Person) -> None:
    page = await person.tab("/console/settings")
    one = insight()
    asked = await tell(page, insights=insights(one, insight(2, priority=InsightPriority.LOW)))
    await settled(person, page, "/console/insights?type=operational&priority=HIGH")
    assert {name: asked[-1][name] for name in ("insight_type", "priority")} == {
        "insight_type": ["OPERATIONAL"],
        "priority": ["HIGH"],
    }
    rows = page.get_by_role("region", name="Insights, the newest first")
    await expect(rows.locator("tbody tr")).to_have_count(2)
    await is_harmless(page)
    await tell(page, **{f"insights__{one.insight_id}": json.loads(one.model_dump_json())})
    await rows.get_by_role("link").first.click()
    await expect(page.locator("main h1")).to_contain_text("Flows fail at <img")
    about = page.locator(".panel", has=page.get_by_role("heading", name="About"))
    link = about.get_by_role("link")
    await expect(link).to_have_count(1)  # of a capability there is no page
    assert (await link.get_attribute("href") or "").startswith("/console/workers/%3Cimg")
    await expect(page.get_by_role("main")).to_contain_text("may help 50 %")
    await is_harmless(page)


async def test_where_nothing_is_learnt_the_pages_name_the_settings(person: Person) -> None:
    page = await person.tab("/console/settings")
    await tell(page, predictions=nothing(), models=models(), predictions__load=too_little(), insights=insights())
    await settled(person, page, "/console/predictions")
    await expect(page.get_by_role("main")).to_contain_text("FLOWC_LEARNING=advise trains models")
    await expect(page.get_by_role("main")).to_contain_text("A forecast takes 2 days")
    await settled(person, page, "/console/insights")
    await expect(page.get_by_role("main")).to_contain_text("FLOWC_INSIGHTS=true")


async def test_a_flow_that_failed_says_what_changed_and_its_error_stays_text(
    person: Person, platform: Platform
) -> None:
    shown = await something(platform, ATTACK)
    page = await person.tab("/console/flows")
    await settled(person, page, f"/console/flows/{shown.flow_id}")
    await page.get_by_role("tab", name="What changed?").click()
    await expect(page.get_by_role("heading", name="1. failure")).to_be_visible()
    await expect(page.get_by_role("main")).to_contain_text("Task second failed at worker worker-1: <img src=x")
    await is_harmless(page)


async def test_the_page_of_a_flow_has_what_was_predicted_beside_what_it_took(
    person: Person, platform: Platform
) -> None:
    shown = await something(platform)
    told = {"p50_ms": 10, "p90_ms": 86_400_000, "model": ATTACK}

    async def with_predictions(route: Route) -> None:
        answer = await route.fetch()
        document = await answer.json()
        for one in document.get("items", ()):
            one |= {"prediction": {**told, "p90_ms": 1_000}, "actual_duration_ms": 4_000}
        if "flow_id" in document:
            document["prediction"] = {**told, "probability": 0.83}
        await route.fulfill(response=answer, json=document)

    page = await person.tab("/console/settings")
    await page.route(re.compile(rf"/api/v1/flows/{shown.flow_id}(/tickets)?(\?.*)?$"), with_predictions)
    await settled(person, page, f"/console/flows/{shown.flow_id}?tab=changed")
    head = page.locator(".head")
    await expect(head).to_contain_text("10 ms to 1 d, 83 % to be in time")
    await expect(head).to_contain_text("inside p90")
    rows = page.get_by_role("region", name="Predictions beside what happened").locator("tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.first).to_contain_text("3.0 s over p90")
    await is_harmless(page)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 380)])
async def test_the_pages_are_accessible_with_much_on_them(
    browser: Browser, platform: Platform, scheme: str, width: int
) -> None:
    async with somebody(browser, platform.url, color_scheme=scheme, viewport={"width": width, "height": 900}) as person:
        await person.context.add_init_script(axe())
        page = await person.tab("/console/settings")
        one = insight()
        known = models(model(7, "SERVING", "promoted"), model(8, "SHADOW", "is judged"))
        await tell(page, predictions=predictions(), models=known, predictions__load=load(), insights=insights(one))
        await tell(page, **{f"insights__{one.insight_id}": json.loads(one.model_dump_json())})
        for path in ("/console/predictions", "/console/insights", f"/console/insights/{one.insight_id}"):
            await settled(person, page, path)
            assert await violations(page) == [], path
            await is_harmless(page)
