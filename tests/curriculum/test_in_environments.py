"""An environment takes a level at its next true reset, says which one it is on, and comes back on it."""

import numpy as np
import pytest

from lit_rl.curriculum import Level, Mix, read_levels
from lit_rl.curriculum.assignment import on_level
from lit_rl.envs.config import EnvConfig
from lit_rl.envs.flight import SlotState
from lit_rl.envs.make import make_vector
from lit_rl.envs.slot import Slot
from lit_rl.errors import ConfigError
from tests.helpers.curricula import while_current
from tests.helpers.levels import PATH

LIMITS = (2, 4, 6)
RULE = {"metric": "timesteps", "threshold": 1}
ENV = EnvConfig(class_path=f"{PATH}Limited", n_envs=4)


def by(how, limits=LIMITS, **mix):
    """Levels of rising length, told in one of the three ways."""
    value = {
        "env_kwargs": lambda n: {"env_kwargs": {"limit": n}},
        "attributes": lambda n: {"attributes": {"limit": n}},
        "set_level": lambda n: {"set_level": n},
    }[how]
    return [Level(str(n), **value(n), mix=Mix(**mix) if n == limits[-1] else Mix()) for n in limits]


def play(slot, steps):
    """What is observed, and (level, length) of every finished episode."""
    seen, episodes = [], []
    for _ in range(steps):
        seen.append(slot.step(np.int64(0)).obs.tolist())
        episodes += [(episode.level, episode.length) for episode in slot.take_finished()]
    return seen, episodes


@pytest.mark.parametrize("how", ["env_kwargs", "attributes", "set_level"])
def test_a_level_is_taken_at_the_next_reset_and_stands_in_the_episode(how):
    slot = Slot(ENV, 0, 0, levels=by(how))
    assert slot.begin()[0] == 2
    slot.step(np.int64(0))
    slot.tasks.assignment = on_level(2)
    assert play(slot, 1)[1] == [(0, 2)], "the episode in progress stays on its level"
    assert play(slot, 6)[1] == [(2, 6)]
    slot.tasks.assignment = on_level(1)
    assert play(slot, 6)[1] == [(2, 6)]
    assert play(slot, 4)[1] == [(1, 4)]


@pytest.mark.parametrize("how", ["env_kwargs", "attributes", "set_level"])
@pytest.mark.parametrize("fresh_instance", [False, True])
def test_replay_brings_the_level_back_whatever_the_curriculum_says_now(how, fresh_instance):
    config = EnvConfig(class_path=f"{PATH}Limited", fresh_instance=fresh_instance)
    slot, other = (Slot(config, 0, 0, levels=by(how)) for _ in range(2))
    slot.tasks.assignment = on_level(1)
    slot.begin()
    play(slot, 9)
    slot.tasks.assignment = other.tasks.assignment = on_level(2)
    state = SlotState.from_plain(slot.capture().to_plain())
    assert state.level == "4"
    assert other.restore(state)[1]
    assert play(slot, 20) == play(other, 20)


def test_a_level_is_found_again_by_name_and_given_up_when_it_is_gone_or_another():
    slot = Slot(ENV, 0, 0, levels=by("set_level"))
    slot.tasks.assignment = on_level(1)
    slot.begin()
    play(slot, 1)
    state = slot.capture()
    assert Slot(ENV, 0, 0, levels=by("set_level", (1, 2, 4))).restore(state)[1]
    assert not Slot(ENV, 0, 0, levels=by("set_level", (2, 5))).restore(state)[1]
    assert not Slot(ENV, 0, 0, levels=[Level("4", set_level=5)]).restore(state)[1]
    assert not Slot(ENV, 0, 0).restore(state)[1]
    assert not Slot(ENV, 0, 0, levels=by("set_level")).restore(Slot(ENV, 0, 0).capture())[1]


