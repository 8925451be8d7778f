"""The pages of those who run the platform, by what a person sees: workers, inbox, dead letters, settings."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.console.browser import Person, agree, dialog, title
from tests.console.browser import person as somebody
from tests.support.http_world import DECISION
from tests.support.identity_provider import AUDIENCE, CLIENT, SignInIssuer
from tests.support.loopback import Loopback
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task

pytestmark = [pytest.mark.asyncio(loop_scope="session")]

ATTACK = "<img src=x onerror='window.attacked=1'>"
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "account"],
    "additionalProperties": False,
    "properties": {
        "amount": {"type": "number", "title": f"Amount {ATTACK}", "multipleOf": 5},
        "account": {"enum": ["main", "reserve"]},
        "urgent": {"type": "boolean"},
        "mails": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "extra": {"type": "object"},
    },
}


async def test_an_approval_is_given_with_its_form_and_errors_stand_at_their_fields(
    person: Person, platform: Platform
) -> None:
    person.expect_refusals()
    question = f"May it be paid? {ATTACK}"
    flow_id = await platform.submit(
        decision(
            task("agree", task_type="APPROVE", required_capabilities=[], approval={"message": question, "form": FORM})
        )
    )
    page = await person.tab("/console/inbox")
    card = page.get_by_role("article").filter(has_text=question)
    await expect(card).to_contain_text("decide in 23 h")
    await card.get_by_role("button", name="Approve").click()
    form = dialog(page)
    await form.get_by_label("Amount").fill("7")
    await form.get_by_label("account").select_option(label="reserve")
    await form.get_by_label("urgent").select_option(label="No")
    await form.get_by_label("mails").fill('["ada", "bob", "eve"]')
    await form.get_by_label("extra").fill("{no")
    await form.get_by_role("button", name="Dry run").click()
    await expect(form.get_by_label("extra")).to_have_attribute("aria-invalid", "true")
    await form.get_by_label("extra").fill('{"a": 1}')
    await form.get_by_role("button", name="Dry run").click()
    await expect(form.get_by_label("mails")).to_have_attribute("aria-invalid", "true")
    await expect(form.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    await expect(form.get_by_label("extra")).to_have_attribute("aria-invalid", "false")
    await form.get_by_label("mails").fill('["ada"]')
    await form.get_by_label("Amount").fill("70")
    await form.get_by_role("button", name="Dry run").click()
    await expect(form).to_contain_text("agree waiting → completed")
    await agree(page, "Approve")
    await expect(card).to_have_count(0)
    await platform.ended(flow_id)
    flow = await platform.flow(flow_id)
    assert flow is not None
    assert flow["status"] == "COMPLETED"


async def test_a_flow_is_denied_with_a_reason_which_the_audit_shows(person: Person, platform: Platform) -> None:
    flow_id = await platform.submit(decision(task("a"), final_decision="review_required"))
    page = await person.tab("/console/inbox")
    card = page.get_by_role("article").filter(has=page.locator(f"a[href$='{flow_id}']"))
    await card.get_by_role("button", name="Deny").click()
    await dialog(page).get_by_label("Reason").fill(f"not now {ATTACK}")
    await agree(page, "Deny")
    await expect(card).to_have_count(0)
    await page.goto(f"{person.url}/console/audit?kind=action&flow_id={flow_id}")
    await expect(page.get_by_role("row").filter(has_text="deny flow")).to_contain_text(f"not now {ATTACK}")


async def test_a_worker_is_found_drained_undrained_and_removed(person: Person, platform: Platform) -> None:
    for name in ("spare-1", "spare-2"):
        told = {"worker_id": name, "endpoint": "http://127.0.0.1:9/", "capabilities": ["spare"], "slots": 3}
        await platform.send("/api/v1/workers", told)
    page = await person.tab("/console/workers?domain=BUILD")
    await page.get_by_role("searchbox", name="Name, capability or state").fill("spare")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("0 of 3")
    await expect(rows.first).to_contain_text("50 %")  # nothing is known of it in that domain
    await rows.first.get_by_role("button", name="Drain").click()
    await expect(dialog(page)).to_contain_text("It has no ticket now")
    await agree(page, "Drain")
    await expect(rows.first).to_contain_text("draining")
    await rows.first.get_by_role("link", name="spare-1").click()
    await expect(page).to_have_title("spare-1: draining · Flow C")
    await page.get_by_role("button", name="Undrain").click()
    await agree(page, "Undrain")
    await expect(page).to_have_title("spare-1: healthy · Flow C")
    await page.get_by_role("button", name="Remove").click()
    await expect(dialog(page)).to_contain_text("registers again by itself")
    await agree(page, "Remove")
    await expect(page).to_have_url(f"{person.url}/console/workers")
    await expect(page.get_by_role("link", name="spare-2")).to_be_visible()
    await expect(page.get_by_role("link", name="spare-1")).to_have_count(0)


async def test_dead_letters_are_counted_before_several_are_dropped(person: Person, platform: Platform) -> None:
    first = decision(task("a"))
    await platform.submit(first)
    for number in range(3):
        other = decision(task("a", description=f"{ATTACK} {number}"), decision_id=first["decision_id"])
        status, _ = await platform.call("POST", "/", other, **DECISION, **{"ce-id": f"{first['decision_id']}-{number}"})
        assert status == 422
    page = await person.tab("/console/dead-letters")
    rows = page.locator("tbody tr").filter(has_text=first["decision_id"])
    await expect(rows).to_have_count(3)
    await rows.first.get_by_role("link").first.click()
    await expect(page.get_by_role("group").filter(has_text="Event")).to_contain_text(ATTACK)
    await page.get_by_role("button", name="Close").click()
    await rows.nth(0).get_by_role("checkbox").check()
    await rows.nth(1).get_by_role("checkbox").check()
    await page.get_by_role("button", name="Drop 2").click()
    await agree(page, "Drop 2 dead letters")
    await expect(rows).to_have_count(1)


async def test_a_plan_is_simulated_and_priced_as_it_is_pasted(person: Person, platform: Platform) -> None:
    await platform.ended(await platform.submit(decision(task("a"))))  # a worker is there
    page = await person.tab("/console/simulator")
    await page.get_by_label("Runs").fill("1")
    await page.get_by_role("button", name="Simulate").click()
    await expect(page.get_by_role("heading", name="The SLA")).to_be_visible()
    await page.goto(f"{person.url}/console/costs")
    await page.get_by_label("A plan or a decision, as JSON").fill("{")
    await page.get_by_role("button", name="Calculate").click()
    await expect(page.get_by_role("alert")).to_contain_text("JSON")


async def test_settings_say_how_the_platform_is(person: Person) -> None:
    page = await person.tab("/console/settings")
    await expect(page).to_have_title("Health: ready · Flow C")
    for text in ("Store", "Waiting in the queue", "Sink", "Subscriptions"):
        await expect(page.get_by_role("main")).to_contain_text(text)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def issuer() -> AsyncIterator[SignInIssuer]:
    """Give a provider."""
    async with Loopback() as loopback:
        yield SignInIssuer(loopback)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(issuer: SignInIssuer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give a platform whose people sign in there."""
    settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_client_id": CLIENT}
    folder: Path = tmp_path_factory.mktemp("provider")
    async with running_platform(folder, rate_limits="off", **settings) as running:
        yield running


