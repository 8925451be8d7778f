"""Finds what looks like a secret in JSON: known shapes of keys, and random text next to a name that says so. Pure.

It is made to be believed: what it finds is nearly always a secret, and what has no known shape and no telling name is
passed over. References (`{"$secret": …}`, `${NAME}`, `vault:…`) are no secrets. All expressions are our own, each takes
time in proportion to the text, and the text is bounded; beyond the bound it says that it could not look.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import log2
from typing import Any

MOST_TEXT = 4 * 1024 * 1024
"""Characters that are looked at; a larger value is told as one that could not be looked through."""

MOST_FOUND = 20
"""Findings that are told of one value."""

RANDOM_LENGTH = 12, 512
"""Characters of a text beside a telling name, from and to, that may be a secret."""

RANDOM_BITS = 3.2
"""Bits of entropy for each character from which on a text counts as random: words of people have fewer."""

PLACE = 200
"""Characters of a place that are told."""

SHAPES = {
    "aws": ("an access key of AWS", r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    "github": (
        "a token of GitHub",
        r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
    ),
    "gitlab": ("a token of GitLab", r"glpat-[A-Za-z0-9_-]{20,255}"),
    "slack": ("a token of Slack", r"xox[abeoprs]-[0-9A-Za-z-]{16,255}"),
    "stripe": ("a key of Stripe", r"(?<![A-Za-z0-9])[rs]k_live_[A-Za-z0-9]{20,255}"),
    "google": ("a key of Google", r"AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    "package": (
        "a token of a package registry",
        r"(?:npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{40,255})",
    ),
    "model": (
        "a key of a model provider",
        r"(?<![A-Za-z0-9])(?:sk-(?:ant|proj)-[A-Za-z0-9_-]{24,255}|hf_[A-Za-z]{34})",
    ),
    "webhook": ("a secret of webhooks", r"whsec_[A-Za-z0-9+/=_-]{24,255}"),
    "private": ("a private key", r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----"),
    "jwt": (
        "a signed token (JWT)",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{16,1000}",
    ),
    "url": ("an address with a password", r"://[^\s/:@'\"<>{}$]{1,100}:(?P<url_password>[^\s/:@'\"<>{}$*]{3,200})@"),
}
"""Kinds of secrets that tell themselves by their shape: what people are told, and the expression."""

KNOWN = re.compile("|".join(f"(?P<{name}>{shape})" for name, (_, shape) in SHAPES.items()))

ASSIGNED = re.compile(
    r"(?i)(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|bearer)"
    r"(?:\s{0,3}[=:]\s{0,3}|\s)[\"']?([^\s\"'&,;]{12,512})"
)
"""A name and its value within one text, such as an argument of a command or a header."""

TELLING = re.compile(
    r"(?i)(?:^|[_.\-])(?:password|passwd|pwd|passphrase|secret|token|api_?key|apikey|access_?key|secret_?key|"
    r"private_?key|client_?secret|credentials?|authorization)$"
)
"""Names of members whose values are secrets."""

CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

REFERENCE = re.compile(r"(?i)[$%<{*]|^(?:env|file|vault|aws|secret|ref|arn|https?|urn):|^/|^\.{1,2}/")
"""Texts that stand for a value that is elsewhere."""

UUID = re.compile(r"(?i)^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """What looks like a secret: where it is, as a path of members, and of what kind; its value is for masks alone."""

    place: str
    kind: str
    value: str = field(repr=False)


def found_secrets(value: Mapping[str, Any]) -> tuple[FoundSecret, ...]:
    """Return what looks like a secret in a JSON object, the first 20, in the order of places."""
    found: list[FoundSecret] = []
    read = 0
    for place, name, text in _texts(value):
        read += len(text)
        if read > MOST_TEXT:
            found.append(FoundSecret(place, "more text than is looked through", ""))
            break
        found += _in_text(place, name, text)
        if len(found) >= MOST_FOUND:
            break
    return tuple(found[:MOST_FOUND])


def values_of(value: Mapping[str, Any]) -> frozenset[str]:
    """Return the texts that look like secrets in a JSON object."""
    return frozenset(one.value for one in found_secrets(value) if one.value)


def without_secrets(text: str) -> str:
    """Return a text in which every known shape of a secret is masked."""
    return ASSIGNED.sub(_masked, KNOWN.sub("***", text))


def _masked(match: re.Match[str]) -> str:
    value = match.group(1)
    return match.group(0).replace(value, "***") if looks_random(value) else match.group(0)


def _texts(value: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield every text with its place and the name of the member that it is in; names of members are texts, too."""
    open_: list[tuple[str, str, Any]] = [("", "", value)]
    while open_:
        place, name, part = open_.pop()
        if isinstance(part, str):
            yield place[:PLACE], name, part
        elif isinstance(part, Mapping):
            if "$secret" in part:
                continue
            inside = [(f"{place}.{key}".lstrip("."), str(key), one) for key, one in part.items()]
            open_ += reversed(inside)
            yield from ((place[:PLACE], "", str(key)) for key in part if len(str(key)) >= RANDOM_LENGTH[0])
        elif isinstance(part, list | tuple):
            open_ += reversed([(f"{place}[{number}]", name, one) for number, one in enumerate(part)])


def _in_text(place: str, name: str, text: str) -> Iterator[FoundSecret]:
    for match in KNOWN.finditer(text):
        kind = match.lastgroup if match.lastgroup in SHAPES else "url"
        value = match.group("url_password") or match.group(0)
        yield FoundSecret(place, SHAPES[kind or "url"][0], value)
        return
    if TELLING.search(CAMEL.sub("_", name)):
        bare = text.strip().split(" ")[-1]  # a scheme such as Bearer may come before it
        if looks_random(bare):
            yield FoundSecret(place, "what looks like a secret", bare)
        return
    for match in ASSIGNED.finditer(text):
        if looks_random(match.group(1)):
            yield FoundSecret(place, "what looks like a secret", match.group(1))
            return


def looks_random(text: str) -> bool:
    """Whether a text beside a telling name is a secret, and no word, placeholder or reference."""
    least, most = RANDOM_LENGTH
    if not least <= len(text) <= most or REFERENCE.search(text) or UUID.match(text):
        return False
    letters, digits = any(map(str.isalpha, text)), any(map(str.isdigit, text))
    return letters and digits and bits_of(text) >= RANDOM_BITS


def bits_of(text: str) -> float:
    """Return the entropy of a text in bits for each of its characters."""
    total = len(text)
    return -sum(number / total * log2(number / total) for number in Counter(text).values())
