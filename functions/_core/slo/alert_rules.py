"""Files of alert rules, as Prometheus and its operator read them, made into SLOs. Pure.

An alert says when something is bad: `errors / all > 0.01`. What is left of the comparison is the indicator: the share
of errors of an ERROR_RATE, else the share of what is good, for which a share that is bad when it is high is taken from
1. A quantile of a histogram becomes the share of what is within its limit, which has to be one of its buckets. The
ranges of series become the window of the SLO. What a value is about no parser knows, so an SLO that is made this way is
to be tested: `POST /api/v1/slos/{slo_id}/test`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from functions._core.errors import Rejected
from functions._core.records.yaml_text import parse_documents
from functions._core.slo.definition import WINDOW, Aggregation, SliQuery, SloForm, SloType, type_of_name

TARGET = 0.999
WINDOW_DAYS = 30
"""Target and window of an SLO that is made of a rule, which says neither."""

MAX_BYTES = 1024 * 1024
MAX_PARTS = 50_000
"""Bytes of a file, and values that it may stand for."""

MAX_RULES = 500
"""Alert rules of a file."""

MAX_QUERY = 4000
"""Characters of a query, see `SliQuery`."""

MAX_FAULTS = 20
"""Rules whose faults are told."""

MAX_LABELS = 16
SHOWN = 200

TOKEN = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z))|(?P<comment>\#[^\n]*)"""
    r"""|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<compare>==|!=|<=|>=|<|>)""",
    re.DOTALL,
)
"""The parts of PromQL that decide where a comparison is: texts and comments hide what looks like one."""

RANGE = re.compile(r"\[\s*[0-9][0-9a-z]*\s*\]")
NUMBER = re.compile(r"\s*[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\s*", re.ASCII)
SERVICE = re.compile(r'\b(?:service|service_name|job)\s*=\s*"([^"\\]{1,200})"')
SERVICE_LABELS = ("service", "service_name", "job")
"""The labels that name a service, the first that is there."""


BUCKETS = re.compile(r"(?<![\w:])([a-zA-Z_:][a-zA-Z0-9_:]*)_bucket\s*+(?:\{([^{}]*+)\}\s*+)?\[")
"""The buckets of a histogram with their matchers."""


class Split(NamedTuple):
    """The left side of an expression's last comparison with a number, and whether it is bad to be above that."""

    value: str
    above: bool | None = None
    limit: float = 0


def slos_of_rules(text: str) -> Sequence[SloForm]:
    """Return an SLO for each alert of a file of rules, in their order; its recording rules are passed over.

    The file is one of Prometheus (`groups`), or one or more `PrometheusRule` resources. Raises `Rejected`, status 422:
    `malformed_rules` for what is no such file, `invalid_rules` naming each alert that makes no SLO.
    """
    forms: list[SloForm] = []
    faults: list[str] = []
    names: dict[tuple[str, str], int] = {}
    for group, place, rule in _alerts(text):
        try:
            forms.append(_form(group, rule, names))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            faults.append(f"{place}: {'.'.join(map(str, first['loc']))[:SHOWN]}: {first['msg'][:SHOWN]}")
    if faults:
        more = f"; and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise Rejected("; ".join(faults[:MAX_FAULTS]) + more, code="invalid_rules", status=422)
    if not forms:
        raise _malformed("there is no alert in it")
    return forms


