"""Every setting with its type, default, range and meaning: what help, schema, completion and `init` are made from.

All of it is read from the records, the algorithms' files and Lightning's Trainer; nothing is imported that takes
seconds.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lit_rl.cli.blocks import BLOCKS, LIMITS, SCALARS
from lit_rl.cli.models import ModelSettings
from lit_rl.cli.source import Unreadable, source_of
from lit_rl.cli.trainer_block import TRAINER_DEFAULTS, trainer_arguments
from lit_rl.ops.limits import Limit
from lit_rl.training.refused import REFUSED

MISSING = dataclasses.MISSING
"""The default of what has to be given."""


@dataclass(frozen=True)
class Setting:
    """One key of a run's YAML.

    Args:
        key: its full name (`env.normalize.gamma`); a model's lie below `model`.
        hint: its type.
        default: what it is where nobody gives it; `MISSING` where somebody has to, or where only an import tells.
        help: what it means.
        limit: its range, if it is a number.
        items: what it holds, where it is a list and its type does not say it.
    """

    key: str
    hint: Any
    default: Any
    help: str
    limit: Limit | None = None
    items: Any = None

    @property
    def name(self) -> str:
        """The last part of its key."""
        return self.key.rpartition(".")[2]

    @property
    def said(self) -> str:
        """What it means, and its range."""
        said = self.help.strip()
        if self.limit is None:
            return said
        return f"{said.rstrip('.')}; {self.limit}." if said else f"{self.limit}."


_TOP = {
    "mode": ("fresh", "How the run begins."),
    "name": ("run", "Runs lie in lightning_logs/<name>/version_N."),
    "total_timesteps": (1_000_000, "The run ends at the first iteration boundary at or past this timestep."),
    "seed_everything": (0, "The seed of everything that is drawn at random; a run is repeated with it."),
    "pause_at": (
        None,
        "End this segment at the first iteration boundary at or past this timestep, with exit code 75.",
    ),
    "requeue": (
        False,
        "Go on with the newest run of this name if it has begun; mode says how it begins if it has not.",
    ),
    "view": (
        "bar",
        "What a terminal shows while the run goes: `levels` shows, above the bar, how many environments are on which "
        "level of the curriculum, and the success of each.",
    ),
    "ckpt_path": (None, "Go on from this checkpoint or run, whatever mode says."),
}
TOP = {name: Setting(name, SCALARS[name], *_TOP[name], LIMITS.get(name)) for name in SCALARS}
"""Top-level keys that hold a value."""
EPISODES = Setting("episodes", int, 20, "How many episodes to play.", LIMITS["episodes"])
"""Of `test` and `validate` alone."""

_EVALUATE = (
    "Evaluate a checkpoint over some episodes, as eval.deterministic and eval.level say, and write the result beside "
    "it: `lit-rl test RUN [--which best|last]` for a run directory, a checkpoint or a .ckpt, which brings its "
    "configuration; or `--config FILE [--ckpt_path PATH]`, for the newest checkpoint of that run or the one named."
)
DESCRIPTIONS = {
    "fit": "Train: begin a run, go on with one, or begin one from trained weights. With --seeds 1,2,3 the same file is "
    "trained over seeds, one after the other, into the runs NAME_seed_1, NAME_seed_2, NAME_seed_3.",
    "validate": f"The same as test, under Lightning's other name. {_EVALUATE}",
    "test": _EVALUATE,
}


def block_settings(block: str) -> list[Setting]:
    """The settings of a block, those of a record within it among them."""
    return [*_of_record(BLOCKS[block], block)]


def record_settings(record: Any, key: str) -> list[Setting]:
    """The fields of a record themselves, which lies at `key`."""
    hints, helps = typing.get_type_hints(record), meanings(record.__doc__ or "")
    limits, items = getattr(record, "LIMITS", {}), getattr(record, "ITEMS", {})
    return [
        Setting(
            f"{key}.{each.name}",
            hints[each.name],
            _default(each),
            helps.get(each.name, ""),
            limits.get(each.name),
            items.get(each.name),
        )
        for each in dataclasses.fields(record)
    ]


def _of_record(record: Any, key: str) -> Iterator[Setting]:
    for each in record_settings(record, key):
        if dataclasses.is_dataclass(each.hint):
            yield from _of_record(each.hint, each.key)
        else:
            yield each


def _default(each: Any) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def settings_of(model: ModelSettings) -> list[Setting]:
    """The settings of an algorithm."""
    helps = meanings(model.doc)
    return [
        Setting(f"model.{name}", hint, model.defaults.get(name, MISSING), helps.get(name, ""), model.limits.get(name))
        for name, hint in model.parameters.items()
    ]


def trainer_settings() -> list[Setting]:
    """The options of Lightning's Trainer that mean something here."""
    hints, defaults, doc = trainer_arguments(), dict[str, Any](), ""
    try:
        trainer = source_of("lightning.pytorch.trainer.trainer").find_class("Trainer")
        if trainer is not None:
            defaults, doc = trainer.defaults(), trainer.constructor_doc()
    except Unreadable:  # they have no meanings then; their names and types have been imported
        pass
    defaults = {**defaults, **TRAINER_DEFAULTS}
    helps = {name: _plain(text) for name, text in meanings(doc).items()}
    return [
        Setting(f"trainer.{name}", hints[name], defaults.get(name, MISSING), helps.get(name, ""))
        for name in hints
        if name not in REFUSED
    ]


def _plain(text: str) -> str:
    """Lightning's text without Sphinx's marks and without its default, which may be another here."""
    text = re.sub(r":\w+:`[~.]?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"\s*Default(?:s to)?: ``?[^`]*``?\.?", "", text).replace('`"', "`").replace('"`', "`").strip()


def meanings(doc: str) -> Mapping[str, str]:
    """What a docstring says of each argument, in a line; where it has several lists of them, the last counts."""
    import docstring_parser

    found: dict[str, str] = {}
    for part in re.split(r"^(?= *Args:$)", doc, flags=re.MULTILINE):
        parsed = docstring_parser.parse(f"Arguments.\n\n{part}", docstring_parser.DocstringStyle.GOOGLE)
        found |= {p.arg_name: " ".join((p.description or "").replace("``", "`").split()) for p in parsed.params}
    return found
