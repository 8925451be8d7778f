"""Every page, light and dark, wide and narrow, as axe-core judges it: WCAG 2.1 A and AA."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.console.browser import person as somebody
from tests.console.pages import settled, something
from tests.support.processes import Platform

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
RUN = "rules => axe.run(document, { runOnly: { type: 'tag', values: rules }, resultTypes: ['violations'] })"


def axe() -> str:
    """Return the script of axe-core."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")


async def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with a page."""
    found: dict[str, Any] = await page.evaluate(RUN, RULES)
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in found["violations"]
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 380)])
async def test_every_page_is_accessible(browser: Browser, platform: Platform, scheme: str, width: int) -> None:
    shown = await something(platform)
    viewport = {"width": width, "height": 900}
    async with somebody(browser, platform.url, color_scheme=scheme, viewport=viewport) as person:
        await person.context.add_init_script(axe())
        page = await person.tab("/console/flows")
        wrong: dict[str, Any] = {}
        for path in shown.pages():
            await settled(person, page, path)
            wrong |= {path: found} if (found := await violations(page)) else {}
            wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 1, f"{path} is wider than the window by {wide} px"
        assert wrong == {}, "\n".join(f"{path}\n  " + "\n  ".join(found) for path, found in wrong.items())