async def test_a_person_signs_in_comes_back_to_the_page_and_is_asked_again_when_the_token_ends(
    browser: Browser, issuer: SignInIssuer, guarded: Platform
) -> None:
    async with somebody(browser, guarded.url) as person:
        person.expect_refusals()
        page = await person.tab("/console/workers?text=busy")
        button = page.get_by_role("button", name=f"Sign in with {issuer.url.removeprefix('http://')}")
        await button.click()
        await expect(title(page, "Workers")).to_be_visible()
        assert page.url == f"{guarded.url}/console/workers?text=busy"
        # A link that somebody else has made brings no one in.
        await page.goto(f"{guarded.url}/console/?code=stolen&state={'s' * 43}")
        await expect(page.get_by_role("alert")).to_contain_text("belongs to no sign-in of this tab")
        issuer.nonce = "of another attempt"
        await button.click()
        await expect(page.get_by_role("alert")).to_contain_text("another attempt to sign in")
        issuer.nonce = None
        issuer.access = {"exp": datetime.now(UTC).timestamp() - 25}  # five seconds more, as clocks may differ
        await button.click()
        await expect(page.get_by_role("link", name="Workers", exact=True).first).to_be_visible()
        await page.get_by_role("link", name="Workers", exact=True).first.click()
        await expect(page.get_by_role("alert")).to_contain_text("has expired")
        person.trouble = [one for one in person.trouble if issuer.url not in one]  # the browser has been there
