"""Exposes the function to the platforms that load it."""

from functions._hosts.entry import expose
from functions.learn.function import learn

lambda_handler, new = expose(learn)
