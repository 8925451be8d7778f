"""The HTTP function: ingress for CloudEvents, reports of workers, and views for people and tools."""
