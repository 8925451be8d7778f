"""The part of PromQL that our alert rules and dashboard are written in, over synthetic series.

Follows Prometheus where the two are compared (`test_observability.py` does so):
a lookback of five minutes, extrapolation of `rate` and `increase`, NaN in comparisons. Anything else is refused.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float
Samples = Sequence[tuple[float, float]]

LOOKBACK = 300.0
TOKEN = re.compile(
    r'\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[a-zA-Z_:][\w:]*)|(?P<text>"[^"]*")'
    r"|(?P<range>\[[^\]]+\])|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/(){},=<>]))"
)
UNITS = {"s": 1, "m": 60, "h": 3600}
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
CALCULATE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
LEVELS = (("or",), ("and", "unless"), tuple(COMPARE), ("+", "-"), ("*", "/"))
AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max, "min": min, "count": len}


@dataclass(frozen=True)
class Selector:
    """`name{label="value"}[range]`; a matcher is (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    window: str | None = None


@dataclass(frozen=True)
class Call:
    name: str
    arguments: tuple["Node", ...]
    by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binary:
    sign: str
    left: "Node"
    right: "Node"
    boolean: bool = False


Node = Selector | Call | Binary | float


def parse(text: str) -> Node:
    """Return the expression; raises `ValueError` for what is not in our part of the language."""
    tokens, position = [], 0
    while position < len(text.rstrip()):
        match = TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read {text[position:]!r}")
        tokens.append(str(match[match.lastgroup or 0]))
        position = match.end()
    reader = _Reader(tokens)
    node = reader.binary(0)
    if reader.next is not None:
        raise ValueError(f"unexpected {reader.next!r} in {text!r}")
    return node


def selectors(node: Node) -> Iterator[Selector]:
    """Yield every series that an expression reads."""
    match node:
        case Selector():
            yield node
        case Call():
            for argument in node.arguments:
                yield from selectors(argument)
        case Binary():
            yield from selectors(node.left)
            yield from selectors(node.right)


def grouped(node: Node) -> Iterator[tuple[str, Selector]]:
    """Yield every label that series are grouped by, with the series."""
    match node:
        case Call():
            yield from ((label, selector) for label in node.by for selector in selectors(node))
            for argument in node.arguments:
                yield from grouped(argument)
        case Binary():
            yield from grouped(node.left)
            yield from grouped(node.right)


class _Reader:
    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = list(tokens)

    @property
    def next(self) -> str | None:
        return self._tokens[0] if self._tokens else None

    def take(self, *expected: str) -> str:
        if self.next is None or (expected and self.next not in expected):
            raise ValueError(f"expected {expected}, found {self.next!r}")
        return self._tokens.pop(0)

    def binary(self, level: int) -> Node:
        if level == len(LEVELS):
            return self.single()
        left = self.binary(level + 1)
        while self.next in LEVELS[level]:
            sign = self.take()
            boolean = self.next == "bool"
            if boolean:
                self.take("bool")
            left = Binary(sign, left, self.binary(level + 1), boolean)
        return left

    def single(self) -> Node:
        token = self.take()
        if token[0].isdigit():
            return float(token)
        if token == "(":
            inside = self.binary(0)
            self.take(")")
            return inside
        if self.next == "by" or (self.next == "(" and token not in {"by", "bool"}):
            return self.call(token)
        return self.selector(token)

    def call(self, name: str) -> Call:
        by: list[str] = []
        if self.next == "by":
            self.take("by")
            self.take("(")
            while (label := self.take()) != ")":
                by += [label] if label != "," else []
        self.take("(")
        if self.next == ")":
            self.take(")")
            return Call(name, (), tuple(by))
        arguments = [self.binary(0)]
        while self.take(",", ")") == ",":
            arguments.append(self.binary(0))
        return Call(name, tuple(arguments), tuple(by))

    def selector(self, name: str) -> Selector:
        matchers = []
        if self.next == "{":
            self.take("{")
            while self.next != "}":
                label, sign, value = self.take(), self.take("=", "!=", "=~", "!~"), self.take()
                matchers.append((label, sign, value.strip('"')))
                if self.next == ",":
                    self.take(",")
            self.take("}")
        window = self.take()[1:-1] if self.next and self.next.startswith("[") else None
        return Selector(name, tuple(matchers), window)


@dataclass(frozen=True)
class Series:
    """Synthetic series: (name, labels) to samples, each a time in seconds and a value."""

    samples: Mapping[tuple[str, Labels], Samples]

    def at(self, node: Node, time: float) -> Value:
        """Return the value of an expression at a time."""
        match node:
            case float():
                return node
            case Selector():
                return {
                    labels: samples[-1][1]
                    for labels, samples in self._select(node, time, LOOKBACK)
                    if time - samples[-1][0] < LOOKBACK
                }
            case Binary():
                return _binary(node, self.at(node.left, time), self.at(node.right, time))
            case Call():
                return self._call(node, time)

    def _call(self, node: Call, time: float) -> Value:
        if node.name in {"rate", "increase"}:
            (ranged,) = node.arguments
            assert isinstance(ranged, Selector)
            return dict(self._increases(ranged, time, per_second=node.name == "rate"))
        if node.name == "time":
            return time
        values = self.at(node.arguments[-1], time)
        assert isinstance(values, dict), node
        if node.name in AGGREGATES:
            return _aggregate(values, node.by, AGGREGATES[node.name])
        if node.name == "histogram_quantile":
            assert isinstance(node.arguments[0], float)
            return _quantiles(node.arguments[0], values)
        if node.name == "absent":
            return {} if values else {frozenset(): 1.0}
        raise ValueError(f"{node.name} is not in our part of the language")

    def _select(self, selector: Selector, time: float, window: float) -> Iterator[tuple[Labels, Samples]]:
        for (name, labels), samples in self.samples.items():
            if name == selector.name and all(_matches(dict(labels), matcher) for matcher in selector.matchers):
                seen = [sample for sample in samples if time - window <= sample[0] <= time]
                if seen:
                    yield labels, seen

    def _increases(self, selector: Selector, time: float, *, per_second: bool) -> Iterator[tuple[Labels, float]]:
        assert selector.window is not None
        window = float(selector.window[:-1]) * UNITS[selector.window[-1]]
        for labels, samples in self._select(selector, time, window):
            if len(samples) > 1:
                grown = _extrapolated(samples, time - window, time)
                yield labels, grown / window if per_second else grown


def _extrapolated(samples: Samples, start: float, end: float) -> float:
    """Return how much a counter grew between start and end, guessing at the edges as Prometheus does."""
    grown = samples[-1][1] - samples[0][1]
    grown += sum(before for (_, before), (_, after) in pairwise(samples) if after < before)
    sampled = samples[-1][0] - samples[0][0]
    between = sampled / (len(samples) - 1)
    to_start, to_end = samples[0][0] - start, end - samples[-1][0]
    if grown > 0 and samples[0][1] >= 0:
        to_start = min(to_start, sampled * samples[0][1] / grown)
    covered = sampled
    covered += to_start if to_start < between * 1.1 else between / 2
    covered += to_end if to_end < between * 1.1 else between / 2
    return grown * covered / sampled


def _matches(labels: Mapping[str, str], matcher: tuple[str, str, str]) -> bool:
    label, sign, wanted = matcher
    value = labels.get(label, "")
    same = bool(re.fullmatch(wanted, value)) if "~" in sign else value == wanted
    return same is not sign.startswith("!")


def _binary(node: Binary, left: Value, right: Value) -> Value:
    if node.sign in {"and", "unless", "or"}:
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        if node.sign == "or":
            return right | left
        return {labels: value for labels, value in left.items() if (labels in right) is (node.sign == "and")}
    if isinstance(left, float) and isinstance(right, dict) and node.sign in CALCULATE:
        return {labels: _calculate(node.sign, left, value) for labels, value in right.items()}
    assert isinstance(left, dict), "a number that is compared is on the right in our part of the language"
    pairs = {
        labels: (value, right if isinstance(right, float) else right[labels])
        for labels, value in left.items()
        if isinstance(right, float) or labels in right
    }
    if node.sign in COMPARE:
        compare = COMPARE[node.sign]
        if node.boolean:
            return {labels: float(compare(*pair)) for labels, pair in pairs.items()}
        return {labels: pair[0] for labels, pair in pairs.items() if compare(*pair)}
    return {labels: _calculate(node.sign, *pair) for labels, pair in pairs.items()}


def _calculate(sign: str, left: float, right: float) -> float:
    if sign == "/" and right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return CALCULATE[sign](left, right)


def _aggregate(values: Vector, by: Iterable[str], how: Callable[[list[float]], float]) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in values.items():
        groups.setdefault(frozenset((key, text) for key, text in labels if key in by), []).append(value)
    return {labels: how(members) for labels, members in groups.items()}


def _quantiles(quantile: float, buckets: Vector) -> Vector:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, count in buckets.items():
        bound = float(dict(labels)["le"].replace("+Inf", "inf"))
        groups.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((bound, count))
    return {labels: _quantile(quantile, sorted(group)) for labels, group in groups.items()}


def _quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    total = buckets[-1][1]
    if total == 0 or not math.isinf(buckets[-1][0]) or len(buckets) == 1:
        return math.nan
    rank = quantile * total
    index = next(place for place, (_, count) in enumerate(buckets) if count >= rank)
    if index == len(buckets) - 1:
        return buckets[-2][0]
    lower, before = (0.0, 0.0) if index == 0 else buckets[index - 1]
    upper, count = buckets[index]
    return lower + (upper - lower) * (rank - before) / (count - before)
