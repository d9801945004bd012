"""`fit`, `validate` and `test`: what is given is checked, and only then are torch and Lightning imported."""

from __future__ import annotations

from lit_rl.cli.check import check_given
from lit_rl.cli.given import FLAGS, Given, model_name, own_config
from lit_rl.cli.models import model_settings
from lit_rl.cli.together import check_together, own_run
from lit_rl.cli.variables import in_one_block, named, read_variables
from lit_rl.errors import EXIT_OK, ConfigError
from lit_rl.process import importing

NO_MODEL = "model is missing. Name an algorithm, such as `model: {class_path: PPO}`."


def run_lightning(command: str, given: list[Given]) -> int:
    """Run one of Lightning's commands with what is given; returns the exit code.

    Raises:
        ConfigError: the configuration is wrong.
    """
    given = [*read_variables(command), *given]
    if any(each.name == "help" for each in given):
        from lit_rl.cli.help import help_text

        print(help_text(command, model_name(given)))
        return EXIT_OK
    model, only_shown = model_name(given), any(each.name in FLAGS or each.name.endswith(".help") for each in given)
    if model is None and not only_shown:
        raise ConfigError(_no_model(given))
    check_each(given, model, ("episodes",) if command != "fit" else ())
    if command == "fit" and not only_shown:
        given = [*given, *own_run(given)]
        check_together(given)

    with importing():
        from lit_rl.cli.fit import run  # takes seconds, which a mistake does not wait for

    return run(command, given if model is None else in_one_block(given, model))


def check_each(given: list[Given], model: str | None, more: tuple[str, ...] = ()) -> None:
    """Check the algorithm that is named, and each file, option and variable by itself.

    Args:
        model: the algorithm, if one is named.
        more: options of the command that are no keys of the YAML.

    Raises:
        ConfigError: names the key, what is wrong and the fix.
    """
    if model is not None:
        model_settings(model)
    for each in given:
        with named(each.variable):
            check_given(each, model, more)


def _no_model(given: list[Given]) -> str:
    """What to say where no algorithm is named: the run that is to go on may have its configuration."""
    run = next((each.text for each in reversed(given) if each.name in ("ckpt_path", "resume.checkpoint")), None)
    config = None if run is None else own_config(run)
    if config is not None:
        return f"model is missing. Give the run's own configuration: --config {config}"
    return NO_MODEL
