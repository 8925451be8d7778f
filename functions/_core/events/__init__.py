"""Events: the CloudEvents envelope, the catalogue, and what each event says."""
