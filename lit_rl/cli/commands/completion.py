"""`completion`: a script that completes the command line in a shell."""

from __future__ import annotations

import argparse

from lit_rl.cli.completion import SCRIPTS, candidates
from lit_rl.errors import EXIT_OK

SUMMARY = "print a script for completion in bash, zsh or fish"
ORDER = 87


def main(argv: list[str]) -> int:
    """Run ``lit-rl completion``."""
    if argv[:1] == ["candidates"]:  # what the scripts ask for
        print("\n".join(candidates(argv[1:])))
        return EXIT_OK
    parser = argparse.ArgumentParser(
        prog="lit-rl completion",
        description="Print a script that completes commands, options, keys, values, algorithms and runs. "
        'In ~/.bashrc: eval "$(lit-rl completion bash)"; in ~/.zshrc, below compinit: '
        'eval "$(lit-rl completion zsh)"; in ~/.config/fish/config.fish: lit-rl completion fish | source.',
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    arguments = parser.parse_args(argv)
    print(SCRIPTS[arguments.shell], end="")
    return EXIT_OK
