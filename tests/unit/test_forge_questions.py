"""What templates ask for, as JSON Schema; answers checked against it; and what of a project is of which kind."""

from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.forge.composition import artifacts_of, confidence, kind_of, tree_hash
from functions._core.forge.questions import checked_answers, for_copier, questions_schema, share_answered, with_version
from functions._core.records.yaml_text import parse_documents

COPIER = """\
_subdirectory: template
_secret_questions: [nothing]
project_name: {type: str, help: The name, validator: "{% if not project_name %}empty{% endif %}"}
module: {type: str, default: "{{ project_name | lower }}"}
port: 8080
share: {type: float, default: 0.5}
docs: true
python: {type: str, choices: [3.11, 3.12], default: "3.12"}
size: {type: int, choices: {small: 1, large: 10}}
extras: {type: str, multiselect: true, choices: [[First, a], [Second, {value: b, validator: ""}]], default: []}
more: {type: yaml, when: "{{ docs }}"}
computed: {type: str, default: "{{ port }}", when: false}
---
late: {type: str, default: x}
"""


def schema(text: str) -> dict[str, Any]:
    return dict(questions_schema(parse_documents(text.encode(), at_most=10)))


def test_questions_are_json_schema() -> None:
    asked = schema(COPIER)
    assert asked["required"] == ["project_name", "size"]
    assert asked["additionalProperties"] is False
    assert asked["properties"] == {
        "project_name": {
            "type": "string",
            "description": "The name\nChecked by: {% if not project_name %}empty{% endif %}",
        },
        "module": {"type": "string", "description": "Default: {{ project_name | lower }}"},
        "port": {"type": "integer", "default": 8080},
        "share": {"type": "number", "default": 0.5},
        "docs": {"type": "boolean", "default": True},
        "python": {"type": "string", "enum": ["3.11", "3.12"], "default": "3.12"},
        "size": {"type": "integer", "enum": [1, 10]},
        "extras": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "default": []},
        "more": {"description": "Asked when: {{ docs }}"},
        "late": {"type": "string", "default": "x"},
    }


def test_the_schema_is_one_of_json_schema() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(schema(COPIER))
    assert not [*Draft202012Validator(schema(COPIER)).iter_errors({"project_name": "shop", "size": 1, "more": [1]})]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("_tasks: [rm -rf /]", "_tasks, which runs programs"),
        ("_jinja_extensions: [os.X]", "_jinja_extensions, which loads code"),
        ("_external_data: {a: ../../etc/passwd}", "_external_data, which reads other files"),
        ("key: {type: str, secret: true, default: ''}", "asks for a secret (key)"),
        ("_secret_questions: [key]\nkey: x", "asks for a secret (key)"),
        ("key: {type: object}", "type that copier does not know"),
        ("key: {type: str, choices: 7}", "choices that are no list"),
        ("key: {type: str, choices: [[a, [1]]]}", "choice that is no word"),
        ("'a b': x", "whose name is no word"),
        ("- a", "no mapping"),
        ("\n".join(f"q{n}: x" for n in range(101)), "more than 100 questions"),
        ("\n".join(f"q{n}: {{type: str, help: {'x' * 900}}}" for n in range(90)), "more than 65536 bytes"),
    ],
)
def test_a_template_that_could_do_more_than_render_is_refused(text: str, why: str) -> None:
    with pytest.raises(Rejected) as refused:
        schema(text)
    assert refused.value.code == "bad_template"
    assert why in str(refused.value)


GOOD = {"project_name": "shop", "size": 1}


@pytest.mark.parametrize(
    ("inputs", "fault"),
    [
        ({"size": 1}, "project_name is missing"),
        ({**GOOD, "colour": "secret-value"}, "colour is nothing that the template asks for, which is project_name"),
        ({**GOOD, "computed": "x"}, "computed is nothing that the template asks for"),
        ({**GOOD, "port": "8080"}, "port has to be of the type integer"),
        ({**GOOD, "port": True}, "port has to be of the type integer"),
        ({**GOOD, "docs": 1}, "docs has to be of the type boolean"),
        ({**GOOD, "project_name": None}, "project_name has to be of the type string"),
        ({**GOOD, "size": 2}, "size has to be one of 1, 10"),
        ({**GOOD, "extras": "a"}, "extras has to be a list"),
        ({**GOOD, "extras": ["a", "c"]}, "extras has to be one of a, b"),
    ],
)
def test_answers_that_do_not_fit_are_named_without_their_values(inputs: dict[str, Any], fault: str) -> None:
    with pytest.raises(Rejected) as refused:
        checked_answers(schema(COPIER), inputs)
    assert refused.value.code == "bad_inputs"
    assert fault in str(refused.value)
    assert "secret-value" not in str(refused.value)


