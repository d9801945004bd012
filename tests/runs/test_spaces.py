"""Whatever spaces an environment has: it trains, resumes in mid-episode exactly, and only gets actions of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from lit_rl import PPO, CheckpointConfig, EnvConfig, begin
from lit_rl.state.plain import first_difference
from tests.helpers import envs
from tests.helpers.cli import checkpoints, parts

FLOATS = (np.float16, np.float32, np.float64)
WHOLE = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Space[Any]:
    dtype, shape = draw(st.sampled_from((*FLOATS, *WHOLE, np.bool_))), draw(SHAPES)
    if dtype is np.bool_:
        return spaces.Box(0, 1, shape, dtype)
    low = draw(st.integers(0 if np.dtype(dtype).kind == "u" else -9, 3))
    return spaces.Box(low, low + draw(st.integers(1, 100)), shape, dtype)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.Space[Any]:
    shape, dtype = draw(SHAPES), draw(st.sampled_from((np.int64, np.int32, np.int8)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    start = rng.integers(-3, 4, shape) if draw(st.booleans()) else None
    return spaces.MultiDiscrete(rng.integers(1, 5, shape), dtype=dtype, start=start)


discretes = st.builds(
    lambda n, start, dtype: spaces.Discrete(n, start=start, dtype=dtype),
    st.integers(1, 5), st.integers(-5, 5), st.sampled_from((np.int64, np.int32, np.int8)),
)  # fmt: skip
multi_binaries = st.one_of(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=3)).map(
    spaces.MultiBinary
)
flat = st.one_of(boxes(), discretes, multi_discretes(), multi_binaries)
keys = st.one_of(st.text(max_size=4), st.sampled_from(["keys", "a.b", "", "training", "a/b"]), st.integers(0, 3))
dicts = st.dictionaries(
    keys, st.one_of(flat, st.dictionaries(st.text("ab.", max_size=3), flat, min_size=1, max_size=2).map(spaces.Dict)),
    min_size=1, max_size=3,
).filter(lambda parts: "/" not in "".join(map(str, parts))).map(spaces.Dict)  # fmt: skip


def trained(root: Path, observation: spaces.Space[Any], *segments: dict[str, Any]) -> dict[str, Any]:
    """The state after a run of two iterations in these segments."""
    for segment in segments:
        module = PPO(
            env=EnvConfig(class_path=envs.PATH + "Sampled", kwargs={"spaces_of": "these"}, n_envs=2, backend="sync"),
            policy="MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy",
            policy_kwargs={"net_arch": [4]},
            n_steps=5,  # of episodes of 7
            batch_size=5,
            n_epochs=1,
            total_timesteps=20,
        )
        run = begin(module, root=root, checkpoint=CheckpointConfig(every_timesteps=None), **segment)
        assert run is not None
        trainer = Trainer(
            callbacks=run.callbacks, logger=False, max_epochs=-1, enable_progress_bar=False, accelerator="cpu",
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        with run:
            trainer.fit(module, ckpt_path=run.ckpt_path, weights_only=True)
        assert not module.play.restarted
    return parts(checkpoints(root / "run" / "version_0")[-1])


@pytest.mark.filterwarnings("ignore")
@settings(
    max_examples=25, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(observation=st.one_of(flat, dicts), action=flat)
def test_any_spaces_train_and_resume_exactly(observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
    envs.Sampled.SPACES["these"] = (observation, action)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        straight = trained(Path(one), observation, {})
        resumed = trained(Path(two), observation, {"pause_at": 10}, {"mode": "resume"})
    assert straight.keys() == resumed.keys()
    for name in straight.keys() - {"clock"}:
        assert first_difference(straight[name], resumed[name], name) is None
