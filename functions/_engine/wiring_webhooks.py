"""The function behind webhooks, as the engine calls it."""

from functions.notify.function import deliver, disable, notify, subscribed_host

__all__ = ["deliver", "disable", "notify", "subscribed_host"]
