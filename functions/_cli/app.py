"""All commands of `flowc`, in the order in which its help lists them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from functions._cli import as_given
from functions._cli.lazy_group import CommandEntry, LazyGroup
from functions._engine.version import __version__

PLATFORM, FLOWS, ORDERS, SERVICES, EVENTS = "Platform", "Flows", "Orders", "Service levels", "Events"
ROOM = "functions._cli"

as_given.install()


class Commands(LazyGroup):
    """The commands; a test compares each line about one with its docstring."""

    entries: Sequence[CommandEntry] = (
        CommandEntry(PLATFORM, "demo", f"{ROOM}.demo_command:demo", "Watch the sample decision getting done."),
        CommandEntry(PLATFORM, "up", f"{ROOM}.up_command:up", "Run the platform: one port, one folder."),
        CommandEntry(
            PLATFORM, "migrate", f"{ROOM}.migrate_command:migrate", "Bring the database to this version's schema."
        ),
        CommandEntry(
            PLATFORM, "check", f"{ROOM}.check_command:check", "Check a platform in twelve categories, by a small flow."
        ),
        CommandEntry(
            PLATFORM, "backup", f"{ROOM}.backup_commands:backup", "Write a backup of a data folder, in use or not."
        ),
        CommandEntry(PLATFORM, "restore", f"{ROOM}.backup_commands:restore", "Make a new data folder out of a backup."),
        CommandEntry(
            PLATFORM, "worker", f"{ROOM}.worker_command:worker", "Run a worker, which takes tickets and does them."
        ),
        CommandEntry(PLATFORM, "workers", f"{ROOM}.worker_list:workers", "List the workers that the platform knows."),
        CommandEntry(
            PLATFORM, "doctor", f"{ROOM}.doctor_command:doctor", "Look for what keeps flows from getting done."
        ),
        CommandEntry(PLATFORM, "open", f"{ROOM}.pages:open_page", "Open the console in the browser."),
        CommandEntry(PLATFORM, "keys", f"{ROOM}.key_commands:keys", "Make, list or revoke API keys."),
        CommandEntry(
            PLATFORM, "mcp", f"{ROOM}.mcp_command:mcp", "Let an agent use the platform as tools (MCP, stdio)."
        ),
        CommandEntry(PLATFORM, "version", f"{ROOM}.app:version", "Print the version of Flow C."),
        CommandEntry(
            FLOWS, "sample", f"{ROOM}.sample_command:sample", "Print a valid decision to try things out with."
        ),
        CommandEntry(FLOWS, "validate", f"{ROOM}.validate_command:validate", "Check a decision without submitting it."),
        CommandEntry(
            FLOWS, "simulate", f"{ROOM}.simulate_command:simulate", "Run a plan in virtual time, with faults."
        ),
        CommandEntry(FLOWS, "cost", f"{ROOM}.cost_command:cost", "Print what a plan costs on AWS."),
        CommandEntry(
            FLOWS, "submit", f"{ROOM}.submit_command:submit", "Submit a decision and print the id of its flow."
        ),
        CommandEntry(
            FLOWS, "schedule", f"{ROOM}.schedule_commands:schedule", "Submit a decision again and again, by a schedule."
        ),
        CommandEntry(
            FLOWS, "forge", f"{ROOM}.forge_commands:forge", "Have artifacts made by pipelines of the code forge."
        ),
        CommandEntry(FLOWS, "plan", f"{ROOM}.plan_commands:plan", "Draw plans, and store them by name."),
        CommandEntry(FLOWS, "flows", f"{ROOM}.flow_commands:flows", "List flows, the newest first."),
        CommandEntry(
            FLOWS,
            "limits",
            f"{ROOM}.limits_command:limits",
            "Show the limits of what is in flight, who holds places and who waits.",
        ),
        CommandEntry(FLOWS, "show", f"{ROOM}.flow_commands:show", "Show a flow and its tickets."),
        CommandEntry(
            FLOWS,
            "result",
            f"{ROOM}.output_commands:result",
            "Print the result of a flow, or the outputs of its tasks, as JSON.",
        ),
        CommandEntry(FLOWS, "logs", f"{ROOM}.output_commands:logs", "Print what the tasks of a flow wrote."),
        CommandEntry(FLOWS, "why", f"{ROOM}.flow_commands:why", "Say what a flow or a ticket waits for."),
        CommandEntry(
            FLOWS,
            "what-changed",
            f"{ROOM}.what_changed_command:what_changed",
            "Say what made a flow slow, late or fail, compared with the flows before it.",
        ),
        CommandEntry(
            FLOWS,
            "predictions",
            f"{ROOM}.what_changed_command:predictions",
            "List predictions of ended tickets beside what happened, and how good they were.",
        ),
        CommandEntry(
            FLOWS,
            "stuck",
            f"{ROOM}.stuck_command:stuck",
            "List what waits across all flows, and for what, the worst slack first.",
        ),
        CommandEntry(
            FLOWS,
            "hot",
            f"{ROOM}.hot_command:hot",
            "List open tickets in the order in which they have to begin, so that flows are in time.",
        ),
        CommandEntry(
            FLOWS, "jobs", f"{ROOM}.jobs_command:jobs", "List jobs of executors, and those that nobody could end."
        ),
        CommandEntry(FLOWS, "sla", f"{ROOM}.sla_commands:sla", "Act on flows that are at risk or late."),
        CommandEntry(
            FLOWS,
            "export",
            f"{ROOM}.export_command:export",
            "Write flows that have ended, or their tickets, as a table.",
        ),
        CommandEntry(
            FLOWS,
            "aggregate",
            f"{ROOM}.aggregate_command:aggregate",
            "Print the statistics of a folder with exported history.",
        ),
        CommandEntry(
            FLOWS, "passport", f"{ROOM}.passport_commands:passport", "Save what was done in a flow as a signed file."
        ),
        CommandEntry(FLOWS, "verify", f"{ROOM}.passport_commands:verify", "Check a passport, also without a platform."),
        CommandEntry(FLOWS, "replay", f"{ROOM}.replay_command:replay", "Rebuild a flow from its history and compare."),
        CommandEntry(
            ORDERS, "inbox", f"{ROOM}.inbox_command:inbox", "List what waits for your decision, the most urgent first."
        ),
        CommandEntry(ORDERS, "cancel", f"{ROOM}.order_commands:cancel", "Cancel a flow."),
        CommandEntry(ORDERS, "approve", f"{ROOM}.order_commands:approve", "Approve a flow or a ticket."),
        CommandEntry(ORDERS, "deny", f"{ROOM}.order_commands:deny", "Deny a flow or a ticket."),
        CommandEntry(ORDERS, "pause", f"{ROOM}.order_commands:pause", "Pause a flow."),
        CommandEntry(ORDERS, "resume", f"{ROOM}.order_commands:resume", "Let a paused flow go on."),
        CommandEntry(ORDERS, "redrive", f"{ROOM}.order_commands:redrive", "Let a flow go on where it failed."),
        CommandEntry(
            ORDERS, "adjust", f"{ROOM}.order_commands:adjust", "Change priority, retries or deadline of a flow."
        ),
        CommandEntry(ORDERS, "replan", f"{ROOM}.order_commands:replan", "Let a flow go on by another plan."),
        CommandEntry(ORDERS, "retry", f"{ROOM}.order_commands:retry", "Try a ticket that waits now instead of later."),
        CommandEntry(ORDERS, "reassign", f"{ROOM}.order_commands:reassign", "Give a ticket to another worker."),
        CommandEntry(
            ORDERS,
            "freeze-exception",
            f"{ROOM}.order_commands:freeze_exception",
            "Let a ticket pass the freezes of its service.",
        ),
        CommandEntry(
            ORDERS,
            "guard",
            f"{ROOM}.guard_commands:guard",
            "Say which tasks must not be done, and decide about those in quarantine.",
        ),
        CommandEntry(ORDERS, "skip", f"{ROOM}.order_commands:skip", "Take a ticket as done without its being done."),
        CommandEntry(
            SERVICES, "slo", f"{ROOM}.slo_commands:slo", "Say what is good enough: service level objectives (SLOs)."
        ),
        CommandEntry(
            SERVICES, "budget", f"{ROOM}.budget_commands:budget", "See how much of the error budgets is left."
        ),
        CommandEntry(
            SERVICES,
            "freeze",
            f"{ROOM}.freeze_commands:freeze",
            "See what is frozen by spent error budgets, and ask before a deploy.",
        ),
        CommandEntry(
            EVENTS, "events", f"{ROOM}.event_commands:events", "Print the events of all flows, the oldest first."
        ),
        CommandEntry(
            EVENTS, "signal", f"{ROOM}.signal_command:signal", "Send an event for a ticket that waits for it."
        ),
        CommandEntry(
            EVENTS,
            "events-in",
            f"{ROOM}.signal_command:events_in",
            "List waits for events, or the events that are kept.",
        ),
        CommandEntry(
            EVENTS, "audits", f"{ROOM}.audit_command:audits", "List what validation found and what people did."
        ),
        CommandEntry(EVENTS, "incidents", f"{ROOM}.audit_command:incidents", "List what went wrong."),
        CommandEntry(
            EVENTS, "heal", f"{ROOM}.heal_commands:heal", "Heal incidents by playbooks, and see what they have done."
        ),
        CommandEntry(
            EVENTS,
            "insights",
            f"{ROOM}.insights_commands:insights",
            "See what was found in the history of flows, and what to do about it.",
        ),
        CommandEntry(
            EVENTS,
            "models",
            f"{ROOM}.model_commands:models",
            "See the models that say how long work takes, train and promote them.",
        ),
        CommandEntry(
            EVENTS,
            "subscriptions",
            f"{ROOM}.subscription_commands:subscriptions",
            "Send events to webhooks, and see what became of them.",
        ),
        CommandEntry(
            EVENTS, "dead-letters", f"{ROOM}.event_commands:dead_letters", "See, replay or drop dead letters."
        ),
    )


app = typer.Typer(
    cls=Commands,
    help="Flow C turns a decision into done work, inside its SLA.",
    epilog="Start with `flowc demo`, or with `flowc up` and, in another terminal, `flowc submit FILE --watch`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: Rich takes longer to import than all the rest
    context_settings={"help_option_names": ["-h", "--help"]},
)


def version() -> None:
    """Print the version of Flow C."""
    typer.echo(f"flowc {__version__}")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    *,
    wanted: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=lambda value: _print_version(wanted=value), help="Print it."),
    ] = False,
) -> None:
    """Take the options that stand before a command; `wanted` has been seen to by then."""
