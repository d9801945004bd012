"""One file a command, found by its name: `verify_checkpoint.py` is `lit-rl verify-checkpoint`.

Each has `main(argv)`, which returns the exit code. The overview shows its `SUMMARY`, or else the first line of its
docstring, and has it at its `ORDER`, or else at the end. A file whose name begins with `_` is no command.
"""
