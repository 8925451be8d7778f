"""Findings of scans: short, without secrets, sorted, counted and scored. Pure."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from functions._core.executors.scan import ScanFinding, ScanSeverity
from functions._core.guards.detector import without_secrets
from functions._core.masking import MASK

SAID = 400
"""Characters of a message."""

RULE = 160
"""Characters of the name of a rule or a tool."""

PATH = 300
"""Characters of a path, its end."""

MOST_FINDINGS = 200
"""Findings in an output."""

MOST_BYTES = 100 * 1024
"""Bytes of JSON of the findings in an output, which has 256 KiB for all."""

WEIGHTS = {
    ScanSeverity.CRITICAL: 0.40,
    ScanSeverity.HIGH: 0.15,
    ScanSeverity.MEDIUM: 0.05,
    ScanSeverity.LOW: 0.01,
    ScanSeverity.INFO: 0.0,
}
"""What one finding takes from a score of 1."""

CAPPED = 0.49
"""The best score of a scan with a critical finding, or with a policy that denies."""

ABOUT_SECRETS = re.compile(r"(?i)secret|passw|credential|token|api.?key|private.?key|\bB10[5-8]\b")
"""Rules whose messages repeat the secret that they are about."""

QUOTED = re.compile(r"'[^'\n]{1,400}'|\"[^\"\n]{1,400}\"|`[^`\n]{1,400}`")

LONG_WORD = re.compile(r"[^\s,;]{8,}")
LETTER, DIGIT = re.compile(r"[A-Za-z]"), re.compile(r"[0-9]")
"""What a word has that is made as secrets are: both of them."""

ENCODED_LINE = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def finding(
    tool: str, rule: object, severity: ScanSeverity, message: object, file: object = "", line: object = None
) -> ScanFinding:
    """Return a finding whose parts come from a tool: of any type, length and content."""
    known = _words(rule, RULE)
    said = without_secrets(_words(message, 4 * SAID))
    if ABOUT_SECRETS.search(known) or ABOUT_SECRETS.search(said):
        said = LONG_WORD.sub(_unless_mixed, QUOTED.sub(MASK, said))
    number = line if isinstance(line, int) and not isinstance(line, bool) and 0 < line < 2**31 else None
    return ScanFinding(
        tool=_words(tool, RULE),
        rule=without_secrets(known),
        severity=severity,
        file=without_secrets(path_of(file)),
        line=number,
        message=said if len(said) <= SAID else f"{said[: SAID - 1]}…",
    )


def path_of(file: object) -> str:
    """Return a path below the target, however a tool writes it."""
    text = _words(file, 4_096).replace("\\", "/").removeprefix("file://")
    while text.startswith(("./", "/")):
        text = text.removeprefix("./").removeprefix("/")
    return text[-PATH:]


def severity_of(word: object, default: ScanSeverity) -> ScanSeverity:
    """Return a severity by the word of a tool: those of scanners, quality gates, compilers."""
    return WORDS.get(str(word).strip().upper(), default) if word is not None else default


def severity_of_score(score: float) -> ScanSeverity:
    """Return the severity of a CVSS score, 0 to 10."""
    bounds = ((9.0, ScanSeverity.CRITICAL), (7.0, ScanSeverity.HIGH), (4.0, ScanSeverity.MEDIUM))
    found = next((severity for least, severity in bounds if score >= least), None)
    return found or (ScanSeverity.LOW if score > 0 else ScanSeverity.INFO)


def worst_first(findings: Iterable[ScanFinding]) -> Sequence[ScanFinding]:
    """Return findings in their order: severity, then place."""
    return sorted(findings, key=lambda one: (one.severity.rank, one.file, one.line or 0, one.tool, one.rule))


def bounded(findings: Sequence[ScanFinding]) -> tuple[ScanFinding, ...]:
    """Return as many of the first findings as an output may have."""
    kept, left = [], MOST_BYTES
    for one in findings[:MOST_FINDINGS]:
        left -= len(json.dumps(one.model_dump(mode="json")))
        if left < 0:
            break
        kept.append(one)
    return tuple(kept)


def counts_of(findings: Iterable[ScanFinding]) -> Mapping[str, int]:
    """Return how many there are of each severity, the worst first; those without any are left out."""
    found = Counter(one.severity for one in findings)
    return {severity.value: found[severity] for severity in ScanSeverity if found[severity]}


def score_of(counts: Mapping[str, int], *, denied: bool = False) -> float:
    """Return the score of a tool: 1 without findings, 0 at least."""
    lost = sum(WEIGHTS[ScanSeverity(name)] * number for name, number in counts.items())
    best = CAPPED if denied or counts.get(ScanSeverity.CRITICAL.value) else 1.0
    return round(min(best, max(0.0, 1.0 - lost)), 2)


def sentence_of(one: ScanFinding) -> str:
    """Return a finding as a line of a log."""
    place = f" {one.file}{f':{one.line}' if one.line else ''}" if one.file else ""
    return f"{one.severity} {one.tool} {one.rule}{place} {one.message}"


def _unless_mixed(word: re.Match[str]) -> str:
    """Return a long word, masked where it has letters and digits; one expression for all took quadratic time."""
    text = word.group()
    return MASK if LETTER.search(text) and DIGIT.search(text) else text


def _words(value: object, most: int) -> str:
    """Return what a tool says as one line."""
    text = value if isinstance(value, str) else "" if value is None else str(value)[:most]
    return ENCODED_LINE.sub(" ", text[:most]).strip().encode(errors="replace").decode()


WORDS: Mapping[str, ScanSeverity] = {
    **{severity.value: severity for severity in ScanSeverity},
    "BLOCKER": ScanSeverity.CRITICAL,
    "ERROR": ScanSeverity.HIGH,
    "MAJOR": ScanSeverity.MEDIUM,
    "WARNING": ScanSeverity.MEDIUM,
    "MODERATE": ScanSeverity.MEDIUM,
    "MINOR": ScanSeverity.LOW,
    "NOTE": ScanSeverity.LOW,
    "NONE": ScanSeverity.INFO,
    "INFORMATIONAL": ScanSeverity.INFO,
    "NEGLIGIBLE": ScanSeverity.INFO,
    "UNKNOWN": ScanSeverity.MEDIUM,
}
"""What tools call severities."""
