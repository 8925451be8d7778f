"""What is spoken over HTTP: the client, CloudEvents, brokers, workers, telemetry sinks."""
