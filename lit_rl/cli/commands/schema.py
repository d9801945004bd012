"""`schema`: a JSON schema of run.yaml, for editors."""

from __future__ import annotations

import argparse
import json

from lit_rl.cli.output import write_or_print
from lit_rl.cli.schema import schema
from lit_rl.errors import EXIT_OK

SUMMARY = "print a JSON schema of run.yaml, for editors"
ORDER = 85


def main(argv: list[str]) -> int:
    """Run ``lit-rl schema``."""
    parser = argparse.ArgumentParser(
        prog="lit-rl schema",
        description="Print a JSON schema of run.yaml. With the line `# yaml-language-server: $schema=run.schema.json` "
        "at its head, a YAML is completed and checked by editors that have a YAML language server.",
    )
    parser.add_argument("--out", help="the file to write, such as run.schema.json; without it, the schema is printed")
    parser.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    arguments = parser.parse_args(argv)
    write_or_print(json.dumps(schema(), indent=2) + "\n", arguments.out, arguments.overwrite)
    return EXIT_OK
