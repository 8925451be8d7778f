"""The version of Flow C; an artifact has no other place that says it."""

__version__ = "0.1.0"
