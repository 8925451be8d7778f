"""The function behind webhooks, as the engine calls it."""

from functions.notify.function import deliver, notify, subscribed_host

__all__ = ["deliver", "notify", "subscribed_host"]
