import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from functions._core.errors import Rejected
from functions._engine.tokens import JwtTokens, load_or_create_key

KEY = b"k" * 32
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class StoppedClock:
    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


def mint(tokens: JwtTokens, *, expires_at: datetime = NOON + timedelta(minutes=1)) -> str:
    return tokens.mint(ticket_id="t-1", attempt=2, worker_id="w-1", expires_at=expires_at)


def status_of(tokens: JwtTokens, token: str, ticket_id: str = "t-1") -> int:
    with pytest.raises(Rejected) as refusal:
        tokens.verify(tokens.claims(token), ticket_id=ticket_id)
    return refusal.value.status


def test_a_token_gives_back_its_claims() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    assert tokens.claims(mint(tokens)) == {
        "ticket_id": "t-1",
        "attempt": 2,
        "sub": "w-1",
        "iat": int(NOON.timestamp()),
        "exp": int(NOON.timestamp()) + 60,
    }


def test_a_token_of_another_attempt_is_left_for_the_caller_to_judge() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    claims = tokens.claims(mint(tokens))
    tokens.verify(claims, ticket_id="t-1")
    assert claims["attempt"] == 2


def test_a_token_for_another_ticket_is_forbidden() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    assert status_of(tokens, mint(tokens), ticket_id="t-2") == 403


def test_a_token_holds_by_the_clock_of_the_platform_and_no_longer() -> None:
    clock = StoppedClock()
    tokens = JwtTokens(KEY, clock)
    token = mint(tokens, expires_at=NOON + timedelta(seconds=1.5))
    clock.moment = NOON + timedelta(seconds=1.9)
    assert tokens.claims(token)
    clock.moment = NOON + timedelta(seconds=2)
    assert status_of(tokens, token) == 401


def test_a_clock_that_was_set_back_does_not_void_tokens() -> None:
    clock = StoppedClock()
    tokens = JwtTokens(KEY, clock)
    token = mint(tokens)
    clock.moment = NOON - timedelta(hours=1)
    assert tokens.claims(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é", mint(JwtTokens(b"o" * 32, StoppedClock()))])
def test_what_is_not_our_token_is_unauthorised(token: str) -> None:
    assert status_of(JwtTokens(KEY, StoppedClock()), token) == 401


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512"])
def test_only_one_algorithm_is_accepted(algorithm: str) -> None:
    claims = {"ticket_id": "t-1", "attempt": 2, "sub": "w-1", "iat": 0, "exp": 4_000_000_000}
    key = "" if algorithm == "none" else KEY * 2
    token = jwt.encode(claims, key, algorithm=algorithm)
    assert status_of(JwtTokens(KEY * 2, StoppedClock()), token) == 401


@pytest.mark.parametrize("missing", ["ticket_id", "attempt", "sub", "exp", "iat"])
def test_a_token_without_one_of_the_claims_is_unauthorised(missing: str) -> None:
    claims = {"ticket_id": "t-1", "attempt": 2, "sub": "w-1", "iat": 0, "exp": 4_000_000_000}
    del claims[missing]
    assert status_of(JwtTokens(KEY, StoppedClock()), jwt.encode(claims, KEY, algorithm="HS256")) == 401


def test_a_changed_token_is_unauthorised() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    head, _, signature = mint(tokens).split(".")
    _, other_claims, _ = tokens.mint(ticket_id="t-9", attempt=2, worker_id="w-1", expires_at=NOON).split(".")
    assert status_of(tokens, f"{head}.{other_claims}.{signature}", ticket_id="t-9") == 401


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="31 bytes"):
        JwtTokens(b"k" * 31, StoppedClock())


def test_a_key_is_made_once_and_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "worker.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path) == key
    assert list(path.parent.iterdir()) == [path]


def test_all_that_make_the_key_at_the_same_time_get_the_same_one(tmp_path: Path) -> None:
    path = tmp_path / "worker.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(path), range(32)))
    assert len(keys) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_without_a_whole_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "worker.key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match=r"worker\.key"):
        load_or_create_key(path)


def test_a_token_is_what_a_library_for_such_tokens_reads_and_makes() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    token = mint(tokens)
    claims = jwt.decode(token, KEY, algorithms=["HS256"], options={"verify_exp": False, "verify_iat": False})
    assert claims == tokens.claims(token)
    assert jwt.encode(claims, KEY, algorithm="HS256") == token


def test_a_signature_is_accepted_in_one_form_only() -> None:
    tokens = JwtTokens(KEY, StoppedClock())
    token = mint(tokens)
    assert status_of(tokens, token + "=") == 401
    assert status_of(tokens, f"{token}.") == 401
    assert status_of(tokens, "." + token) == 401
    assert status_of(tokens, token.replace(".", "", 1)) == 401
    assert status_of(tokens, token[:-1] + "\ud800") == 401
