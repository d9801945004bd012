"""One file a command, found by its name: `verify_checkpoint.py` is `lit-rl verify-checkpoint`.

Each has a `SUMMARY` and an `ORDER` for the overview, and `main(argv)`, which returns the exit code.
"""
