"""The notebook of examples/ is what its format says, and its cells run in order with a key that may only read."""

import asyncio
import io
import json
import os
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from functions._worker import SimulatedExecutor
from tests.conftest import ROOT
from tests.support.insights import insight, store_insights
from tests.support.one_machine import one_machine
from tests.support.world import decision, task

NOTEBOOK = json.loads((ROOT / "examples" / "notebooks" / "history.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
KEY = "the-key-of-the-first-administrator-0001"


def test_it_has_the_form_of_a_notebook_and_keeps_no_outputs() -> None:
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in ids)
    for cell in NOTEBOOK["cells"]:
        keys = {"cell_type", "id", "metadata", "source"}
        assert cell.keys() == (keys | {"execution_count", "outputs"} if cell["cell_type"] == "code" else keys)
        assert (cell.get("outputs") or [], cell.get("execution_count")) == ([], None)


def test_it_asks_and_changes_nothing() -> None:
    text = "\n".join(CODE)
    assert not re.search(r"PUT|DELETE|PATCH|method=|subprocess|open\(.*[\"']w", text)
    asked = set(re.findall(r'"(/api/v1/[^"]+)"', text))
    assert asked == {"/api/v1/history/flows", "/api/v1/history/tickets", "/api/v1/analytics/query", "/api/v1/insights"}


async def test_its_cells_run_in_order_with_a_key_that_may_only_read(tmp_path: Path) -> None:
    async with one_machine(tmp_path, api_key=KEY, rate_limits="off") as machine:
        machine.client.headers["x-api-key"] = KEY
        async with machine.worker("w-1", SimulatedExecutor(1000), api_key=KEY):
            for _ in range(3):
                await machine.ended(await machine.submit(decision(task("a"), task("b", "a"))))
        await store_insights(machine.running.ports.key_values, insight("waiting"))
        made = await machine.client.post("/api/v1/keys", json={"name": "notebook", "roles": ["viewer"]})
        environment = {"FLOWC_URL": machine.url, "FLOWC_API_KEY": made.json()["key"]}
        names, out = await asyncio.to_thread(_run, environment)
    assert len(names["flows"]) == 3
    assert {one["tickets"] for one in names["kinds"].values()} == {6}
    assert "3 flows, 0 of them late: {'COMPLETED': 3}" in out
    assert "MEDIUM Finding waiting" in out


def _run(environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    names: dict[str, Any] = {}
    out = io.StringIO()
    with mock.patch.dict(os.environ, environment), redirect_stdout(out):
        for text in CODE:
            exec(compile(text, "cell", "exec"), names)  # noqa: S102 as a notebook does
    return names, out.getvalue()
