"""Which command."""

from __future__ import annotations

from collections.abc import Callable

from lit_rl.cli.report import reported
from lit_rl.errors import EXIT_CONFIG, EXIT_OK, ConfigError, did_you_mean

COMMANDS = {
    "fit": "train: begin a run, go on with one, or begin one from trained weights",
    "validate": "evaluate a checkpoint over some episodes",
    "test": "evaluate a checkpoint over some episodes",
    "show": "say what a checkpoint or a run is",
    "verify": "prove that a run of this configuration resumes exactly",
    "verify-checkpoint": "check that a checkpoint, or every one of a run, is whole",
    "import-sb3": "write a run.yaml that warm-starts from a stable-baselines3 agent",
    "import-zoo": "write a run.yaml with settings of the RL Zoo",
    "export-sb3": "write a checkpoint as a stable-baselines3 agent",
}


def run_command(argv: list[str]) -> int:
    """Run ``lit-rl <argv>``; returns the exit code."""
    return reported(lambda: _command(argv))


def _command(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_OK if argv else EXIT_CONFIG
    if argv[0] in ("-V", "--version"):
        from lit_rl.version import __version__

        print(f"lit-rl {__version__}")
        return EXIT_OK
    command, rest = argv[0], argv[1:]
    if command.startswith("-"):
        raise ConfigError(f"options come after the command: lit-rl {_meant(rest)} {command} ...")
    if command not in COMMANDS:
        raise ConfigError(f"there is no command '{command}'.{did_you_mean(command, COMMANDS)}")
    return _runner(command)(rest)


def _runner(command: str) -> Callable[[list[str]], int]:
    if command == "show":
        from lit_rl.cli.show import show

        return show
    if command == "verify":
        from lit_rl.cli.verify import verify

        return verify
    if command == "verify-checkpoint":
        from lit_rl.cli.verify_checkpoint import verify_checkpoint

        return verify_checkpoint
    if command in ("import-sb3", "import-zoo", "export-sb3"):
        from lit_rl.cli import interop

        runner: Callable[[list[str]], int] = getattr(interop, command.replace("-", "_"))
        return runner
    from lit_rl.cli.fit import run_lightning

    return lambda rest: run_lightning(command, rest)


def _meant(rest: list[str]) -> str:
    return next((word for word in rest if word in COMMANDS), "fit")


def _overview() -> str:
    lines = ["usage: lit-rl COMMAND [options]        (or: python -m lit_rl COMMAND [options])", ""]
    lines += [f"  {name:<17} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "lit-rl fit --config run.yaml            train",
        "lit-rl fit --help                       every setting",
    ]
    return "\n".join(lines)
