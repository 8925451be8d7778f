"""One function as one process of a Knative cluster."""
