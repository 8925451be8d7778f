"""One function as one environment of AWS Lambda."""