def test_answers_that_fit_are_taken() -> None:
    inputs = {**GOOD, "share": 1, "extras": ["b"], "more": {"a": [1, None]}, "python": "3.11"}
    checked_answers(schema(COPIER), inputs)
    assert for_copier(schema(COPIER), inputs, repr)["more"] == "{'a': [1, None]}"
    assert for_copier(schema(COPIER), inputs, repr)["share"] == 1


def test_an_answer_by_default_counts_half() -> None:
    asked = schema("a: {type: str}\nb: 1\nc: 2\nd: 3")
    assert share_answered(asked, {"a": "x"}) == (1 + 3 * 0.5) / 4
    assert share_answered(asked, {"a": "x", "b": 1, "c": 2, "d": 3}) == 1
    assert share_answered(schema("_exclude: [x]"), {}) == 1
    assert confidence(0.8, asked, {"a": "x"}) == 0.5


@pytest.mark.parametrize(
    ("asks", "inputs", "answered"),
    [
        ("version: 0.1.0", {}, {"version": "1.2.0"}),
        ("version: {type: str}", {"a": 1}, {"a": 1, "version": "1.2.0"}),
        ("version: 0.1.0", {"version": "2"}, {"version": "2"}),
        ("version: 1", {}, {}),
        ("version: {type: str, choices: [v1, v2], default: v1}", {}, {}),
        ("version: {type: str, multiselect: true, choices: [a]}", {}, {}),
        ("version: {type: yaml, default: 1}", {}, {}),
        ("version: {type: str, when: false, default: x}", {}, {}),
        ("release: 0.1.0", {}, {}),
    ],
)
def test_a_question_for_the_version_is_answered_by_the_pipeline(
    asks: str, inputs: dict[str, Any], answered: dict[str, Any]
) -> None:
    assert with_version(schema(asks), inputs, "1.2.0") == answered
    assert with_version(schema(asks), inputs, None) == inputs


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/shop/main.py", "CODE"),
        ("pyproject.toml", "CODE"),
        ("requirements.txt", "CODE"),
        (".copier-answers.yml", "CODE"),
        ("tests/README.md", "TEST"),
        ("src/shop/test_main.py", "TEST"),
        ("main_test.go", "TEST"),
        ("web/app.spec.ts", "TEST"),
        ("tests/main.tftest.hcl", "TEST"),
        ("README.md", "DOCUMENTATION"),
        ("LICENSE", "DOCUMENTATION"),
        ("docs/conf.py", "DOCUMENTATION"),
        ("Dockerfile", "IAC"),
        ("deploy/service.yaml", "IAC"),
        ("template.yaml", "IAC"),
        ("modules/net/main.tf", "IAC"),
        (".github/workflows/ci.yml", "IAC"),
        ("compose.yaml", "IAC"),
        ("src/template.py", "CODE"),
    ],
)
def test_a_file_is_of_one_kind(path: str, kind: str) -> None:
    assert kind_of(path) == kind


def test_artifacts_have_the_hash_of_their_files() -> None:
    hashes = {"b.py": "2" * 64, "a.py": "1" * 64, "README.md": "3" * 64}
    code, document = artifacts_of("acme/shop", hashes, "file:///x")
    assert (code.artifact_id, code.files) == ("acme/shop:code", 2)
    assert code.content_hash == tree_hash({"a.py": "1" * 64, "b.py": "2" * 64})
    assert code.content_hash != tree_hash({"a.py": "1" * 64, "c.py": "2" * 64})
    assert (document.artifact_type, document.content_uri) == ("DOCUMENTATION", "file:///x")
