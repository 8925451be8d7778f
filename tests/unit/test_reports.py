"""Reports of tests and of coverage, which strangers have written: what they say, and what of them is refused."""

import io
import zipfile
from typing import BinaryIO

import pytest

from functions._executors import reports
from functions._executors.reports import ReportsRefused, SuiteReport, read_archive, read_files
from tests.support.ci import COVERAGE, GREEN, JUNIT
from tests.support.github_api import zipped


def read(*texts: str | bytes) -> SuiteReport:
    files: list[tuple[str, BinaryIO]] = [
        (f"{n}.xml", io.BytesIO(text.encode() if isinstance(text, str) else text)) for n, text in enumerate(texts)
    ]
    return read_files(iter(files))


def counts(report: SuiteReport) -> tuple[int, int, int, int]:
    return report.passed, report.failed, report.errors, report.skipped


def covered(text: str) -> str:
    return f"<coverage {text}><packages/></coverage>"


def test_tests_are_counted_one_by_one_and_those_that_fail_are_named() -> None:
    report = read(JUNIT, GREEN)
    assert counts(report) == (4, 1, 0, 1)
    assert report.failing == ["shop.Cart.ships"]
    assert (report.read, report.coverage) == (2, None)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("<error/>", (0, 0, 1, 0)),
        ("<failure/><error/>", (0, 0, 1, 0)),
        ("<error/><failure/>", (0, 0, 1, 0)),
        ("<failure/><failure/>", (0, 1, 0, 0)),
        ("<rerunFailure/><system-out>failure</system-out>", (1, 0, 0, 0)),
        ("<properties><failure/></properties>", (1, 0, 0, 0)),
        ('<skipped type="pytest.xfail"/>', (0, 0, 0, 1)),
    ],
)
def test_a_test_counts_once(case: str, expected: tuple[int, int, int, int]) -> None:
    text = (
        f"<testsuites><testsuite><testsuite><testcase name='a'>{case}</testcase></testsuite></testsuite></testsuites>"
    )
    assert counts(read(text)) == expected


def test_names_are_bounded_and_the_rest_is_counted() -> None:
    cases = "".join(f"<testcase name='{'x' * 1000}{n}'><failure/></testcase>" for n in range(500))
    report = read(f"<testsuite>{cases}</testsuite>")
    assert (report.failed, len(report.failing), len(report.failing[0])) == (500, 100, 300)


def test_a_document_of_another_kind_is_no_report_and_its_rest_is_not_read() -> None:
    report = read("<html><testcase/><broken", "<pom/>", "<coverage line-rate='0.5'><broken")
    assert (report.counted, report.coverage) == (False, 0.5)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([COVERAGE], 0.8),
        (["lines-covered='1' lines-valid='3' line-rate='0.9'"], 0.333333),
        (["line-rate='0.8125'"], 0.8125),
        (["lines-covered='0' lines-valid='0' line-rate='1'"], 1),
        ([COVERAGE, "lines-covered='0' lines-valid='100'"], 0.4),
        (["branch-rate='1'"], None),
    ],
)
def test_coverage_is_the_share_of_lines_of_all_reports(texts: list[str], expected: float | None) -> None:
    assert read(*(text if text.startswith("<?") else covered(text) for text in texts)).coverage == expected


@pytest.mark.parametrize(
    "text",
    [
        *("line-rate='much'", "line-rate='nan'", "line-rate='-0.1'", "line-rate='80'", "line-rate='inf'"),
        *("lines-covered='2' lines-valid='1'", "lines-covered='-1' lines-valid='1'", "lines-covered='1e400'"),
    ],
)
def test_a_coverage_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ReportsRefused, match="coverage"):
        read(covered(text))


def test_rates_without_numbers_of_lines_are_not_added_up() -> None:
    for other in (COVERAGE, covered("line-rate='0.5'")):
        with pytest.raises(ReportsRefused, match="added up"):
            _ = read(covered("line-rate='1'"), other).coverage


ENTITIES = """<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><testsuite name="&c;"/>"""


