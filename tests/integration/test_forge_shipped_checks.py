"""Projects of the templates that Flow C brings, as the forge looks at them: the best quality, and the best score."""

from pathlib import Path

import pytest

from tests.support.forge_desk import ForgeDesk
from tests.support.forge_projects import kept_project, stored_context
from tests.support.shipped_templates import NAMES, ODD, rendered

QUICK = "python-service"
"""It has files of all kinds; the others take as long."""

CHECKED = [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in NAMES]


@pytest.mark.parametrize("name", CHECKED)
async def test_a_project_of_a_shipped_template_is_approved_without_a_person(name: str, tmp_path: Path) -> None:
    desk = ForgeDesk(tmp_path)
    project = rendered(name, tmp_path / "project", ODD)
    content = kept_project(stored_context(tmp_path / "store", ticket_id="composed"), project)
    code = desk.code(content, "hcl" if name.startswith("terraform") else "python")
    looked = await desk.validate(code)
    assert (looked["quality"], looked["capped_by"]) == (1, ""), desk.log
    ran = await desk.test(code)
    assert (ran["failed"], ran["skipped"], ran["score"]) == (0, 0, 1), desk.log
    assert desk.left == []
