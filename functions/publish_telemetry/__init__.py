"""C6: tell the telemetry sink what a flow did."""
