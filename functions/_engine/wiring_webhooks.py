"""The function behind webhooks, as the engine calls it."""

from functions.notify.function import deliver, notify

__all__ = ["deliver", "notify"]
