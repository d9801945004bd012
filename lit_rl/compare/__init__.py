"""Runs read from disk and set beside each other: a table, a report, a difference. Nothing is written or locked."""
