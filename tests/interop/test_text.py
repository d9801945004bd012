"""Readable text becomes plain values; nothing is evaluated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_rl.errors import ConfigError
from lit_rl.interop.text import SpaceText, class_name, is_known_class, keywords, schedule, space


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "dict(net_arch=[256, 256], activation_fn=nn.ReLU)",
            {"net_arch": [256, 256], "activation_fn": "torch.nn.ReLU"},
        ),
        ("dict(log_std_init=-2, ortho_init=False)", {"log_std_init": -2, "ortho_init": False}),
        ("{'norm_obs': True, 'norm_reward': False}", {"norm_obs": True, "norm_reward": False}),
        (
            "dict(\n   net_arch=[dict(pi=[64], vf=(32, 16))],\n   )",
            {"net_arch": [{"pi": [64], "vf": [32, 16]}]},
        ),
        ("dict(features_extractor_class=my.Net)", {"features_extractor_class": "my.Net"}),
        ("dict()", {}),
    ],
)
def test_keywords(text: str, value: object) -> None:
    assert keywords(text, "policy_kwargs") == value


@pytest.mark.parametrize(
    "text",
    [
        "dict(a=open('x'))",
        "__import__('os').system('true')",
        "dict(**{'a': 1})",
        "dict([('a', 1)])",
        "dict(a=1, a=2)",
        "{'a': 1, 'a': 2}",
        "{1: 2}",
        "{**x}",
        "dict(net_arch=nn.ReLU)",
        "dict(activation_fn=nn.ReLU())",
        "dict(a=[x for x in y])",
        "dict(a=1 + 1)",
        "dict(a=10**10**10)",
        "dict(a=b'x')",
        "dict(a=lambda: 1)",
        "[1, 2]",
        "dict(",
        "dict(a='" + "x" * 70_000 + "')",
        "[" * 5000,
        "-" * 5000 + "1",
    ],
)
def test_text_that_is_code_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="policy_kwargs") as caught:
        keywords(text, "policy_kwargs")
    assert len(str(caught.value)) < 400


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    try:
        assert isinstance(keywords(text, "x"), dict)
    except ConfigError as error:
        assert str(error).startswith("x")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lin_3e-4", "lin_3e-4"),
        ("3e-4", 3e-4),
        ("ConstantSchedule(val=0.2)", 0.2),
        ("FloatSchedule(ConstantSchedule(val=1e-05))", 1e-5),
        ("LinearSchedule(start=0.1, end=0.0, end_fraction=1.0)", "lin_0.1"),
        (
            "LinearSchedule(start=0.1, end=0.01, end_fraction=1.0)",
            {"start": 0.1, "end": 0.01, "shape": "linear", "fraction": 1.0},
        ),
        (
            "LinearSchedule(start=0.1, end=0.0, end_fraction=0.5)",
            {"start": 0.1, "end": 0.0, "shape": "linear", "fraction": 0.5},
        ),
        ("LinearSchedule(start=0.1, end=0.0, end_fraction=1.5)", None),
        ("SimpleLinearSchedule(initial_value=0.001)", "lin_0.001"),
        ("<function <lambda> at 0x7f>", None),
        ("lin_x", None),
        ("cos_0.1", None),
        ("nan", None),
    ],
)
def test_schedules(text: str, value: object) -> None:
    assert schedule(text) == value


@pytest.mark.parametrize(
    ("text", "name", "known"),
    [
        ("<class 'torch.nn.modules.activation.ReLU'>", "torch.nn.ReLU", True),
        ("<class 'torch.optim.rmsprop.RMSprop'>", "torch.optim.RMSprop", True),
        ("th.nn.ELU", "torch.nn.ELU", True),
        (
            "<class 'stable_baselines3.common.torch_layers.NatureCNN'>",
            "stable_baselines3.common.torch_layers.NatureCNN",
            True,
        ),
        ("<class '__main__.Net'>", "__main__.Net", False),
        ("os.system", "os.system", False),
    ],
)
def test_class_names(text: str, name: str, known: bool) -> None:
    assert class_name(text) == name
    assert is_known_class(name) is known


@pytest.mark.parametrize("text", ["<class 'a b'>", "f()", "", "1a", "<class 'x'> ;", "a..b"])
def test_text_that_is_no_class(text: str) -> None:
    assert class_name(text) is None


def test_spaces() -> None:
    old = {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": 2, "shape": [], "dtype": "int64"}
    assert space(old) == SpaceText("Discrete", (), "int64", n=2)
    new = {
        ":type:": "<class 'gymnasium.spaces.multi_discrete.MultiDiscrete'>",
        "nvec": "[2 3]",
        "_shape": [2],
    }
    assert space(new) == SpaceText("MultiDiscrete", (2,), nvec=(2, 3))
    assert str(space(new)) == "MultiDiscrete(nvec=(2, 3), shape=(2,))"
    for entry in (None, {}, {":type:": "<class 'os.system'>"}, "text"):
        assert space(entry) is None
