"""`flowc slo what-if`: what a policy would have done in the last days."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import WRONG_USE, CommandFailed, console, print_json, run, say
from functions._cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from functions._cli.slo_words import SLOS, percent

if TYPE_CHECKING:
    from functions._cli.wire import JsonObject

SHOWN = 10
"""Flows that are listed; `--json` has a hundred."""


def what_if(
    name: Annotated[str | None, typer.Argument(metavar="[POLICY]", help="An admission policy that is stored.")] = None,
    *,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="An admission policy, or a freeze policy, as JSON; - reads it.")
    ] = None,
    freeze_policy: Annotated[
        str | None, typer.Option(metavar="ID", help="A freeze policy that is stored, in place of an admission policy.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many days of the history.")] = 7,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
) -> None:
    """Try a policy on the history: what would it have held, refused, sent to approval or lowered? Nothing is stored."""
    if sum(one is not None for one in (name, file, freeze_policy)) != 1:
        raise typer.BadParameter("exactly one of POLICY, --file and --freeze-policy says what is to be tried")
    form = {"days": days, "policy_name": name, "freeze_policy_id": freeze_policy}
    run(_what_if({key: value for key, value in form.items() if value is not None}, file, url, api_key, as_json=as_json))


def _policy_in(file: str) -> dict[str, Any]:
    """Return the policy of a file; only a freeze policy has a scope."""
    import json

    from functions._cli.decision_file import text_of

    try:
        policy = json.loads(text_of(file))
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{file}: is no JSON", exit_status=WRONG_USE) from error
    if not isinstance(policy, dict):
        raise CommandFailed(f"{file}: a policy is a JSON object", exit_status=WRONG_USE)
    return policy


async def _what_if(form: dict[str, Any], file: str | None, url: str, api_key: str, *, as_json: bool) -> int:
    from functions._cli.client import PlatformClient

    if file is not None:
        policy = _policy_in(file)
        form["freeze_policy" if "scope" in policy else "policy"] = policy
    async with PlatformClient(url, api_key) as client:
        found = await client.post(f"{SLOS}/what-if", form)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0


def _print(found: "JsonObject") -> None:
    from functions._cli.tables import table
    from functions._cli.words import clean, date_and_time

    since, until = date_and_time(found["since"]), date_and_time(found["until"])
    typer.echo(f"{clean(found['policy'])} on {found['flows']} flows from {since} to {until} (UTC)")
    for line in _numbers(found):
        typer.echo(f"  {line}")
    if found["items"]:
        listing = table("AT (UTC)", "ACTION", "UNTIL", "FLOW", rest="WHY")
        for one in found["items"][:SHOWN]:
            end = date_and_time(one["until"]) if one["until"] else ""
            listing.add_row(date_and_time(one["at"]), one["action"], end, one["flow_id"], clean(one["why"]))
        console().print(listing)
    savings = table("SERVICE", "SLO", "USED", "WOULD BE", "SAVES AT MOST", right=("USED", "WOULD BE", "SAVES AT MOST"))
    for one in found["slos"]:
        numbers = (_percent(one[name]) for name in ("consumed", "consumed_then", "saved_at_most"))
        savings.add_row(clean(one["service_name"]), clean(one["name"]), *numbers)
    console().print(savings if found["slos"] else "the policy looks at no SLO")
    if not found["complete"]:
        say(f"too much happened: flows count from {date_and_time(found['counted_since'])} on; ask for fewer days")


def _numbers(found: "JsonObject") -> Iterator[str]:
    from functions._cli.words import took

    for name, words in (
        ("lowered", "lowered in priority"),
        ("held", "held"),
        ("approved_first", "sent to approval"),
        ("refused", "refused"),
        ("timed_out", "of those held past their deadline"),
        ("tickets", "DEPLOY tickets held back"),
    ):
        if found[name]:
            yield f"{found[name]:>6}  {words}"
    if found["held_ms"]:
        yield f"held for {took(found['held_ms'])} all together"
    if found["freezes"]:
        yield f"frozen for {took(found['frozen_ms'])} since {found['freezes'][0]['since']}"
    if not any(found[name] for name in ("lowered", "held", "approved_first", "refused", "freezes")):
        yield "nothing would have been held, refused, sent to approval, or lowered"


def _percent(value: float | None) -> str:
    return "not known" if value is None else percent(value)
