"""All pages of the console, and a platform with something on each of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from playwright.async_api import Page, expect

from functions.api.console_files import FOLDER
from tests.console.browser import Person
from tests.support.processes import Platform
from tests.support.world import decision, task

ROUTE = re.compile(r"^  \['([^']+)', '[^']+', '\w*'(?:, '(\w+)')?\],$", re.MULTILINE)
TABS = {"flow": ("graph", "timeline", "history", "data", "compare", "changed"), "stuck": ("", "hot")}
"""Tabs of a page, by its module."""

ATTACK = "<img src=x onerror='window.attacked=1'>"
"""A name that would like to be markup."""

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that names of SLOs and policies, and reasons, cannot have."""


def modules() -> Mapping[str, str]:
    """Return the addresses of the pages, as the router has them, with their modules."""
    text = (FOLDER / "app.js").read_text(encoding="utf-8")
    return {address: module or address for address, module in ROUTE.findall(text)}


@dataclass(frozen=True)
class Shown:
    """Ids of what the pages with an id show."""

    flow_id: str
    ticket_id: str
    worker_id: str
    slo_id: str

    def pages(self) -> Sequence[str]:
        """Return the addresses of all pages, those with tabs with each of them."""
        ids = {f":{name}": getattr(self, name) for name in ("flow_id", "ticket_id", "worker_id", "slo_id")}
        found = []
        for address, module in modules().items():
            if module == "insight":  # nobody can make one but `analyze`: `test_learning` shows some
                continue
            path = "/console/" + re.sub(r":\w+", lambda name: ids[name[0]], address)
            found += [f"{path}?tab={tab}" for tab in TABS[module]] if module in TABS else [path]
        return found


def form(text: str) -> Mapping[str, Any]:
    """Return the form of an approval that says `text` wherever it can."""
    choice = {"title": text, "description": text, "enum": [text, "no"]}
    return {"type": "object", "properties": {"why": {"type": "string", "title": text, "default": text}, "how": choice}}


async def something(platform: Platform, text: str = "release", **more: Any) -> Shown:
    """Let flows complete, fail and wait, with `text` where people may write text; return what to look at."""
    told = decision(
        task("first", description=text, parameters={"output": {"said": text}, "log": text}),
        task("second", "first", description=text, max_retries=0, parameters={"error": text}),
        task("third", "first", description=text),
        **more,
    )
    flow_id = await platform.submit(told)
    assert (await platform.ended(flow_id))["status"] == "FAILED"
    question = {"task_id": "ask", "task_type": "APPROVE", "description": text, "dependencies": []}
    asked = {**question, "approval": {"message": text, "form": form(text)}}
    again = {name: value for name, value in more.items() if name not in {"decision_id", "plan_id"}}
    await platform.submit(decision(asked, task("stuck", required_capabilities=["none"]), **again))
    ticket = (await platform.tickets(flow_id))["second"]
    return Shown(flow_id, ticket["ticket_id"], ticket["worker_id"] or "worker-1", await spent(platform, text))


async def spent(platform: Platform, text: str) -> str:
    """Let an SLO be spent, with a freeze that lasts and one that a person has ended; return its id. A flow has failed.

    The freezes forbid nothing, and an admission policy that is about it decides nothing.
    """
    service = f"{uuid4().hex[:8]} {CONTROL.sub('', text)[:180]}"
    words = {"labels": {"team": service}, "description": text[:2000], "name": service}
    query = {"metric_name": service, "history": {"measure": "flow_success"}}
    slo = {
        **words,
        "service_name": service,
        "target": 0.9999,
        "sli_query": query,
        "component": service,
        "layer": service,
    }
    slo_id = (await platform.send("/api/v1/slos", slo))["slo_id"]
    for number in range(2):
        name = f"{number} {service}"
        policy = {**words, "name": name, "scope": "SERVICE", "target": service, "actions": ["ALERT_ONLY"]}
        await platform.send("/api/v1/policies", {**policy, "slo_selector": {"slo_ids": [slo_id]}})
    await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    fits = {"service": service[:200], "labels": {"team": service[:200]}}
    admits = {"description": text[:2000], "action": "HOLD", "flows": fits, "slo_selector": {"labels": words["labels"]}}
    status, _ = await platform.call("PUT", f"/api/v1/admission-policies/{service[:8]}", {**admits, "enabled": False})
    assert status == 201
    lasting = (await platform.get("/api/v1/policies/freezes/active", service_name=service))["items"]
    ended = next(one for one in lasting if one["policy_name"].startswith("1 "))
    told = {"reason": service, "requested_by": service}
    await platform.send(f"/api/v1/policies/freezes/{ended['event_id']}/resolve", told)
    return str(slo_id)


async def objective(platform: Platform, service: str, **query: Any) -> str:
    """Make an SLO of the flows with the label of a service; return its id."""
    history = {"measure": "flow_success", "labels": {"team": service}, **query}
    form = {"name": f"flows succeed {ATTACK}", "service_name": service, "target": 90, "sli_query": {"history": history}}
    return str((await platform.send("/api/v1/slos", form))["slo_id"])


async def flow(platform: Platform, service: str, **parameters: Any) -> None:
    """Let a flow of a service end."""
    told = decision(task("a", max_retries=0, parameters=parameters), labels={"team": service})
    await platform.ended(await platform.submit(told))


async def settled(person: Person, page: Page, path: str) -> None:
    """Open a page in a tab, and wait until it shows what it has."""
    await page.goto(f"{person.url}{path}")
    await expect(page.locator("main h1").first).to_be_visible()
    await expect(page.locator("main .loading")).to_have_count(0)
