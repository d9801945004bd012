"""What ranks compare before anything is written, with a second rank that is made up here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lit_rl import PPO
from lit_rl.errors import ConfigError, StorageError
from lit_rl.ranks.group import Ranks
from lit_rl.run.agree import agree, prove_common
from lit_rl.run.config import ResumeConfig


class Second(Ranks):
    """Rank 0 of two; the other one has what this one has, but for some of it."""

    def __init__(self, **other: Any) -> None:
        super().__init__(0, 2)
        self._other = other

    def gather(self, value: Any) -> list[Any]:
        if not isinstance(value, dict):
            return [value, value]
        return [value, {key: {**part, **self._other.get(key, {})} if isinstance(part, dict) else
                        self._other.get(key, part) for key, part in value.items()}]  # fmt: skip


def module(**other: Any) -> PPO:
    made = PPO(env={"id": "CartPole-v1"}, total_timesteps=128, seed=0)
    made.ranks = Second(**other)
    return made


ASKED = {"mode": "resume", "resume": ResumeConfig(), "name": "run"}


def test_equal_ranks_have_nothing_to_say() -> None:
    assert agree(module(), None, ASKED) == []


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({"settings": {"gamma": 0.5}}, "model.gamma is 0.99 on rank 0 and 0.5 on rank 1"),
        ({"settings": {"seed": 7}}, "seed_everything is 0 on rank 0 and 7 on rank 1"),
        ({"settings": {"env": {"id": "Other-v0"}}}, "env.id is CartPole-v1 on rank 0 and Other-v0 on rank 1"),
        ({"other": {"mode": "fresh"}}, "mode is resume on rank 0 and fresh on rank 1"),
        ({"other": {"resume": {"strict": True}}}, "resume.strict is False on rank 0 and True on rank 1"),
        ({"other": {"model.class_path": "A2C"}}, "model.class_path is PPO on rank 0 and A2C on rank 1"),
        ({"versions": {"torch": "1.0"}}, "and 1.0 on rank 1. Start all ranks with the same."),
    ],
)
def test_another_setting_is_named_with_the_rank_and_both_values(other: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as error:
        agree(module(**other), None, ASKED)
    assert text in str(error.value)
    assert error.value.agreed


def test_what_a_run_can_live_with_is_said() -> None:
    notes = agree(module(versions={"numpy": "1.0"}, cwd="/elsewhere"), None, ASKED)
    assert "and 1.0 on rank 1: numbers may differ" in notes[0]
    assert "rank 1 works in /elsewhere" in notes[1]


def test_looking_for_a_common_directory_leaves_nothing(tmp_path: Path) -> None:
    prove_common(Second(), tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write to"):
        prove_common(Second(), tmp_path / "file" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
