"""Promotion, demotion, counting, mixing and exact continuation."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_rl.curriculum import LevelChange
from lit_rl.data.episode import Episode
from lit_rl.errors import ConfigError
from tests.helpers.curricula import chosen, listed

UP = {"metric": "success_rate", "threshold": 0.75, "window": 4}
DOWN = {"metric": "success_rate", "below": 0.5, "window": 4}


def three(**middle):
    return [
        {"name": "near", "promote": UP},
        {"name": "far", "promote": UP, **middle},
        {"name": "farther", "demote": DOWN},
    ]


def play(curriculum, successes, level=None, timesteps=0):
    """One iteration of episodes on the current level (or on `level`), 10 timesteps each."""
    level = curriculum.level if level is None else level
    outcomes = [Episode(i, 1.0, 10, bool(s), level) for i, s in enumerate(successes)]
    curriculum.record(outcomes, timesteps=10 * len(outcomes))
    return curriculum.advance(timesteps)


def test_promotion_tells_what_happened():
    curriculum = listed(three())
    assert play(curriculum, [1, 1, 0], timesteps=30) is None
    change = play(curriculum, [1], timesteps=40)
    reason = "success_rate 0.75, met_in_a_row 1, 4 episodes and 40 timesteps at the level"
    assert change == LevelChange(40, 0, 1, "near", "far", reason)
    assert str(change) == f"curriculum: level 0 'near' -> 1 'far' at timestep 40 ({reason})"
    assert curriculum.history == [change]


def test_episodes_begun_on_the_old_level_do_not_count():
    curriculum = listed(three())
    play(curriculum, [1] * 4)
    assert play(curriculum, [1] * 4, level=0) is None
    assert (curriculum.episodes_at_level, curriculum.timesteps_at_level) == (0, 40)
    assert play(curriculum, [1] * 4, level=1) is not None


def test_one_level_an_iteration_and_the_last_is_final():
    curriculum = listed(three())
    for expected in (1, 2, 2):
        play(curriculum, [1] * 40)
        assert curriculum.level == expected


def test_demotion_goes_back_and_begins_anew():
    curriculum = listed(three())
    play(curriculum, [1] * 4)
    play(curriculum, [1] * 4)
    assert play(curriculum, [1, 1, 0, 0]) is None, "0.5 is not below 0.5"
    change = play(curriculum, [0])
    assert (change.old, change.new) == (2, 1)
    assert play(curriculum, [1] * 3) is None, "the window of the level's first visit is forgotten"
    assert play(curriculum, [1]).new == 2


def test_a_rule_without_demotion_stays():
    curriculum = listed(three())
    play(curriculum, [1] * 4)
    play(curriculum, [0] * 40)
    assert curriculum.level == 1
    curriculum = listed(three(demote=DOWN))
    play(curriculum, [1] * 4)
    play(curriculum, [0] * 40)
    assert curriculum.level == 0


def test_promotion_wins_over_demotion():
    curriculum = listed(three(demote={"metric": "timesteps", "threshold": 1}))
    play(curriculum, [1] * 4)
    assert play(curriculum, [1] * 4).new == 2


def test_timesteps_at_the_level_begin_at_the_change():
    rule = {"metric": "timesteps", "threshold": 100}
    curriculum = listed([{"name": n, "promote": rule} for n in "ab"] + [{"name": "c"}])
    levels = []
    for i in range(1, 9):
        curriculum.record([], timesteps=40)
        curriculum.advance(40 * i)
        levels.append(curriculum.level)
    assert levels == [0, 0, 1, 1, 1, 2, 2, 2]
    assert [change.timesteps for change in curriculum.history] == [120, 240]


def test_evaluations_of_the_old_level_do_not_count():
    rule = {"metric": "eval/success_rate", "threshold": 1.0}
    curriculum = listed([{"name": n, "promote": rule} for n in "ab"] + [{"name": "c"}])
    assert curriculum.needs_evaluation
    assert not listed(three()).needs_evaluation
    curriculum.record_evaluation({"eval/success_rate": 1.0})
    assert curriculum.advance(0).new == 1
    assert curriculum.advance(0) is None
    curriculum.record_evaluation({"eval/success_rate": 1.0})
    assert curriculum.advance(0).new == 2


def test_metrics():
    curriculum = listed(three(demote=DOWN))
    play(curriculum, [1] * 4)
    play(curriculum, [1, 0])
    assert curriculum.metrics() == {
        "level": 1.0,
        "timesteps": 20.0,
        "episodes": 2.0,
        "success_rate": 0.5,
        "met_in_a_row": 0.0,
        "demote_success_rate": 0.5,
        "demote_met_in_a_row": 0.0,
    }


def at_level(level, **mix):
    rule = {"metric": "timesteps", "threshold": 1}
    levels = [{"name": str(i), "promote": rule} for i in range(level)] + [{"name": "last", "mix": mix}]
    curriculum = listed(levels)
    curriculum.start_at(level)
    return curriculum


def test_mix_keeps_a_share_of_the_environments_back():
    assert chosen(at_level(3), [0] * 8) == [3] * 8
    assert chosen(at_level(3, share=0.25, spread="previous"), [0] * 8) == [3, 3, 3, 2, 3, 3, 3, 2]
    assert chosen(at_level(3, share=0.5, spread="previous"), [0] * 4) == [3, 2, 3, 2]
    assert chosen(at_level(3, share=0.25), [0] * 8) == [3, 3, 3, 0, 3, 3, 3, 1]
    assert chosen(at_level(3, share=0.25), [1] * 8) == [3, 3, 3, 1, 3, 3, 3, 2]


@given(share=st.integers(1, 99), n_envs=st.integers(1, 300), episode=st.integers(0, 10**6))
def test_mix_gives_the_share_whatever_the_number_of_environments(share, n_envs, episode):
    curriculum = at_level(2, share=share / 100)
    assigned = chosen(curriculum, [episode] * n_envs)
    assert sum(level < 2 for level in assigned) == n_envs * share // 100
    half = n_envs // 2
    ranks = [
        [curriculum.choice().level(i, episode, 0.0)[0] for i in part] for part in (range(half), range(half, n_envs))
    ]
    assert [*ranks[0], *ranks[1]] == assigned


def test_a_mix_of_less_than_one_environment_is_refused():
    at_level(1, share=0.25).check_envs(4)
    with pytest.raises(ConfigError, match=r"levels\[1\].mix.share: 0.1 of 4 .* at least 0.25, or 10 environments"):
        at_level(1, share=0.1).check_envs(4)


def test_a_warmstart_may_begin_at_a_level():
    curriculum = listed(three())
    play(curriculum, [1] * 3)
    curriculum.start_at(1)
    assert (curriculum.level, curriculum.episodes_at_level, curriculum.timesteps_at_level) == (1, 0, 0)
    with pytest.raises(ConfigError, match=r"warmstart\.level: is 3, and levels go from 0 to 2"):
        curriculum.start_at(3)


def test_a_changed_list_keeps_the_level_by_name_and_counts_a_changed_rule_anew():
    curriculum = listed(three())
    play(curriculum, [1] * 4)
    play(curriculum, [1] * 3)
    state = curriculum.state_dict()

    longer = listed([{"name": "first", "promote": UP}, *three()])
    longer.load_state_dict(state)
    assert (longer.level, longer.episodes_at_level) == (2, 3)
    assert play(longer, [1]) is not None

    changed = listed(three(promote={**UP, "threshold": 0.7}))
    changed.load_state_dict(state)
    assert (changed.level, changed.episodes_at_level) == (1, 3)
    assert play(changed, [1]) is None

    levels = three()
    levels[1]["name"] = "fra"
    with pytest.raises(ConfigError, match=r"at level 'far', which this list lacks; .* Did you mean 'fra'"):
        listed(levels).load_state_dict(state)


rules = st.one_of(
    st.fixed_dictionaries(
        {
            "metric": st.sampled_from(["success_rate", "ep_rew_mean", "ep_len_mean"]),
            "threshold": st.sampled_from([0.25, 0.5, 0.75]),
            "window": st.integers(1, 6),
            "min_episodes": st.integers(1, 8),
            "patience": st.integers(1, 3),
        }
    ),
    st.fixed_dictionaries(
        {"metric": st.just("success_rate"), "below": st.sampled_from([0.3, 0.6]), "window": st.integers(1, 6)}
    ),
    st.fixed_dictionaries(
        {"metric": st.just("eval/mean_reward"), "threshold": st.just(0.5), "patience": st.integers(1, 3)}
    ),
    st.fixed_dictionaries({"metric": st.just("timesteps"), "threshold": st.integers(1, 40)}),
)


@st.composite
def curricula(draw):
    n = draw(st.integers(2, 5))
    levels = [{"name": f"level {i}"} for i in range(n)]
    for i, level in enumerate(levels):
        if i < n - 1:
            level["promote"] = draw(rules)
        if i > 0:
            level["demote"] = draw(st.none() | rules)
            level["mix"] = {"share": draw(st.sampled_from([0.0, 0.25, 0.5])), "spread": "even"}
    return levels


episodes = st.tuples(st.integers(-1, 0), st.floats(-1, 1, width=32), st.integers(1, 9), st.booleans())
iterations = st.tuples(st.lists(episodes, max_size=6), st.none() | st.floats(0, 1), st.booleans())


@settings(max_examples=150, deadline=None)
@given(levels=curricula(), stream=st.lists(iterations, min_size=1, max_size=25))
def test_saving_and_loading_anywhere_changes_nothing(levels, stream):
    straight, resumed = listed(levels), listed(levels)
    for i, (played, evaluation, stop) in enumerate(stream):
        if stop:
            saved = json.loads(json.dumps(resumed.state_dict()))
            resumed = listed(levels)
            resumed.load_state_dict(saved)
            assert resumed.state_dict() == saved
        changes = []
        for curriculum in (straight, resumed):
            outcomes = [
                Episode(k, ret, length, success, curriculum.level + offset)
                for k, (offset, ret, length, success) in enumerate(played)
            ]
            curriculum.record(outcomes, timesteps=8)
            if evaluation is not None:
                curriculum.record_evaluation({"eval/mean_reward": evaluation})
            changes.append(curriculum.advance(8 * i))
        assert changes[0] == changes[1]
        assert straight.metrics() == resumed.metrics()
        assert chosen(straight, range(8)) == chosen(resumed, range(8))
    assert straight.state_dict() == resumed.state_dict()
