"""Which template is chosen: scores at their boundaries, ties, names; and which places of templates are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.errors import Rejected
from functions._core.executors.forge import SelectTemplateParameters
from functions._core.forge.selection import ranked, score_of, selected
from functions._core.forge.stages import TemplateCard, TemplateSource
from functions._core.forge.templates import SHIPPED, TemplateForm


def card(template_id: str, quality: float, *capabilities: str, kind: str = "service", language: str = "python") -> Any:
    return TemplateCard(
        template_id=template_id,
        artifact_type=kind,
        language=language,
        capabilities=capabilities,
        quality=quality,
        source=TemplateSource(folder=template_id),
    )


def wanted(**asked: Any) -> SelectTemplateParameters:
    return SelectTemplateParameters(artifact_id="acme/shop", templates=(), **asked)


def test_the_parts_of_a_score_have_their_weights() -> None:
    one = card("a", 0.5, "http", "knative")
    assert score_of(one, wanted()) == 0.9, "what is not asked for counts as fitting"
    assert score_of(one, wanted(capabilities=("http", "grpc"))) == 0.75, "half of the capabilities"
    assert score_of(one, wanted(artifact_type="library", language="Python")) == 0.65, "another kind, the same language"
    assert score_of(card("a", 1), wanted(artifact_type="SERVICE", language="PYTHON")) == 1.0, "in any letter case"


@pytest.mark.parametrize(("quality", "fits"), [(0.75, True), (0.7499, False)])
def test_a_template_fits_from_a_score_of_0_4_on(quality: float, fits: bool) -> None:
    asked = wanted(artifact_type="library", language="python", capabilities=("grpc",))
    one = card("a", quality, "http")
    if fits:
        assert selected([one], asked) == (one, 0.4)
        return
    with pytest.raises(Rejected) as refused:
        selected([one], asked)
    assert refused.value.code == "no_template"


@pytest.mark.parametrize("asked", [{"language": "rust"}, {"artifact_type": "game"}])
def test_nobody_gets_another_language_or_kind_than_asked_for(asked: dict[str, str]) -> None:
    with pytest.raises(Rejected, match="none of 4 templates fits") as refused:
        selected(SHIPPED, wanted(**asked))
    assert refused.value.code == "no_template"


def test_ties_are_broken_by_quality_then_by_id() -> None:
    low, high = card("a", 0.5, "http"), card("z", 0.8, "http")
    asked = wanted(capabilities=("http",))
    assert selected([low, high], asked)[0] is high
    alike = [card("c", 0.5), card("b", 0.5), card("d", 0.5)]
    assert [one.template_id for one, _ in ranked(alike, wanted())] == ["b", "c", "d"]
    # Equal scores, unequal quality: half the overlap is worth as much as 0.75 of quality.
    some, good = card("a", 0.25, "x", "y"), card("b", 1, "x")
    asked = wanted(capabilities=("x", "y"))
    assert score_of(some, asked) == score_of(good, asked) == 0.85
    assert selected([some, good], asked)[0] is good


def test_a_template_that_is_named_is_taken_as_it_is() -> None:
    poor = card("poor", 0, language="cobol")
    assert selected([*SHIPPED, poor], wanted(template_id="poor", language="python")) == (poor, 1.0)
    with pytest.raises(Rejected, match="no template 'other'") as refused:
        selected(SHIPPED, wanted(template_id="other"))
    assert refused.value.code == "no_template"


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({"artifact_type": "service", "language": "python"}, "python-service"),
        ({"capabilities": ("sam", "aws")}, "lambda-function"),
        ({"artifact_type": "library"}, "python-library"),
        ({"language": "Terraform"}, "terraform-module"),
    ],
)
def test_the_templates_that_are_shipped_are_found_by_what_they_make(asked: dict[str, Any], chosen: str) -> None:
    assert selected(SHIPPED, wanted(**asked))[0].template_id == chosen


def form(**source: Any) -> TemplateForm:
    return TemplateForm.model_validate(
        {"description": "one", "artifact_type": "service", "language": "python", "source": source}
    )


@pytest.mark.parametrize(
    "source",
    [
        {"folder": "services/python"},
        {"git": "https://code.example/acme/templates.git", "ref": "v1.2.0", "subfolder": "service"},
        {"git": "ssh://git@code.example:2222/acme/templates"},
        {"git": "git@code.example:acme/templates.git", "ref": "3f2a9c1"},
        {"git": "file:///srv/templates/shop"},
    ],
)
def test_places_of_templates_that_are_taken(source: dict[str, str]) -> None:
    assert form(**source).source == TemplateSource(**source)


GIT = "https://code.example/acme/templates.git"


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"folder": "a", "git": GIT},
        {"shipped": "python-service"},
        {"folder": "/etc"},
        {"folder": "../other"},
        {"folder": "a/../../b"},
        {"folder": "-rf"},
        {"folder": "~root"},
        {"git": "http://code.example/a"},
        {"git": "git://code.example/a"},
        {"git": "ext::sh -c touch% /tmp/owned"},
        {"git": "--upload-pack=touch /tmp/owned"},
        {"git": "ssh://-oProxyCommand=touch/a"},
        {"git": "ssh://-oProxyCommand=x@code.example/a"},
        {"git": "-oProxyCommand=x@code.example:a"},
        {"git": "git@code.example:--upload-pack=x"},
        {"git": "git@code.example:../a"},
        {"git": "https://me:secret-word@code.example/a"},
        {"git": "https://secret-word@code.example/a"},
        {"git": "ssh://git:secret-word@code.example/a"},
        {"git": "https://code.example/a?access_token=secret-word"},
        {"git": "https://code.example/a#secret-word"},
        {"git": "https://code.example/a\nb"},
        {"git": "https://code.example"},
        {"git": "https://[::1/a"},
        {"git": "https://code.example/" + "a" * 2_048},
        {"git": GIT, "ref": "-x"},
        {"git": GIT, "ref": "a..b"},
        {"git": GIT, "ref": "a b"},
        {"git": GIT, "ref": "HEAD@{1}"},
        {"git": GIT, "subfolder": "../a"},
        {"git": GIT, "subfolder": "/a"},
        {"git": GIT, "subfolder": ".git/hooks"},
        {"git": GIT, "subfolder": "a\n"},
    ],
)
def test_places_of_templates_that_are_refused(source: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as refused:
        form(**source)
    sentences = " ".join(str(fault["msg"]) for fault in refused.value.errors())
    assert "secret-word" not in sentences, "an address may hold a password"
