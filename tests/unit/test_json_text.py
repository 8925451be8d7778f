import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.errors import Rejected
from functions._core.records.json_text import (
    LIGHT_BYTES,
    LIGHT_PARTS,
    MAX_DEPTH,
    MAX_PARTS,
    check_depth,
    content_hash,
    count_parts,
    is_light,
    json_size,
    parse_in_steps,
    parse_json,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda parts: st.lists(parts) | st.dictionaries(TEXT, parts),
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_plain_json_is_read_as_python_reads_it() -> None:
    text = b'{"a": [1, 2.5, "\xc3\xa9", null, true], "b": {}}'
    assert parse_json(text) == json.loads(text)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the text is empty"),
        (b"  \n", "the text is empty"),
        (b'{"a":', "the text is not JSON: the text ends inside a value at line 1 column 5"),
        (b"[1,]", "trailing comma at line 1 column 4"),
        (b"{} x", "trailing characters"),
        (b'{"a": "\xff"}', "the text is not UTF-8: byte 7 cannot be read"),
        (b'"\\ud800"', "the text is not JSON"),
        (b'{"a": NaN}', "NaN, Infinity or a number too large"),
        (b"[-Infinity]", "NaN, Infinity or a number too large"),
        (b"[[1e999]]", "NaN, Infinity or a number too large"),
        (b"1" * 5000, "number out of range"),
    ],
)
def test_every_malformation_gets_a_sentence(text: bytes, sentence: str) -> None:
    with pytest.raises(Rejected, match=sentence.replace("(", r"\(")) as caught:
        parse_json(text)
    assert caught.value.code == "malformed_json"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b'{"a":',
        b"[1,]",
        b"{} x",
        b'{"a": "\xff"}',
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'[["\\ud83d\\ude00"], "\\ud83d"]',
        b'{"a": NaN}',
        b"[-Infinity]",
        b"[[1e999]]",
        b"1" * 5000,
        b'"\x01"',
        b"'a'",
        b"[1 2]",
        b"{1: 2}",
        b"[" * 20_000,
        nested(MAX_DEPTH + 1),
        b'{"a":' * 20_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_in_steps_the_same_is_refused_for_the_same(text: bytes) -> None:
    with pytest.raises(Rejected) as usual:
        parse_json(text)
    with pytest.raises(Rejected) as caught:
        parse_in_steps(text)
    assert caught.value.code == usual.value.code


@given(json_values)
def test_in_steps_the_same_is_read(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    assert parse_in_steps(text) == parse_json(text) == value
    assert parse_in_steps(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value


def test_a_text_that_stands_for_too_much_is_refused_before_it_is_read() -> None:
    assert is_light(b'{"a": [1, 2]}')
    assert not is_light(b"[" + b"1," * LIGHT_PARTS + b"1]")
    assert not is_light(b'"' + b"a" * LIGHT_BYTES + b'"')
    assert count_parts(b"[" + b"1," * (MAX_PARTS - 1) + b"1]") == MAX_PARTS
    for part in (b"[],", b"1,", b"{},"):
        with pytest.raises(Rejected) as refused:
            parse_in_steps(b"[" + part * MAX_PARTS)
        assert (refused.value.code, refused.value.status) == ("too_complex", 413)


def test_nesting_is_taken_up_to_the_limit_and_no_further() -> None:
    assert parse_json(nested(MAX_DEPTH)) is not None
    with pytest.raises(Rejected, match="more than 64 levels deep") as caught:
        parse_json(nested(MAX_DEPTH + 1))
    assert caught.value.code == "too_deep"


@pytest.mark.parametrize("text", [nested(20_000), b"[" * 20_000, b'{"a":' * 20_000])
def test_twenty_thousand_levels_give_an_error_and_no_crash(text: bytes) -> None:
    with pytest.raises(Rejected, match="nested more than 64 levels deep"):
        parse_json(text)


def test_depth_is_checked_without_recursion() -> None:
    value: object = "core"
    for _ in range(100_000):
        value = {"a": [value]}
    with pytest.raises(Rejected):
        check_depth(value)
    while isinstance(value, dict):  # taken apart from outside, so that freeing it needs no deep stack
        value = value["a"][0]


def test_the_hash_depends_on_content_alone() -> None:
    assert content_hash({"b": 1, "a": ["é"]}) == content_hash(json.loads('{"a":  ["\\u00e9"], "b": 1}'))
    assert content_hash({"a": 1}) != content_hash({"a": 2})
    assert content_hash([1, 2]) != content_hash([2, 1])


@pytest.mark.parametrize("size", [0, 1, 199, 200, 201, 1_000])
def test_the_hash_and_the_size_of_a_long_list_are_those_of_its_text(size: int) -> None:
    items = [{"n": number, "é": [None, True, 1.5, {}, [], "a,b"]} for number in range(size)]
    for data in (items, {"b": items, "a": {"": items}, "ü": [items, [], {}]}):
        assert content_hash(data, large=True) == content_hash(data)
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        assert json_size(data) == len(text.encode())


def test_the_hash_is_sha_256_of_canonical_json() -> None:
    # The SHA-256 of the two bytes {}; the form must never change, because it identifies stored decisions.
    assert content_hash({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
