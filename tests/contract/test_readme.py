"""The README names every setting and every command there is, and what it names is there."""

import re
from datetime import UTC, datetime

from typer.main import get_command

from functions._cli.app import app
from functions._core.decision.reading import check_plan, read_decision
from functions._engine.settings import PREFIX, Settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_every_plan_that_the_readme_names_is_there_and_can_be_read() -> None:
    named = re.findall(r"tests/troubles/\w+\.json", README)
    assert sorted(named) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "troubles").glob("*.json"))
    for name in named:
        errors, _ = check_plan(read_decision((ROOT / name).read_bytes()), datetime.now(UTC))
        assert errors == (), name


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(FLOWC_[A-Z_]+)` \| ([^|]*) \|", README, re.MULTILINE))
    assert set(rows) >= {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            default = default.lower() if isinstance(field.default, bool) else default
            assert f"`{default}`" in rows[PREFIX + name.upper()], name


def test_every_command_is_in_the_readme() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]  # typer types it as a single command
    missing = [name for name in commands if f"flowc {name}" not in README and f"`{name} " not in README]
    assert missing in ([], ["version"])
