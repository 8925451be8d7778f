"""Signatures of messages to workers: the form of Standard Webhooks, one secret for each registration."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest

from functions._core.errors import Rejected
from functions._core.events.signatures import SignedMessage, message_id_of, secret_of, signature_headers, usable
from functions._worker.trust import Membership, Trust
from tests.support.builders import make_event

KEY = b"k" * 32
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = secret_of(KEY, "w-1", "1")


def code_of(headers: dict[str, str], body: bytes = b"{}", *secrets: str, now: datetime = NOW) -> str:
    """Return why a message is refused, or `believed`."""
    try:
        SignedMessage.of(headers, now).verify(body, secrets or (SECRET,))
    except Rejected as refusal:
        return refusal.code if refusal.status == 401 else str(refusal.status)
    return "believed"


def test_headers_are_those_that_the_libraries_of_standard_webhooks_make_and_take() -> None:
    # The example of the specification's own libraries.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    at = datetime.fromtimestamp(1614265330, UTC)
    assert signature_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_secret_belongs_to_one_registration_of_one_worker_under_one_key() -> None:
    others = [secret_of(KEY, "w-1", "2"), secret_of(KEY, "w-2", "1"), secret_of(b"o" * 32, "w-1", "1")]
    assert len({SECRET, *others}) == 4
    assert len(b64decode(SECRET.removeprefix("whsec_"))) == 32
    assert [usable(secret) for secret in (SECRET, "", "whsec_", "whsec_é", SECRET[6:])] == [True, *[False] * 4]


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_what_was_signed_is_believed_for_five_minutes(seconds: int) -> None:
    headers = signature_headers(SECRET, "m_1", NOW, b"{}")
    assert code_of(headers, now=NOW + timedelta(seconds=seconds)) == "believed"
    assert code_of(headers, now=NOW + timedelta(seconds=2 * seconds)) == ("stale_signature" if seconds else "believed")


def test_nothing_of_a_message_can_be_changed() -> None:
    headers = signature_headers(SECRET, "m_1", NOW, b"{}")
    assert code_of(headers, b"[]") == "bad_signature"
    assert code_of(headers | {"webhook-id": "m_2"}) == "bad_signature"
    later = str(int(NOW.timestamp()) + 1)
    assert code_of(headers | {"webhook-timestamp": later}) == "bad_signature"
    assert code_of(headers, b"{}", secret_of(KEY, "w-1", "2")) == "bad_signature"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_needed(name: str) -> None:
    headers = signature_headers(SECRET, "m_1", NOW, b"{}")
    assert code_of(headers | {name: ""}) == "not_signed"
    assert code_of({other: value for other, value in headers.items() if other != name}) == "not_signed"


@pytest.mark.parametrize("timestamp", ["soon", "-1", "1e9", "²", "9" * 400, "NaN", " 1", "0x1"])
def test_odd_timestamps_are_refused(timestamp: str) -> None:
    headers = signature_headers(SECRET, "m_1", NOW, b"{}") | {"webhook-timestamp": timestamp}
    assert code_of(headers) in {"not_signed", "stale_signature"}


def test_one_of_several_signatures_is_enough_and_unknown_versions_do_not_count() -> None:
    headers = signature_headers(SECRET, "m_1", NOW, b"{}")
    ours = headers["webhook-signature"]
    assert code_of(headers | {"webhook-signature": f"v1a,AAAA v1,AAAA {ours}"}) == "believed"
    assert code_of(headers | {"webhook-signature": ours.replace("v1,", "v2,")}) == "bad_signature"
    assert code_of(headers | {"webhook-signature": "v1,é"}) == "bad_signature"
    assert code_of(headers, b"{}", secret_of(KEY, "w-1", "2"), SECRET) == "believed"


def test_the_id_of_a_message_names_the_type_of_its_event() -> None:
    event = make_event()
    assert message_id_of(event) == f"{event.event_type.replace('.', '-')}_{event.id}"
    assert "." not in message_id_of(event)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://flowc.test/base/api/v1/flows/f/reports", True),
        ("https://flowc.test:443/base/api", True),
        ("http://public.test:8080/api", True),
        ("http://flowc.test/base/api", False),
        ("https://flowc.test:444/base/api", False),
        ("https://flowc.test/elsewhere", False),
        ("https://flowc.test/base", False),
        ("https://flowc.test/base/../steal", False),
        ("https://flowc.test/base/%2e%2e/steal", False),
        ("https://flowc.test/base/..%5Csteal", False),
        ("https://flowc.test.evil.test/base/api", False),
        ("https://flowc.test@evil.test/base/api", False),
        ("https://me@flowc.test/base/api", False),
        ("https://evil.test/https://flowc.test/base/", False),
        ("file:///base/api", False),
        ("//flowc.test/base/api", False),
        ("https://[flowc.test/base/api", False),
        ("", False),
    ],
)
async def test_reports_go_below_the_addresses_of_the_platform_only(url: str, *, allowed: bool) -> None:
    trust = Trust("https://flowc.test/base")
    trust.renew(Membership(SECRET, "http://public.test:8080"))
    if allowed:
        trust.check_callback(url)
        return
    with pytest.raises(Rejected) as refusal:
        trust.check_callback(url)
    assert (refusal.value.status, refusal.value.code) == (403, "foreign_callback")


async def test_a_message_is_believed_once_and_by_the_last_two_secrets() -> None:
    trust = Trust("http://127.0.0.1:1")
    secrets = [secret_of(KEY, "w-1", str(number)) for number in range(3)]
    for secret in secrets:
        trust.renew(Membership(secret, ""))
    now = datetime.now(UTC)
    for place, secret in enumerate(secrets):
        message = await trust.opened(signature_headers(secret, f"m_{place}", now, b""))
        if place == 0:
            with pytest.raises(Rejected, match="does not fit"):
                trust.verify(message, b"")
            assert trust.doubted
            continue
        trust.verify(message, b"")
        with pytest.raises(Rejected, match="before"):
            trust.verify(message, b"")