def _alerts(text: str) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each alert rule with the name of its group and its place."""
    count = 0
    for place, group in _groups(text):
        rules = group.get("rules", [])
        if not isinstance(rules, list):
            raise _malformed(f"{place}.rules is no list")
        for number, rule in enumerate(rules):
            if not isinstance(rule, dict):
                raise _malformed(f"{place}.rules[{number}] is no rule")
            if "alert" in rule:
                count += 1
                if count > MAX_RULES:
                    raise _malformed(f"it has more than {MAX_RULES} alerts")
                yield str(group.get("name", "")), f"{place}.rules[{number}]", rule


def _groups(text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        written = text.encode()
    except UnicodeEncodeError:
        raise _malformed("it holds what is no text") from None
    if len(written) > MAX_BYTES:
        raise _malformed(f"it is larger than {MAX_BYTES} bytes")
    try:
        documents = parse_documents(written, at_most=MAX_RULES, parts=MAX_PARTS)
    except Rejected as refusal:
        raise _malformed(str(refusal)) from None
    for document in documents:
        if document is None:
            continue
        held = document.get("spec", document) if isinstance(document, dict) else None
        groups = held.get("groups") if isinstance(held, dict) else None
        if not isinstance(groups, list):
            raise _malformed("it has no list of groups")
        for number, group in enumerate(groups):
            if not isinstance(group, dict):
                raise _malformed(f"groups[{number}] is no group")
            yield f"groups[{number}]", group


def _form(group: str, rule: Mapping[str, Any], names: dict[tuple[str, str], int]) -> SloForm:
    """Return the SLO of an alert, whose name is counted among those of its service; raise `ValidationError`."""
    name, expr = _text(rule.get("alert")), _text(rule.get("expr"))
    labels = {str(key): _text(value) for key, value in _mapping(rule.get("labels")).items()}
    kind, service = type_of_name(name), _service(labels, expr) or group or name
    count = names[service, name] = names.get((service, name), 0) + 1
    return SloForm(
        name=name if count == 1 else f"{name[:190]} ({count})",
        description=_description(rule)[:2000],
        slo_type=kind,
        service_name=service,
        target=TARGET,
        window_days=WINDOW_DAYS,
        sli_query=SliQuery(query=_query(expr, kind), aggregation=Aggregation.AVG),
        labels=dict([*labels.items()][:MAX_LABELS]),
        metadata={"alert": name, "group": group[:SHOWN], "expression": expr},
    )


def _query(expr: str, kind: SloType) -> str:
    if len(expr) > MAX_QUERY:
        return expr  # which is refused
    bad = split(TOKEN.sub(lambda part: "" if part["comment"] else part[0], expr))
    if kind is not SloType.ERROR_RATE and (share := _within(bad)) is not None:
        return share
    value, is_good = windowed(bad.value), kind is not SloType.ERROR_RATE
    return f"1 - ({value})" if bad.above is is_good else value


def _within(bad: Split) -> str | None:
    """Return the share of what is within the limit of a quantile that is bad when it is above; None for others."""
    found = BUCKETS.findall(bad.value)
    if not bad.above or len(found) != 1 or not bad.value.startswith("histogram_quantile"):
        return None
    name, matchers = found[0][0], found[0][1].strip().rstrip(",")
    limit = re.sub("([.+])", r"[\1]", f"{bad.limit:.15g}")
    bucket = f'le=~"{limit}|{limit}[.]0"'  # one is written as 1 or 1.0
    good = f"sum(rate({name}_bucket{{{matchers}{',' if matchers else ''}{bucket}}}[{WINDOW}]))"
    return f"{good} / sum(rate({name}_count{{{matchers}}}[{WINDOW}]))"


def split(expr: str) -> Split:
    """Take the comparison with a number off the end of an expression; without one it is left as it is."""
    depth, last = 0, None
    for part in TOKEN.finditer(expr):
        if part["open"]:
            depth += 1
        elif part["close"]:
            depth -= 1
        elif part["compare"] and depth == 0:
            last = part
    if last is None or not NUMBER.fullmatch(expr[last.end() :]) or last["compare"] in {"==", "!="}:
        return Split(expr.strip())
    return Split(expr[: last.start()].strip(), last["compare"].startswith(">"), float(expr[last.end() :]))


def windowed(query: str) -> str:
    """Return a query whose series have the window of an SLO as their range; subqueries and offsets stay."""
    parts, end = [], 0
    for part in TOKEN.finditer(query):
        if part["text"]:
            parts += [RANGE.sub(f"[{WINDOW}]", query[end : part.start()]), part[0]]
            end = part.end()
    return "".join([*parts, RANGE.sub(f"[{WINDOW}]", query[end:])])


def _service(labels: Mapping[str, str], expr: str) -> str:
    named = next((labels[label] for label in SERVICE_LABELS if labels.get(label)), "")
    found = SERVICE.search(expr)
    return named or (found[1] if found else "")


def _description(rule: Mapping[str, Any]) -> str:
    about = _mapping(rule.get("annotations"))
    return _text(about.get("description") or about.get("summary") or "")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)[:SHOWN]


def _malformed(why: str) -> Rejected:
    return Rejected(f"this is no file of alert rules: {why}", code="malformed_rules", status=422)
