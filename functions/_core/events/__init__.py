"""Events: the CloudEvents envelope, the catalogue, and the data of each event."""
