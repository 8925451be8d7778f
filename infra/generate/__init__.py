"""Build tools: they write events/, infra/knative, infra/observability and diagrams from the code. Never deployed."""
