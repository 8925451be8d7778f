"""The envelope of a passport (DSSE v1), and what somebody finds who checks it.

A signature covers `DSSEv1 <length> <type> <length> <payload>`, so the type of the payload cannot be changed either.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from functions._core.passport.seal import SEAL, canonical, intact
from functions._core.passport.statement import PAYLOAD_TYPE, PREDICATE, STATEMENT

MOST_BYTES = 256 * 1024 * 1024
"""Bytes of a file that is read."""

MOST_FAULTS = 20

Verify = Callable[[bytes, bytes], bool]
"""Whether the second is a signature of the first, by a key that is believed."""


class PassportFault(ValueError):
    """A file is no passport, or not what was signed; `faults` says what is wrong with it, in sentences."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class CheckedPassport(NamedTuple):
    """A passport whose signature and seals hold."""

    statement: Mapping[str, Any]
    keyid: str
    """The key that signed it."""

    @property
    def predicate(self) -> Mapping[str, Any]:
        """What it says of the flow."""
        said: Mapping[str, Any] = self.statement["predicate"]
        return said


def signed_bytes(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return what a signature of DSSE covers."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(statement: Mapping[str, Any], keyid: str, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the file of a statement."""
    payload = canonical(statement)
    signature = {"keyid": keyid, "sig": b64encode(sign(signed_bytes(payload))).decode()}
    return (
        json.dumps(
            {"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]},
            separators=(",", ":"),
        ).encode()
        + b"\n"
    )


def key_of(file: bytes) -> str:
    """Return the name of the key that a file says to be signed by; empty where it does not say so."""
    try:
        return str(json.loads(file)["signatures"][0]["keyid"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""


def checked(file: bytes, verify: Verify) -> CheckedPassport:
    """Return what a passport says; raise `PassportFault`, which names what was changed.

    `verify` knows the key. A file that is intact but for its form (spaces, the order of names) is refused, too.
    """
    payload, signature, keyid, form = opened(file)
    statement, faults = _read(payload)
    if not faults and statement["predicate"]["issued"].get("keyid") != keyid:  # DSSE itself does not sign it
        form.append("envelope: keyid is not the key that the statement names")
    if not verify(signed_bytes(payload), signature):
        raise PassportFault(*(form + faults or ["signature: it is not one of this key for this content"]))
    if form or faults:
        raise PassportFault(*form, *faults)
    return CheckedPassport(statement, keyid)


def opened(file: bytes) -> tuple[bytes, bytes, str, list[str]]:
    """Return payload, signature, name of the key, and faults of the form of an envelope of any statement.

    Raises `PassportFault` for what is no envelope with one signature.
    """
    if len(file) > MOST_BYTES:
        raise PassportFault(f"the file has more than {MOST_BYTES} bytes")
    try:
        outer = json.loads(file)
    except UnicodeDecodeError as error:
        raise PassportFault(f"the file is no JSON: byte {error.start} is no text") from error
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise PassportFault(f"the file is no JSON{where}") from error
    if not isinstance(outer, dict):
        raise PassportFault("the file is no envelope: it is no JSON object")
    names = {"payload", "payloadType", "signatures"}
    if wrong := sorted(outer.keys() ^ names):
        raise PassportFault(*(f"envelope: {'lacks' if name in names else 'has'} {name[:40]!r}" for name in wrong))
    if outer["payloadType"] != PAYLOAD_TYPE:
        raise PassportFault(f"envelope: payloadType is not {PAYLOAD_TYPE}")
    match outer["signatures"]:
        case [{"keyid": str(keyid), "sig": str(sig)} as only] if len(only) == 2:  # noqa: PLR2004 both of them
            pass
        case _:
            raise PassportFault("envelope: signatures are not one with keyid and sig")
    payload = _base64(outer["payload"], "payload")
    again = {"payload": outer["payload"], "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": keyid, "sig": sig}]}
    plain = json.dumps(again, separators=(",", ":")).encode() + b"\n"
    form = [] if plain == file else [f"envelope: byte {_first_difference(plain, file)} is not as it is written"]
    return payload, _base64(sig, "signature"), keyid, form


def _base64(text: object, what: str) -> bytes:
    try:
        data = b64decode(str(text), validate=True)
    except ValueError as error:
        raise PassportFault(f"{what}: it is not base64") from error
    if b64encode(data).decode() != text:
        raise PassportFault(f"{what}: it is not the base64 of its bytes")
    return data


def _first_difference(one: bytes, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _read(payload: bytes) -> tuple[Mapping[str, Any], list[str]]:
    """Return the statement, and what is wrong with it."""
    try:
        statement = json.loads(payload)
    except UnicodeDecodeError as error:
        raise PassportFault(f"payload: byte {error.start} of {_around(payload, error.start)} is no text") from error
    except (ValueError, RecursionError) as error:
        where = _around(payload, error.pos) if isinstance(error, json.JSONDecodeError) else "somewhere"
        raise PassportFault(f"payload: it is no JSON any more, {where}") from error
    faults = [*_faults(statement)][:MOST_FAULTS] if isinstance(statement, dict) else ["payload: it is no JSON object"]
    if not faults and canonical(statement) != payload:
        at = _first_difference(canonical(statement), payload)
        faults = [f"payload: byte {at} is not as it is written, {_around(payload, at)}"]
    return statement, faults


def _around(payload: bytes, at: int) -> str:
    return f"after {payload[max(0, at - 40) : at].decode('ascii', 'replace')!r}"


def _faults(statement: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the parts of a statement."""
    if wrong := sorted(statement.keys() ^ {"_type", "subject", "predicateType", "predicate"}):
        yield f"statement: {', '.join(map(repr, wrong))} is missing or unknown"
        return
    if statement["_type"] != STATEMENT or statement["predicateType"] != PREDICATE:
        yield "statement: it is of another type"
    predicate = statement["predicate"]
    names = ("flow", "sla", "price", "approvals", "tickets", "history", "issued")
    if not isinstance(predicate, dict) or predicate.keys() != {*names}:
        yield "predicate: a part is missing or unknown"
        return
    for name in ("flow", "sla", "price", "issued"):
        if not intact(predicate[name]):
            yield f"{name}: it is not what was sealed{_what(predicate[name])}"
    for name in ("approvals", "tickets"):
        for number, part in enumerate(_list(predicate[name])):
            if not intact(part):
                yield f"{name}[{number}]: it is not what was sealed{_what(part)}"
    yield from _chain_faults(predicate, statement["subject"])


def _chain_faults(predicate: Mapping[str, Any], subject: object) -> Iterator[str]:
    flow, issued = predicate["flow"], predicate["issued"]
    before = str(flow.get(SEAL)) if isinstance(flow, Mapping) else ""
    lines = _list(predicate["history"])
    for number, line in enumerate(lines):
        if not intact(line, before):
            yield f"history[{number}]: it is not what was sealed, or does not follow the line before it{_what(line)}"
        before = str(line.get(SEAL)) if isinstance(line, Mapping) else ""
    if not isinstance(flow, Mapping) or not isinstance(issued, Mapping):
        return
    named = [
        {"name": f"flow:{flow.get('flow_id')}", "digest": {"sha256": before}},
        {"name": f"decision:{flow.get('decision_id')}", "digest": {"sha256": flow.get("decision_sha256")}},
    ]
    if subject != named:
        yield "subject: it is not the flow and the decision that the predicate is about"
    for name, counted in (("tickets", len(_list(predicate["tickets"]))), ("lines", len(lines))):
        if issued.get(name) != counted:
            yield f"issued: it counts {issued.get(name)} {name}, and there are {counted}"


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _what(part: object) -> str:
    """Return which thing a part is about, as it says itself."""
    if not isinstance(part, Mapping):
        return ""
    known = [str(part[name])[:80] for name in ("task_id", "type", "action") if isinstance(part.get(name), str)]
    return f" ({', '.join(known)})" if known else ""
