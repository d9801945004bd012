"""Environments: one slot per environment, episodes seeded by counter and brought back by replay."""