@pytest.mark.parametrize("how", ["env_kwargs", "set_level"])
def test_with_lives_the_level_changes_with_the_game_and_not_with_a_life(how):
    config = EnvConfig(class_path=f"{PATH}Limited", wrappers=[{"class_path": f"{PATH}Lives"}])
    slot, other = (Slot(config, 0, 0, levels=by(how, (5, 3))) for _ in range(2))
    slot.begin()
    slot.tasks.assignment = other.tasks.assignment = on_level(1)
    seen, _ = play(slot, 3)
    assert [obs[0] for obs in seen] == [5, 5, 5]
    assert slot.episode == 1
    assert not slot.truly_reset
    assert other.restore(slot.capture())[1]
    assert play(slot, 8) == play(other, 8)
    assert play(slot, 3)[1] == [(1, 3)]


@pytest.mark.parametrize("how", ["env_kwargs", "attributes", "set_level"])
def test_a_wrapper_that_cuts_episodes_does_not_hold_a_level_back(how):
    config = EnvConfig(class_path=f"{PATH}Limited", wrappers=[{"class_path": f"{PATH}Cut", "init_args": {"after": 3}}])
    slot, other = (Slot(config, 0, 0, levels=by(how, (9, 8, 7))) for _ in range(2))
    slot.begin()
    slot.tasks.assignment = other.tasks.assignment = on_level(2)
    seen, _ = play(slot, 4)
    assert [obs[0] for obs in seen] == [9, 9, 7, 7]
    assert other.restore(slot.capture())[1]
    assert play(slot, 8) == play(other, 8)


def test_a_mix_sends_the_environments_it_keeps_back_through_the_levels():
    levels = by("set_level", share=0.5)
    slots = [Slot(ENV, 0, i, levels=levels) for i in range(2)]
    for slot in slots:
        slot.tasks.assignment = while_current(levels, 2)
        slot.begin()
    assert play(slots[0], 12)[1] == [(2, 6), (2, 6)]
    assert play(slots[1], 12)[1] == [(0, 2), (1, 4), (0, 2), (1, 4)]


@pytest.mark.workers
def test_worker_processes_play_the_same_levels():
    levels = by("env_kwargs", share=0.25)
    played = []
    for backend in ("sync", "async"):
        config = EnvConfig(class_path=f"{PATH}Limited", n_envs=4, backend=backend, n_workers=2)
        envs = make_vector(config, 7, range(4), levels)
        again = make_vector(config, 7, range(4), levels)
        rows = [np.array(envs.reset())]
        for step in range(30):
            if step % 9 == 4:
                envs.assign(while_current(levels, step % 3))
            result = envs.step(np.zeros(4, np.int64))
            rows.append(np.array(result.obs))
            rows += [np.array([e.env_index, e.level, e.length]) for e in result.episodes]
        again.assign(while_current(levels, step % 3))
        obs, lost = again.restore(envs.capture())
        assert lost == []
        assert np.array_equal(obs, rows[-1] if len(rows[-1]) == 4 else result.obs)
        envs.close()
        again.close()
        played.append(rows)
    assert all(np.array_equal(a, b) for a, b in zip(*played, strict=True))


@pytest.mark.parametrize(
    ("env", "levels", "message"),
    [
        (
            {"id": "CartPole-v1", "backend": "native"},
            [{"name": "a"}],
            "curriculum: env.backend: native .* use backend: sync or async",
        ),
        (
            {"class_path": f"{PATH}Limited"},
            [{"name": "a", "promote": RULE}, {"name": "b", "env_kwargs": {"limt": 3}}],
            r"curriculum.levels\[1\] 'b': env.kwargs: .*unexpected keyword argument 'limt'",
        ),
        (
            {"class_path": f"{PATH}Limited"},
            [{"name": "a", "promote": RULE}, {"name": "b", "env_kwargs": {"extra": 1}}],
            r"curriculum.levels\[1\] 'b': the environment's observation_space becomes .* same on all levels",
        ),
        (
            {"class_path": f"{PATH}Limited"},
            [{"name": "a", "attributes": {"limits": 3}}],
            "curriculum: level 'a' sets the attribute 'limits', .* Did you mean 'limit'",
        ),
    ],
)
def test_levels_that_cannot_be_played_are_found_before_the_run_begins(env, levels, message):
    with pytest.raises(ConfigError, match=message):
        make_vector(EnvConfig.from_plain(env), 0, range(1), read_levels(levels))
