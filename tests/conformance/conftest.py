"""The suites are not test modules by name; this gives their asserts the same clear messages."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.conformance.{suite}"
        for suite in (
            "dead_letters",
            "deliveries",
            "event_queue",
            "flow_store",
            "key_values",
            "registry",
            "retention",
            "statistics",
            "tally",
            "telemetry_buffer",
            "unreadable",
            "views",
            "wakeups",
        )
    )
)
