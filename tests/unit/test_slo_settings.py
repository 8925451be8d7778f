"""Settings of SLOs: bounds, base URLs, the secrets of alert managers."""

from datetime import timedelta

import pytest

from functions._engine.secrets import environment_with_secrets
from functions._engine.settings import Settings, SettingsError


def test_without_settings_budgets_are_calculated_every_five_minutes_and_nobody_is_asked() -> None:
    settings = Settings.from_mapping({})
    assert settings.budget_interval == timedelta(minutes=5)
    assert (settings.prometheus_url, settings.alert_webhook_secrets) == (None, ())


def test_a_second_secret_is_taken_while_the_first_is_replaced() -> None:
    settings = Settings.from_mapping({"FLOWC_ALERT_WEBHOOK_SECRET": f"{'a' * 16} {'b' * 16}"})
    assert settings.alert_webhook_secrets == ["a" * 16, "b" * 16]
    assert "aaaa" not in repr(settings)


def test_the_secret_of_an_alertmanager_may_be_kept_elsewhere() -> None:
    environment = {"FLOWC_ALERT_WEBHOOK_SECRET_SECRET": "env:KEPT", "KEPT": "k" * 16}
    assert Settings.from_mapping(environment_with_secrets(environment)).alert_webhook_secrets == ["k" * 16]
    nothing = environment_with_secrets({"FLOWC_ALERT_WEBHOOK_SECRET_SECRET": ""})
    assert Settings.from_mapping(nothing).alert_webhook_secrets == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROMETHEUS_URL", "file:///etc/passwd"),
        ("PROMETHEUS_URL", "http://127.0.0.1:9090/?a=b"),
        ("PROMETHEUS_URL", "http://127.0.0.1:9090/#x"),
        ("PROMETHEUS_TIMEOUT_SECONDS", "0"),
        ("PROMETHEUS_TIMEOUT_SECONDS", "inf"),
        ("ALERT_WEBHOOK_SECRET", "short"),
        ("ALERT_WEBHOOK_SECRET", f"{'a' * 16} {'b' * 16} {'c' * 16}"),
        ("BUDGET_INTERVAL_SECONDS", "0.5"),
        ("BUDGET_INTERVAL_SECONDS", "nan"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"FLOWC_{name}"):
        Settings.from_mapping({f"FLOWC_{name}": value})
