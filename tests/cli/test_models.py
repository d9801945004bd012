"""What is read of a class in its file is what an import gives; where it cannot be read, it is imported."""

from __future__ import annotations

import inspect
import typing
from pathlib import Path
from typing import Any

import pytest

from lit_rl import algorithms
from lit_rl.cli import models, trainer_block
from lit_rl.cli.source import Unreadable, read, source_of
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import union_members
from lit_rl.state.parts import union

ODD = """
from lit_rl.algorithms.ppo import PPO


class Mixin:
    pass


class Odd(Mixin, PPO):
    LIMITS = {"n_steps": PPO.LIMITS["n_epochs"]}
"""
NAMES = ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")


@pytest.fixture
def nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: Any) -> Any:
        raise AssertionError("imported, and not read")

    monkeypatch.setattr(models, "model_class", refused)
    monkeypatch.setattr(trainer_block, "_imported_arguments", refused)


@pytest.mark.usefixtures("nothing_is_imported")
@pytest.mark.parametrize("name", NAMES)
def test_settings_of_an_algorithm(name: str) -> None:
    settings, cls = models.model_settings(name), algorithms.algorithms()[name]
    imported = models._of(cls)
    assert settings.parameters == imported.parameters
    assert list(settings.parameters) == list(imported.parameters), "in their order, which hints go by"
    assert settings.limits == imported.limits != {}
    assert list(settings.policies) == list(union(cls, "POLICIES"))
    assert list(settings.policy_arguments()) == list(imported.policy_arguments())
    assert "net_arch" in settings.policy_arguments()


@pytest.mark.usefixtures("nothing_is_imported")
def test_which_algorithms_there_are() -> None:
    named = [each.name for each in models._classes() if not each.is_open(algorithms.NEEDED)]
    assert named == list(algorithms.algorithms())
    assert len(models.every_model()) == len(named)


@pytest.mark.usefixtures("nothing_is_imported")
def test_arguments_of_the_trainer() -> None:
    from lightning.pytorch import Trainer

    hints = typing.get_type_hints(Trainer.__init__)
    names = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    arguments = trainer_block.trainer_arguments()
    assert list(arguments) == names
    for name in names:
        assert _plain(arguments[name]) == _plain(hints[name]), name
        assert len(union_members(arguments[name])) == len(union_members(hints[name])), name


def _plain(hint: Any) -> set[Any]:
    """The members of a type that values are checked against; typing gives equal unions in the order it met first."""
    return {each for each in union_members(hint) if (typing.get_origin(each) or each) in trainer_block.PLAIN}


def test_an_algorithm_that_cannot_be_read_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    monkeypatch.setattr(algorithms, "__path__", [*algorithms.__path__, str(tmp_path)])
    assert models.model_settings("Odd").parameters == models.model_settings("PPO").parameters
    with pytest.raises(ConfigError, match=r"there are A2C, .*, MaskablePPO, Odd, PPO, .*, TRPO\. Did you mean 'Odd'\?"):
        models.model_settings("Odt")


def test_what_a_file_does_not_say_plainly(tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text("import os\n\nA = B = 3\nC = A + 1\nD = os.sep\nE = open\nfrom nowhere_at_all import F\n")
    source = read("some", path)
    for name in ("C", "D", "F"):
        with pytest.raises(Unreadable):
            source.value_of(name)
    assert source.value_of("E") is open
    with pytest.raises(Unreadable):
        source_of("nowhere_at_all")
