"""Wrappers of one environment, one a file, composed by `envs.build` in the order written."""
