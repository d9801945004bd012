"""Settings from Python: plain values alone, ranges of an outsider's algorithm, and names of classes in checkpoints."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from lit_rl import PPO, EnvConfig, EvalConfig, begin
from lit_rl.errors import ConfigError
from lit_rl.ops.limits import above
from lit_rl.run.drift import changes
from lit_rl.training.settings import refuse_foreign_classes, to_plain_settings
from tests.helpers.outsider import TinyDDPG

TAKER = "tests.helpers.makings.Taker"


def module(**settings: Any) -> PPO:
    settings = {"env": EnvConfig(id="CartPole-v1"), "n_steps": 8, "batch_size": 8, **settings}
    return PPO(**settings)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({0.5: 1}, "env.kwargs.a: key 0.5 is a float"),
        ({1, 2}, "env.kwargs.a: {1, 2} is a set"),
        (len, "env.kwargs.a: <built-in function len> is a builtin_function_or_method"),
        (b"x", "env.kwargs.a: b'x' is a bytes"),
        ([1, 2j], r"env.kwargs.a[1]: 2j is a complex"),
        (datetime.date(2026, 1, 1), "env.kwargs.a: datetime.date(2026, 1, 1) is a date"),
        ({"deep": [object]}, None),
        (Path("x"), "is a PosixPath"),
        (iter([]), "is a list_iterator"),
    ],
)
def test_what_no_checkpoint_can_hold(value: Any, text: str | None) -> None:
    env = EnvConfig(class_path=TAKER, kwargs={"a": value})
    if text is None:
        assert module(env=env).settings()["env"]["kwargs"] == {"a": {"deep": ["builtins.object"]}}
        return
    with pytest.raises(ConfigError) as raised:
        module(env=env)
    assert text in str(raised.value)
    assert "which no checkpoint can hold" in str(raised.value)


def test_numbers_and_arrays_of_numpy_are_numbers_and_lists() -> None:
    kwargs = {"a": np.float32(0.5), "b": np.arange(3), "c": {np.int64(3): np.bool_(True)}}
    plain = module(env=EnvConfig(class_path=TAKER, kwargs=kwargs), n_steps=np.int64(8)).settings()
    assert plain["env"]["kwargs"] == {"a": 0.5, "b": [0, 1, 2], "c": {3: True}}
    assert type(plain["n_steps"]) is int


def test_a_setting_that_holds_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ConfigError, match="a setting cannot hold itself"):
        to_plain_settings({"policy_kwargs": loop})


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"n_steps": "8"}, "model.n_steps: expected a whole number, got '8'. Write it without quotes."),
        ({"seed": -1}, "seed_everything is -1; it must be from 0 to 4294967295."),
        ({"total_timesteps": 0}, "total_timesteps is 0; it must be at least 1."),
        ({"gamma": math.nan}, "model.gamma is nan; it must be from 0 to 1."),
        ({"clip_range": True}, "model.clip_range: true is neither a number"),
        ({"env": 3}, "env: expected keys and values, got 3."),
        ({"evaluation": {"evry": 3}}, "eval: unknown key 'evry'. Did you mean 'every'?"),
    ],
)
def test_settings_from_python_are_checked_alike(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        module(**settings)
    assert str(raised.value).startswith(text)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"mode": "resum"}, "mode: 'resum' is not one of fresh, resume, warmstart. Did you mean 'resume'?"),
        ({"name": "a/b"}, "name: 'a/b' holds a slash"),
        ({"pause_at": 0}, "pause_at is 0; it must be at least 1"),
        ({"requeue": "yes"}, "requeue: expected true or false, got 'yes'."),
    ],
)
def test_begin_checks_what_it_is_given(tmp_path: Path, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        begin(module(), root=tmp_path, **arguments)
    assert str(raised.value).startswith(text)
    assert not list(tmp_path.iterdir())


def test_a_choice_from_python_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"eval\.level: 'lsat' is not one of .*\. Did you mean 'last'"):
        EvalConfig(level="lsat")  # type: ignore[arg-type]


class Limited(TinyDDPG):
    """An outsider's algorithm with a range of its own."""

    LIMITS = {"noise": above(0)}  # noqa: RUF012


def test_an_algorithm_of_ones_own_has_limits_of_its_own() -> None:
    with pytest.raises(ConfigError, match=r"model\.noise is -0\.1; it must be above 0\."):
        Limited(EnvConfig(id="Pendulum-v1"), noise=-0.1)
    with pytest.raises(ConfigError, match=r"model\.gamma is 2\.0; it must be from 0 to 1\."):
        Limited(EnvConfig(id="Pendulum-v1"), gamma=2.0)
    TinyDDPG(EnvConfig(id="Pendulum-v1"), noise=-0.1)


def test_nan_is_no_change_and_true_is_not_1() -> None:
    old = {"env": {"kwargs": {"a": math.nan, "b": [math.nan, 1], "c": 1}}}
    assert changes(old, {"env": {"kwargs": {"a": math.nan, "b": [math.nan, 1.0], "c": 1}}}) == []
    found = changes(old, {"env": {"kwargs": {"a": math.nan, "b": [math.nan, 1], "c": True}}})
    assert [change.key for change in found] == ["env.kwargs.c"]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"features_extractor_class": "evil.Extractor"},
        {"features_extractor_kwargs": {"activation_fn": "evil.run"}},
        {"features_extractor_kwargs": {"layers": [{"block": "os.system"}]}},
        {"optimizer_kwargs": {"inner_class": "evil:Optimizer"}},
    ],
)
def test_no_name_in_a_checkpoint_is_imported_at_any_depth(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="the checkpoint names the class"):
        refuse_foreign_classes({"policy_kwargs": kwargs}, {})
    refuse_foreign_classes({"policy_kwargs": kwargs}, {"policy_kwargs": {}})


def test_classes_are_saved_by_their_names_and_read_back() -> None:
    kwargs = {"activation_fn": nn.ReLU, "optimizer_kwargs": {"eps": 1e-5}, "net_arch": [8]}
    plain = module(policy_kwargs=kwargs).settings()
    assert plain["policy_kwargs"]["activation_fn"] == "torch.nn.modules.activation.ReLU"
    again = module(policy_kwargs=plain["policy_kwargs"])
    assert again.policy_kwargs["activation_fn"] is nn.ReLU
    assert changes(plain, again.settings()) == []
    refuse_foreign_classes(plain, {})