@pytest.mark.parametrize(
    "text",
    [
        ENTITIES,
        '<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&x;"/></testsuite>',
        '<!DOCTYPE t [<!ENTITY % x SYSTEM "http://169.254.169.254/">%x;]><testsuite/>',
        '<!DOCTYPE t [<!ATTLIST testsuite a CDATA "b">]><testsuite/>',
        "<testsuite>" * 65,
        "<testsuite><testcase></testsuite>",
        "<testsuite>",
        "<testsuite/><testsuite/>",
        "",
        "plain text",
        b"\x00\x01\x02",
        b"<?xml version='1.0' encoding='utf-7'?><testsuite/>",
        b"<?xml version='1.0' encoding='no-such'?><testsuite/>",
        b"<testsuite name='\xff\xfe'/>",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_report_or_an_attack_is_refused(text: str | bytes) -> None:
    with pytest.raises(ReportsRefused):
        read(text)


def test_a_doctype_that_declares_nothing_is_that_of_cobertura_and_is_not_fetched() -> None:
    doctype = '<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">'
    text = covered("line-rate='1'")
    assert read(f"<?xml version='1.0'?>{doctype}{text}").coverage == 1


def test_all_reports_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "REPORT_BYTES", 300)
    monkeypatch.setattr(reports, "MOST_BYTES_TOGETHER", 500)
    monkeypatch.setattr(reports, "MOST_ELEMENTS", 20)
    monkeypatch.setattr(reports, "MOST_REPORTS", 3)
    padded = "<testsuite>" + " " * 150 + "</testsuite>"
    read(padded, padded)
    for texts in ([padded] * 3, ["<testsuite>" + " " * 300], ["<testsuite>" + "<a/>" * 20], ["<testsuite/>"] * 4):
        with pytest.raises(ReportsRefused):
            read(*texts)


ATTRIBUTES = " ".join(f"a{number}=''" for number in range(300_000))


@pytest.mark.parametrize(
    "text",
    [
        f"<testsuite name='{'a' * 3_000_000}'/>",
        f"<testsuite {ATTRIBUTES}/>",
        f"<testsuite><!--{'a' * 3_000_000}--></testsuite>",
    ],
    ids=["value", "attributes", "comment"],
)
def test_a_tag_that_is_read_again_with_each_piece_of_it_is_bounded(text: str) -> None:
    with pytest.raises(ReportsRefused, match="has a tag or a comment of more than"):
        read(text)


def test_a_long_text_is_read_piece_by_piece() -> None:
    failure = f"<failure message='{'m' * 300_000}'><![CDATA[{'a' * 3_000_000}]]>{'b' * 3_000_000}</failure>"
    assert counts(read(f"<testsuite><testcase name='x'>{failure}</testcase></testsuite>")) == (0, 1, 0, 0)


def test_the_reports_of_an_archive_are_those_that_fit() -> None:
    archive = zipped({"a/junit.xml": GREEN, "junit.xml": JUNIT, "b/other.txt": "no xml", "c/x.xml": COVERAGE})
    assert counts(read_archive(archive, ["**/*.xml"])) == (4, 1, 0, 1)
    assert counts(read_archive(archive, ["a/*.xml"])) == (2, 0, 0, 0)
    assert read_archive(archive, ["none"]).counted is False


def with_lie(archive: bytes) -> bytes:
    """Let an archive say in its directory that its file has ten bytes."""
    place = archive.index(reports.MEMBER) + 24
    return archive[:place] + (10).to_bytes(4, "little") + archive[place + 4 :]


def packed(compression: int) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        archive.writestr("a.xml", GREEN * 100)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped({"a.xml": b"<testsuite>" + b"<a/>" * 9_000_000}),
        zipped({f"{n}.xml": b"<testsuite>" + b" " * 9_000_000 + b"</testsuite>" for n in range(9)}),
        with_lie(zipped({"a.xml": GREEN * 1000})),
        zipped({"a.xml": GREEN})[:-30],
        zipped({"a.xml": GREEN}).replace(b"PK\x03\x04", b"PK\x03\x05"),
        zipped({"ä.xml": GREEN}).replace("ä".encode(), b"\xff\xff"),
        packed(zipfile.ZIP_BZIP2),
        packed(zipfile.ZIP_LZMA),
        reports.MEMBER * 30_000,
        b"",
        b"no archive",
    ],
    ids=[
        *("bomb", "many bombs", "a size that is a lie", "cut", "broken", "no name", "bzip2", "lzma", "very many files"),
        *("empty", "text"),
    ],
)
def test_an_archive_that_is_an_attack_is_refused(data: bytes) -> None:
    with pytest.raises(ReportsRefused):
        read_archive(data, ["**/*.xml"])


def test_an_archive_writes_nowhere() -> None:
    evil = zipped({"../../tmp/evil.xml": GREEN, "/etc/evil.xml": GREEN, "a.xml": GREEN})
    assert counts(read_archive(evil, ["*.xml"])) == (2, 0, 0, 0)
