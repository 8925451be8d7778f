"""Pictures of the pages for docs/images, made when they are asked for: `make screenshots`."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.conftest import ROOT
from tests.console.browser import person as somebody
from tests.console.pages import settled
from tests.console.pictures import paletted, png
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="they change files; `make screenshots` makes them"),
]

IMAGES = ROOT / "docs" / "images"
LARGEST = 80_000
"""Bytes of a picture."""

NARROW = 380
"""Pixels of a telephone."""

PAGES = {
    "overview": "/console/overview",
    "flows": "/console/flows",
    "flow": "/console/flows/{flow}",
    "graph": "/console/flows/{flow}?tab=graph",
    "timeline": "/console/flows/{flow}?tab=timeline",
    "ticket": "/console/tickets/{ticket}",
    "worker": "/console/workers/builder-1",
    **{name: f"/console/{name}" for name in ("stuck", "inbox", "workers", "incidents", "dead-letters", "audit")},
    **{name: f"/console/{name}" for name in ("simulator", "costs", "settings")},
    "hot": "/console/stuck?tab=hot",
    "slos": "/console/slos",
    "slo": "/console/slos/{slo}",
    "freezes": "/console/freezes",
    "admission": "/console/admission",
    "what-if": "/console/what-if?policy=admission/spent",
}
BELOW = {"graph", "timeline"}
"""Pictures of what stands below the head of a page."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def furnished(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Platform, Mapping[str, str]]]:
    """Give a platform with the flows of a small company, and the ids of what to look at."""
    folder = tmp_path_factory.mktemp("screenshots")
    async with running_platform(folder, rate_limits="off") as platform:
        for name, skill in (("builder-1", "build"), ("builder-2", "build"), ("tester-1", "test")):
            platform.hire(name, "--capability", skill, "--call", "tests.console.working:work", slots=2)
        for number in range(12):
            failing = {"error": "registry: no space left on device"} if number == 4 else {}
            told = decision(
                task("compile", required_capabilities=["build"], parameters={"output": {"artifact": "web-2.4.tar"}}),
                task("unit", "compile", required_capabilities=["test"], max_retries=0, parameters=failing),
                task("lint", "compile", required_capabilities=["test"]),
                task("package", "unit", "lint", required_capabilities=["build"]),
                decision_id=f"release-web-{number + 1:03}",
                priority=("NORMAL", "HIGH", "LOW")[number % 3],
                labels={"team": ("shop", "search")[number % 2]},
            )
            await platform.ended(await platform.submit(told))
        ask = {"task_id": "agree", "task_type": "APPROVE", "description": "ask", "dependencies": ["build"]}
        waiting = decision(
            task("build", required_capabilities=["build"], parameters={"output": {"artifact": "shop-7.1.tar"}}),
            task("scan", "build", required_capabilities=["test"]),
            {**ask, "approval": {"message": "Ship shop 7.1 to all customers?"}},
            task("provision", "build", required_capabilities=["terraform"]),
            task("deploy", "agree", "provision", "scan", required_capabilities=["build"]),
            task("announce", "deploy", required_capabilities=["build"]),
            decision_id="release-shop-7.1",
            priority="CRITICAL",
            labels={"team": "shop"},
        )
        flow_id = await platform.submit(waiting)
        await platform.ticket(flow_id, lambda one: one["status"] == "WAITING", "wait for a person")
        ticket_id = (await platform.tickets(flow_id))["build"]["ticket_id"]
        yield platform, {"flow": flow_id, "ticket": ticket_id, "slo": await objectives(platform)}


async def objectives(platform: Platform) -> str:
    """Let two services have objectives: one of them is kept, the other one is spent and frozen. Return its id."""
    slo_id = ""
    for service in ("search", "shop"):
        history = {"measure": "flow_success", "labels": {"team": service}}
        slo = {"name": "releases succeed", "service_name": service, "target": 90, "sli_query": {"history": history}}
        policy = {"name": f"{service} stands", "scope": "SERVICE", "target": service}
        slo_id = (await platform.send("/api/v1/slos", slo))["slo_id"]
        await platform.send("/api/v1/policies", {**policy, "description": "No release while releases fail"})
        await platform.send(f"/api/v1/budgets/{slo_id}/recalculate")
    refusing = {"action": "HOLD", "description": "Nothing new for the shop while releases fail", "enabled": False}
    looks = {"flows": {"labels": {"team": "shop"}}, "slo_selector": {"slo_ids": [slo_id]}}
    await platform.call("PUT", "/api/v1/admission-policies/spent", {**refusing, **looks})
    return str(slo_id)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, NARROW])
async def test_a_picture_of_every_page(
    browser: Browser, furnished: tuple[Platform, Mapping[str, str]], scheme: str, width: int
) -> None:
    platform, ids = furnished
    viewport = {"width": width, "height": 900 if width > NARROW else 780}
    async with somebody(browser, platform.url, color_scheme=scheme, viewport=viewport) as person:
        page = await person.tab("/console/flows")
        for name, path in PAGES.items():
            await settled(person, page, path.format(**ids))
            await expect(page.get_by_text(re.compile("Reading tickets|Asking…"))).to_have_count(0)
            if name == "what-if":
                await page.get_by_role("button", name="Try it").click()
                await expect(page.get_by_role("region", name="Budgets")).to_be_visible()
            if name in BELOW:
                await page.get_by_role("tablist").evaluate("(tabs) => tabs.scrollIntoView()")
            file: Path = IMAGES / f"console-{name}-{scheme}-{width}.png"
            picture = png(*await paletted(page, await page.screenshot()))
            assert len(picture) < LARGEST, file
            await asyncio.to_thread(file.write_bytes, picture)
