"""Reports of tests (JUnit) and of coverage (Cobertura), which strangers have written: files of jobs and of archives.

They are read as a stream, so no tree of them is ever in memory. A document may declare no entities, and nothing outside
of it is fetched. Which kind a file is, its first element says; a file of another kind is no report.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, NoReturn
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from functions._executors.patterns import fits

REPORT_BYTES = 32 * 1024 * 1024
"""Bytes of one report, as it is read."""

MOST_BYTES_TOGETHER = 64 * 1024 * 1024
"""Bytes of all reports of a run."""

MOST_REPORTS = 1_000
MOST_ELEMENTS = 1_000_000
"""Elements of all reports of a run: each costs about a microsecond."""

MOST_UNREAD = 1024 * 1024
"""Bytes of one tag or comment: the parser begins it again with each piece that comes."""

MOST_LEVELS = 64
MOST_NAMED = 100
"""Failing tests that are named."""

NAME_CHARACTERS = 300
MOST_MEMBERS = 20_000
"""Files of an archive."""

MEMBER = b"PK\x01\x02"
"""How the entry of a file begins in the directory of an archive."""

CHUNK = 64 * 1024
SKIPPED = {"skipped": "skipped", "failure": "failed", "error": "errors"}
"""What an element in a test case says of it; the last that fits counts."""


class ReportsRefused(ValueError):
    """What a run has left is no report, or too much of one."""


@dataclass
class SuiteReport:
    """What the reports of a run say, added up."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failing: list[str] = field(default_factory=list)
    """Names of tests that failed or could not be carried out, at most `MOST_NAMED`."""
    read: int = 0
    """Reports of tests that were read."""
    covered: float = 0
    """Lines that were covered; with one report that has no numbers of lines, its rate."""
    lines: float = 0
    """Lines that there are; likewise 1."""
    rates: int = 0
    """Reports of coverage without numbers of lines: more than one cannot be added up."""

    @property
    def counted(self) -> bool:
        """Whether anything says how many tests there were."""
        return self.read > 0

    @property
    def coverage(self) -> float | None:
        """The share of lines that is covered; None where no report says so. Raises `ReportsRefused`."""
        if self.rates > 1 or (self.rates and self.lines > 1):
            raise ReportsRefused("reports of coverage without lines-valid cannot be added up")
        return round(self.covered / self.lines, 6) if self.lines else None

    def add(self, outcome: str, name: str) -> None:
        """Count a test; `outcome` is the name of a count."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome in {"failed", "errors"}:
            self.name(name)

    def name(self, test: str) -> None:
        """Name a test that failed, unless enough are named."""
        if len(self.failing) < MOST_NAMED:
            self.failing.append(test[:NAME_CHARACTERS])


class ReportReader:
    """Reads the reports of one run into `report`, within bounds on all of them together."""

    def __init__(self) -> None:
        self.report = SuiteReport()
        self._bytes = self._files = self.elements = 0

    def read(self, name: str, stream: BinaryIO) -> None:
        """Read one file; raise `ReportsRefused` for what is no XML, and where all is too much."""
        self._files += 1
        if self._files > MOST_REPORTS:
            raise ReportsRefused(f"there are more than {MOST_REPORTS} reports")
        document = _Document(self, name)
        size = 0
        while not document.done and (data := stream.read(CHUNK)):
            size += len(data)
            self._bytes += len(data)
            if size > REPORT_BYTES or self._bytes > MOST_BYTES_TOGETHER:
                raise ReportsRefused(f"{name[:200]} is too large")
            document.feed(data)
        document.end()


class _Document:
    """One file."""

    def __init__(self, reader: ReportReader, name: str) -> None:
        self._reader, self._name = reader, name[:200]
        self._levels: list[str] = []
        self._case = self._outcome = ""
        self._fed = 0
        self.done = False
        """Whether the rest need not be read."""
        self._parser = parser = expat.ParserCreate()
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end

    def feed(self, data: bytes) -> None:
        self._parse(data, final=False)
        self._fed += len(data)
        if self._fed - self._parser.CurrentByteIndex > MOST_UNREAD:
            self._refuse(f"has a tag or a comment of more than {MOST_UNREAD} bytes")

    def end(self) -> None:
        if not self.done:
            self._parse(b"", final=True)

    def _parse(self, data: bytes, *, final: bool) -> None:
        try:
            self._parser.Parse(data, final)
        except expat.ExpatError as error:
            raise ReportsRefused(f"{self._name} is no XML: {expat.ErrorString(error.code)}") from error
        except ReportsRefused:
            raise
        except (LookupError, ValueError) as error:
            raise ReportsRefused(f"{self._name} is in an encoding that is not known") from error

    def _refuse(self, why: str) -> NoReturn:
        raise ReportsRefused(f"{self._name} {why}")

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:  # noqa: ARG002 - expat's
        if internal:
            self._refuse("has declarations of its own, which no report needs")

    def _entity(self, *_: object) -> None:
        self._refuse("declares an entity, which no report needs")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._reader.elements += 1
        if self._reader.elements > MOST_ELEMENTS or len(self._levels) >= MOST_LEVELS:
            self._refuse("has too many elements")
        if self.done:
            return
        if not self._levels:
            self._root(name, attributes)
        elif name == "testcase":
            self._case = ".".join(filter(None, (attributes.get("classname"), attributes.get("name")))) or "?"
            self._outcome = "passed"
        elif name in SKIPPED and self._levels[-1] == "testcase" and self._outcome != "errors":
            self._outcome = SKIPPED[name]
        self._levels.append(name)

    def _end(self, name: str) -> None:
        if self.done:
            return
        self._levels.pop()
        if name == "testcase" and self._outcome:
            self._reader.report.add(self._outcome, self._case)
            self._outcome = ""

    def _root(self, name: str, attributes: dict[str, str]) -> None:
        if name == "coverage":
            self._coverage(attributes)
        elif name in {"testsuites", "testsuite"}:
            self._reader.report.read += 1
            return
        self.done = True

    def _coverage(self, said: dict[str, str]) -> None:
        report = self._reader.report
        try:
            covered, lines = float(said.get("lines-covered", "0")), float(said.get("lines-valid", "0"))
            rate = float(said["line-rate"]) if "line-rate" in said else None
        except ValueError:
            self._refuse("says its coverage in no number")
        if lines == 0 and rate is not None:
            covered, lines = rate, 1.0
            report.rates += 1
        if not 0 <= covered <= lines < 1e12:  # noqa: PLR2004 - also what is no number, or infinite
            self._refuse("says a coverage that cannot be")
        report.covered += covered
        report.lines += lines


def read_archive(data: bytes, patterns: Sequence[str]) -> SuiteReport:
    """Return what the files of a zip archive say that fit a pattern; raise `ReportsRefused`.

    Nothing is written to a disk. What a file unpacks to is bounded, whatever the archive says of its size.
    """
    if data.count(MEMBER) > MOST_MEMBERS:
        raise ReportsRefused(f"the archive has more than {MOST_MEMBERS} files")
    reader = ReportReader()
    try:
        with ZipFile(BytesIO(data)) as archive:
            for member in _members(archive, patterns):
                with archive.open(member) as stream:
                    reader.read(member.filename, stream)  # type: ignore[arg-type] # it reads bytes
    except ReportsRefused:
        raise
    except (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error) as error:
        raise ReportsRefused("the archive is broken") from error
    return reader.report


def _members(archive: ZipFile, patterns: Sequence[str]) -> Iterator[ZipInfo]:
    for member in archive.infolist():
        if member.is_dir() or not fits(member.filename, patterns):
            continue
        if member.compress_type not in {ZIP_STORED, ZIP_DEFLATED} or member.flag_bits & 1:
            raise ReportsRefused("the archive is packed in an unusual way")
        yield member


def read_files(files: Iterator[tuple[str, BinaryIO]]) -> SuiteReport:
    """Return what files say; raise `ReportsRefused`. Each is closed."""
    reader = ReportReader()
    for name, stream in files:
        with stream:
            reader.read(name, stream)
    return reader.report
