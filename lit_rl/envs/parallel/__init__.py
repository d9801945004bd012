"""Environments in worker processes: layout of the shared arrays, the worker, its handle, and all of them as one."""
