"""Insights: problems of flows that were found in their history, explained, with evidence."""
