"""TLS of `flowc up`: nothing else is taken, workers and commands trust by a file, a renewed certificate is used."""

import asyncio
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import Authority
from tests.support.command_line import flowc, written
from tests.support.http_world import ClientWorld
from tests.support.processes import Platform, Process, free_port, processes
from tests.support.world import PATIENCE_S, task, until

SECONDS = 10.0


@dataclass
class TlsPlatform(Platform):
    """`flowc up` with a certificate of a test's own authority."""

    ca: str = field(default="")

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, object]:
        """See `HttpWorld.call`."""
        trusted = ssl.create_default_context(cafile=self.ca)
        async with httpx.AsyncClient(base_url=self.url, verify=trusted, timeout=PATIENCE_S) as client:
            return await ClientWorld(client).call(method, path, body, **headers)


@dataclass
class Served:
    platform: TlsPlatform
    authority: Authority
    certificate: Path
    key: Path

    @property
    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)

    def connect(self, context: ssl.SSLContext | None) -> socket.socket:
        """Return a connection, in plain text without a context."""
        port = int(self.platform.url.rpartition(":")[2])
        plain = socket.create_connection(("127.0.0.1", port), SECONDS)
        return plain if context is None else context.wrap_socket(plain, server_hostname="127.0.0.1")

    def serial(self) -> int:
        """Return the serial number of the certificate that a new connection gets."""
        with closing(self.connect(self.trusted)) as connection:
            shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
            assert shown
            return int(str(shown["serialNumber"]), 16)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    authority, certificate, key = Authority(tmp_path), tmp_path / "tls.crt", tmp_path / "tls.key"
    authority.issue(certificate, key)
    port = free_port()
    with processes() as started:
        platform = TlsPlatform(
            ["up", "--port", str(port), "--data", str(tmp_path / "data")],
            tmp_path / "platform.log",
            {"FLOWC_TLS_CERT": str(certificate), "FLOWC_TLS_KEY": str(key)},
            url=f"https://127.0.0.1:{port}",
            ca=str(authority.file),
        )
        started.append(platform)
        platform.start()
        await platform.ready()
        yield Served(platform, authority, certificate, key)


async def test_a_flow_is_done_by_a_worker_that_trusts_by_a_file(served: Served, tmp_path: Path) -> None:
    url, trust = served.platform.url, {"SSL_CERT_FILE": str(served.authority.file)}
    assert f"Flow C is ready at {url} " in served.platform.log.read_text(encoding="utf-8")
    with processes() as started:
        how = ["worker", "--url", url, "--id", "w1", "-c", "python", "--shell", "echo 1"]
        worker = Process(how, tmp_path / "w1.log", trust)
        started.append(worker)
        worker.start()
        file, _ = written(tmp_path, task("a"), task("b", "a"))
        submit = [sys.executable, "-m", "functions", "submit", file, "--watch", "--url", url]
        done = await asyncio.to_thread(command, submit, **trust)
    assert done.returncode == 0, done.stderr
    checked = await asyncio.to_thread(
        command, [sys.executable, "-m", "functions", "check", "--json", "--url", url], **trust
    )
    assert json.loads(checked.stdout)["ok"] is True, checked.stdout


async def test_a_command_that_does_not_trust_the_certificate_says_so(served: Served) -> None:
    refused = await asyncio.to_thread(flowc, "flows", FLOWC_URL=served.platform.url)
    assert refused.exit_code == 1
    assert "is not trusted" in refused.stderr
    assert "SSL_CERT_FILE" in refused.stderr


async def test_a_plain_connection_is_refused(served: Served) -> None:
    def plain() -> bytes:
        with closing(served.connect(None)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
            return b"".join(iter(lambda: received(connection), b""))

    answer = await asyncio.to_thread(plain)
    assert b"HTTP" not in answer
    assert b"status" not in answer


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_tls_before_version_1_2_is_refused_and_1_2_is_taken(served: Served) -> None:
    def version(least: ssl.TLSVersion, most: ssl.TLSVersion) -> str | None:
        context = served.trusted
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = least, most
        with closing(served.connect(context)) as connection:
            assert isinstance(connection, ssl.SSLSocket)
            return connection.version()

    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(version, ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    assert await asyncio.to_thread(version, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"


async def test_a_renewed_certificate_is_used_and_one_that_is_broken_is_not(served: Served) -> None:
    first = await asyncio.to_thread(served.serial)
    served.certificate.write_text("this is no certificate", encoding="utf-8")
    assert await asyncio.to_thread(served.serial) == first
    assert "tls.not_reloaded" in served.platform.log.read_text(encoding="utf-8")
    served.authority.issue(served.certificate, served.key)

    async def another() -> bool | None:
        return await asyncio.to_thread(served.serial) != first or None

    await until(another, "the renewed certificate")
    second = await asyncio.to_thread(served.serial)
    certificate, key = served.certificate.read_bytes(), served.key.read_bytes()
    served.authority.issue(served.certificate, served.key)
    served.key.write_bytes(key)  # the new certificate has come, its key has not
    assert await asyncio.to_thread(served.serial) == second
    served.certificate.write_bytes(certificate)
    assert await asyncio.to_thread(served.serial) == second


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"x" * 70_000 + b"\r\n\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
async def test_the_bounds_of_http_hold_within_tls_and_the_refusal_can_be_read(
    served: Served, sent: bytes, status: bytes
) -> None:
    def ask() -> bytes:
        with closing(served.connect(served.trusted)) as connection:
            connection.sendall(sent)
            return b"".join(iter(lambda: received(connection), b""))

    assert (await asyncio.to_thread(ask)).startswith(b"HTTP/1.1 " + status)
    assert (await served.platform.call("GET", "/health"))[0] == 200


def test_files_that_cannot_be_used_and_half_of_a_pair_keep_it_from_starting(tmp_path: Path) -> None:
    up = [sys.executable, "-m", "functions", "up", "--port", "0", "--data", str(tmp_path / "data")]
    certificate = tmp_path / "tls.crt"
    half = command([*up, "--tls-cert", str(certificate)])
    assert (half.returncode, "go together" in half.stderr) == (2, True)
    absent = command([*up, "--tls-cert", str(certificate), "--tls-key", str(certificate)])
    assert (absent.returncode, "TLS cannot begin" in absent.stderr) == (1, True)
    certificate.write_text("no certificate", encoding="utf-8")
    wrong = command([*up, "--tls-cert", str(certificate), "--tls-key", str(certificate)])
    assert (wrong.returncode, "TLS cannot begin" in wrong.stderr) == (1, True)


def received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65_536)
    except OSError:  # a reset is an end as well
        return b""


def command(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        arguments,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
