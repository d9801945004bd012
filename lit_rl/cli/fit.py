"""`fit`, `validate` and `test`: LightningCLI with our keys in front."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from lit_rl.algorithms import algorithms
from lit_rl.callbacks.config import CheckpointConfig
from lit_rl.cli.arguments import parser_arguments
from lit_rl.cli.given import Given
from lit_rl.cli.messages import one_line
from lit_rl.cli.quiet import quiet
from lit_rl.cli.report import evaluation_lines
from lit_rl.cli.settings import DESCRIPTIONS, EPISODES, TOP
from lit_rl.cli.text import rewritten
from lit_rl.cli.trainer_block import TRAINER_DEFAULTS
from lit_rl.cli.trainer_classes import INSTANTIATORS, blame
from lit_rl.curriculum import CurriculumConfig
from lit_rl.envs.config import EnvConfig
from lit_rl.errors import EXIT_OK, ConfigError, LitRLError, chain
from lit_rl.inference.results import write_result
from lit_rl.process import keep_freed_memory, on_screen
from lit_rl.ranks.config import RanksConfig
from lit_rl.ranks.launchers import cluster_environment, rank_of, tell_lightning
from lit_rl.run.begin import Run, begin
from lit_rl.run.config import Mode, ResumeConfig, WarmstartConfig
from lit_rl.run.plan import prepare_evaluation
from lit_rl.run.sources import find
from lit_rl.run.wanted import DEFAULT_ROOT
from lit_rl.training.config import LINKED, EvalConfig
from lit_rl.training.module import RLModule
from lit_rl.training.trainer import check_trainer


def run(command: str, given: list[Given]) -> int:
    """Run one of Lightning's commands with what has been checked; returns the exit code.

    Raises:
        ConfigError: the configuration is wrong.
    """
    quiet()
    keep_freed_memory()
    algorithms()  # the parser knows those that have been imported
    try:
        cli = RunCLI([command, *parser_arguments(given)], [each.name for each in given if not each.is_file])
    except (argparse.ArgumentError, ValueError) as error:
        ours = _within(error)
        if ours is not None:
            raise ours from None
        if not isinstance(error, argparse.ArgumentError) and "Does not validate" not in str(error):
            raise
        raise ConfigError(one_line(str(error))) from None
    return cli.exit_code


def _within(error: BaseException) -> LitRLError | None:
    """An error of ours that the parser has wrapped into its own."""
    return next((cause for cause in chain(error) if isinstance(cause, LitRLError)), None)


def _add(parser: LightningArgumentParser, name: str) -> None:
    setting = TOP[name]
    parser.add_argument(f"--{name}", type=setting.hint, default=setting.default, help=setting.help)


class RunCLI(LightningCLI):
    """One parser for every mode; the file's `mode` says how the run begins."""

    run: Run | None = None
    exit_code = EXIT_OK

    def __init__(self, args: list[str], options: list[str]) -> None:
        self._command, self._options = args[0], options
        super().__init__(
            RLModule,
            args=args,
            subclass_mode_model=True,
            save_config_callback=None,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "exit_on_error": False,
                self._command: {"exit_on_error": False, "description": DESCRIPTIONS[self._command]},
            },
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning's is static
        """The one that is run: a parser for each of the others would be made for nothing, and takes its time."""
        skipped = {"model", "dataloaders", "datamodule", "weights_only", "verbose"}
        if self._command == "fit":
            skipped |= {"train_dataloaders", "val_dataloaders"}
        return {self._command: skipped}

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand != "fit":
            parser.add_argument("--episodes", type=int, default=EPISODES.default, help=EPISODES.help)
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        for name in ("mode", "name", "total_timesteps"):
            _add(parser, name)
        super().add_default_arguments_to_parser(parser)
        for name in ("pause_at", "requeue", "view"):
            _add(parser, name)
        parser.add_class_arguments(ResumeConfig, "resume")
        parser.add_class_arguments(WarmstartConfig, "warmstart")
        parser.add_class_arguments(EnvConfig, "env")
        parser.add_class_arguments(CurriculumConfig, "curriculum")
        parser.add_class_arguments(EvalConfig, "eval")
        parser.add_class_arguments(CheckpointConfig, "checkpoint")
        parser.add_class_arguments(RanksConfig, "ranks")

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(self._model_class, "model", subclass_mode=True)
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults({f"trainer.{key}": value for key, value in self.trainer_defaults.items()})
        for argument, key in LINKED.items():
            parser.link_arguments(key, f"model.init_args.{argument}")

    def _parse_ckpt_path(self) -> None:
        """The YAML says what the run is, never a checkpoint."""

    def instantiate_classes(self) -> None:
        self.config_init = self.parser.instantiate(self.config, instantiators=INSTANTIATORS)
        self.datamodule = None
        self.model = self._get(self.config_init, "model")
        self.trainer = self.instantiate_trainer()
        check_trainer(self.trainer)
        if self.subcommand == "fit":
            self._begin()

    def _begin(self) -> None:
        config = self._get(self.config_init, "resume"), self._get(self.config_init, "warmstart")
        mode: Mode = self._get(self.config, "mode")
        ckpt_path = self.config["fit"].get("ckpt_path")
        resume: ResumeConfig = config[0]
        if ckpt_path is not None:
            mode, resume.checkpoint = "resume", str(ckpt_path)
        self._say_what_is_ignored(mode)
        self.run = begin(
            self.model,
            trainer=self.trainer,
            mode=mode,
            name=self._get(self.config, "name"),
            root=self._root(),
            resume=resume,
            warmstart=config[1],
            checkpoint=self._get(self.config_init, "checkpoint"),
            config_text=self._resolved_config(),
            pause_at=self._get(self.config, "pause_at"),
            requeue=self._get(self.config, "requeue"),
            waiting=self._get(self.config_init, "ranks"),
            view=self._get(self.config, "view"),
        )

    def _root(self) -> Path:
        return Path(self._get(self.config_init, "trainer").get("default_root_dir") or DEFAULT_ROOT)

    def _say_what_is_ignored(self, mode: Mode) -> None:
        """Blocks of other modes may stand in a file; an option that does nothing is a mistake of somebody's."""
        used = (mode, "resume" if self._get(self.config, "requeue") else mode)
        others = tuple(f"{block}." for block in ("resume", "warmstart") if block not in used)
        ignored = [f"--{name}" for name in self._options if name.startswith(others)]
        if ignored and rank_of(self.trainer) == 0:
            print(f"mode is {mode}: {', '.join(ignored)} is not used")

    def _resolved_config(self) -> str:
        config = self.config["fit"].clone()
        config.pop("config", None)
        config["pause_at"] = None  # it is one segment's: the file would end the next one at once
        config["resume"]["fork"] = False  # so is this: the file would fork the run again that it is of
        return rewritten(str(self._parser("fit").dump(config, skip_unset=False, skip_link_targets=True)))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        try:
            if self.subcommand != "fit":  # a run of many ranks is evaluated by one
                kwargs |= {"devices": 1, "num_nodes": 1, "strategy": "auto", "enable_progress_bar": False}
            if self._get(self.config_init, "trainer").get("logger") is True:
                kwargs["logger"] = False  # the run's own are there either way
            plugins = self._get(self.config_init, "trainer").get("plugins") or []
            plugins = plugins if isinstance(plugins, list) else [plugins]
            launcher = cluster_environment()
            if launcher is not None and not any(isinstance(each, ClusterEnvironment) for each in plugins):
                kwargs["plugins"] = [*plugins, launcher]
            return super().instantiate_trainer(**kwargs)
        except LitRLError:
            raise
        except Exception as error:
            raise blame(error, self._get(self.config, "trainer")) from None

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit":
            self._evaluate(subcommand)
        elif self.run is not None:
            with self.run:
                self.trainer.fit(self.model, ckpt_path=self.run.ckpt_path, weights_only=True)
            self.exit_code = self.run.exit_code
            if self.run.ranks.is_first:
                print(on_screen(self.run.summary(), sys.stdout))

    def _evaluate(self, subcommand: str) -> None:
        tell_lightning(0)
        episodes = self._get(self.config, "episodes")
        wanted = self._get(self.config, "ckpt_path") or "last"
        source = find(str(wanted), self._root(), self._get(self.config, "name"), False, "--ckpt_path")
        for complaint in source.complaints:
            print(f"WARNING: {complaint}")
        prepare_evaluation(self.model, source, self._get(self.config_init, "warmstart").vecnormalize)
        if source.checkpoint is not None:
            source.checkpoint.release()
        self.model.evaluation_episodes = episodes
        getattr(self.trainer, subcommand)(self.model, dataloaders=range(1), verbose=False)
        result = self.model.evaluation
        assert result is not None
        print(f"checkpoint: {source.path}\n" + "\n".join(evaluation_lines(self.model, result)))
        print(f"wrote {write_result(source.path, self.model, result)}")
