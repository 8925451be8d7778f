"""Outputs of the stages of the code forge, as their models have them, for tests of what comes after a stage."""

from typing import Any

from functions._core.events.pipelines import ForgeValidation
from functions._core.forge.stages import ComposedCode, TestedCode, ValidatedCode

NO_FILE = {"name": "project.tar.gz", "size": 1, "sha256": "0" * 64, "uri": "file:///nowhere/project.tar.gz"}


def composed(**changes: Any) -> ComposedCode:
    """Return the output of compose_code."""
    about = {"content": NO_FILE, "artifacts": (), "template_id": "python-library", "language": "python", "files": 1}
    return ComposedCode.model_validate({**about, "confidence_score": 1.0, **changes})


def validated(quality: float = 1.0, **changes: Any) -> ValidatedCode:
    """Return the output of validate_code; `issues` are those of its one tool."""
    issues = changes.pop("issues", {})
    result = ForgeValidation(
        validation_type="SAST", tool_name="bandit", status="FAILED" if issues else "PASSED", issues=issues
    )
    return ValidatedCode.model_validate({"validation_results": (result,), "quality": quality, **changes})


def counted(score: float = 1.0, **changes: Any) -> TestedCode:
    """Return the output of run_tests."""
    return TestedCode.model_validate({"passed": 10, "coverage": 0.9, "score": score, **changes})
