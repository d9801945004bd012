"""What holds for every strategy of the folder: how a file names it, and that its state is all there is."""

import json
import pickle
import random

import pytest

from lit_rl.curriculum.strategies.build import build_strategy, strategies
from lit_rl.curriculum.strategies.strategy import Strategy
from lit_rl.data.episode import Episode
from lit_rl.data.task import Task
from lit_rl.errors import ConfigError

NAMES = ("near", "middle", "far")
N_ENVS = 5
REQUIRED = {"weights": {"weights": [1, 2, 3]}}
OTHERS = [  # with options that keep more state than the defaults
    {"strategy": "ladder", "start": [0, 2], "up": {"metric": "success_rate", "threshold": 0.6, "window": 4,
                                                            "patience": 2}},
    {"strategy": "ladder", "up": {"all": [{"metric": "success_rate", "threshold": 0.5, "window": 2},
                                          {"metric": "ep_len_mean", "threshold": 4, "window": 3}]}},
    {"strategy": "progress", "random": 0.2, "success_at": 1.5},
    {"strategy": "learnability", "window": 3, "uniform": 0.0},
    {"strategy": "replay", "seeds": None, "alpha": 0.3, "prioritise": "proportional"},
    {"strategy": "replay", "seeds": 7, "staleness": 0.7, "fill": 0.5},
]  # fmt: skip
SPECS = [{"strategy": name, **REQUIRED.get(name, {})} for name in strategies()] + OTHERS


def begun(spec, run_seed=11, n_envs=N_ENVS):
    strategy = build_strategy(spec, f"curriculum.{strategies()[spec['strategy']].KEY}")
    strategy.begin(NAMES, n_envs, run_seed)
    return strategy


class Run:
    """Episodes that follow from the choices, as they do in a run, and from nothing else."""

    def __init__(self, strategy):
        self.strategy = strategy
        self.episode = [0] * N_ENVS

    def iteration(self, number):
        """One iteration, after which the strategy was told of its episodes."""
        draw, outcomes = random.Random(number), []
        for env in range(N_ENVS):
            for _ in range(draw.randrange(3)):
                level, seed = self.strategy.choice().level(env, self.episode[env], draw.random())
                self.episode[env] += 1
                success = draw.random() < (0.9, 0.5, 0.2)[level]
                outcomes.append(
                    Episode(env, 1.0 + success, draw.randrange(1, 9), success, level, False, Task(level, seed=seed),
                            draw.random())
                )  # fmt: skip
        self.strategy.record(outcomes)
        return self.strategy.choice(), self.strategy.metrics(), self.strategy.state_dict()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_state_is_all_there_is(spec):
    """Saved and loaded after any iteration, it goes on as if nothing had been."""
    straight = Run(begun(spec))
    seen = [straight.iteration(i) for i in range(20)]
    assert len({json.dumps(state) for _, _, state in seen}) > 10, "something must change"
    for cut in range(20):
        run = Run(begun(spec))
        for i in range(cut):
            run.iteration(i)
        state = json.loads(json.dumps(run.strategy.state_dict()))
        assert state == run.strategy.state_dict(), "plain values"
        used = begun(spec, run_seed=11)
        Run(used).iteration(99)  # loading leaves nothing of before
        used.load_state_dict(state)
        run.strategy = used
        assert [run.iteration(i) for i in range(cut, 20)] == seen[cut:]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_looking_changes_nothing(spec):
    quiet, watched = Run(begun(spec)), Run(begun(spec))
    for i in range(12):
        watched.strategy.metrics()
        watched.strategy.choice()
        watched.strategy.state_dict()
        watched.strategy.record([])
        assert quiet.iteration(i)[2] == watched.iteration(i)[2]
    assert quiet.strategy.choice() == watched.strategy.choice()


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_begin_begins_anew(spec):
    strategy, run = begun(spec), Run(begun(spec))
    fresh = (strategy.choice(), strategy.metrics(), strategy.state_dict())
    for i in range(5):
        run.iteration(i)
    run.strategy.begin(NAMES, N_ENVS, 11)
    assert (run.strategy.choice(), run.strategy.metrics(), run.strategy.state_dict()) == fresh


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_choices_travel_and_metrics_are_numbers(spec):
    run = Run(begun(spec))
    for i in range(8):
        choice, metrics, _ = run.iteration(i)
        assert pickle.loads(pickle.dumps(choice)) == choice
        assert all(type(value) is float for value in metrics.values())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_level_that_is_new_is_no_mistake_and_one_that_is_gone_is_left_out(spec):
    run = Run(begun(spec))
    for i in range(8):
        run.iteration(i)
    other = build_strategy(spec, f"curriculum.{run.strategy.KEY}")
    other.begin(("new", "far", "near"), N_ENVS, 11)
    other.load_state_dict(run.strategy.state_dict())
    assert {other.choice().level(env, 0, i / 100)[0] for env in range(N_ENVS) for i in range(100)} <= {0, 1, 2}
    assert "middle" not in json.dumps(other.state_dict())
    assert not any("middle" in name for name in other.metrics())


def test_the_folder_holds_them_all():
    assert {"ladder", "learnability", "progress", "replay", "uniform", "weights"} <= set(strategies())
    assert strategies()["replay"].WANTS_SCORES
    assert not strategies()["uniform"].WANTS_SCORES


class Always(Strategy):
    """A user's own, without the help of `Sampler`."""

    KEY = "schedule"

    def __init__(self, level):
        self.level = level


def test_word_mapping_and_class():
    assert build_strategy("learnability", "curriculum.sample").uniform == 0.5
    assert build_strategy({"strategy": "learnability", "uniform": 0.1}, "curriculum.sample").uniform == 0.1
    path = "lit_rl.curriculum.strategies.uniform.UniformSampler"
    own = build_strategy({"class_path": path, "init_args": {"window": 3}}, "curriculum.sample")
    assert own.window == 3
    assert build_strategy("ladder", "curriculum.schedule").KEY == "schedule"


UP = {"strategy": "ladder", "up": {"metric": "success_rate", "threshold": 1, "windw": 3}}


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        ("sample", "learnabilty", "sample: unknown 'learnabilty'; known are learnability, .*"
         " Did you mean 'learnability'?"),
        ("sample", 3, "sample: must be a word or a mapping, is 3; write one of learnability, progress,"),
        ("sample", {"strategie": "uniform"}, "sample.strategy: missing; .* Did you mean 'strategy'?"),
        ("sample", {"strategy": ["a"]}, "sample: unknown ['a']; known are"),
        ("sample", "ladder", "sample: 'ladder' stands under schedule; write schedule: ladder."),
        ("schedule", "uniform", "schedule: 'uniform' stands under sample; write sample: uniform."),
        ("schedule", "lader", "schedule: unknown 'lader'; known are list, ladder.* Did you mean 'ladder'?"),
        ("sample", {"strategy": "uniform", "windw": 3}, "sample.windw: not an option of uniform; .* mean 'window'?"),
        ("sample", {"strategy": "weights"}, "sample.weights: missing; it is a required option of weights"),
        ("sample", {"strategy": "weights", "weights": [0, 0]}, "sample.weights: all are 0"),
        ("sample", {"strategy": "weights", "weights": 3}, "sample.weights: must be a mapping from level to number"),
        ("sample", {"strategy": "weights", "weights": {"a": -1}}, "sample.weights.a is -1; it must be at least 0"),
        ("sample", {"strategy": "weights", "weights": [1, "2"]}, "sample.weights[1]: expected a number, got '2'"),
        ("sample", {"strategy": "learnability", "window": 0}, "sample.window: must be a whole number of at least 1"),
        ("sample", {"strategy": "learnability", "uniform": 1.5}, "sample.uniform is 1.5; it must be from 0 to 1"),
        ("sample", {"strategy": "learnability", "success_at": "x"}, "sample.success_at: expected a number, or null"),
        ("sample", {"strategy": "progress", "alpha": 0}, "sample.alpha is 0; it must be above 0 and at most 1"),
        ("sample", {"strategy": "progress", "theta": 1.0}, "sample.theta is 1.0; it must be above 0"),
        ("sample", {"strategy": "progress", "random": 1.0}, "sample.random is 1.0; it must be from 0"),
        ("sample", {"strategy": "progress", "random": {"a": 2}}, "sample.random.a is 2; it must be from 0"),
        ("sample", {"strategy": "replay", "seeds": 0}, "sample.seeds: must be a whole number of at least 1"),
        ("sample", {"strategy": "replay", "temperature": 0}, "sample.temperature is 0; it must be at least 0.01"),
        ("sample", {"strategy": "replay", "prioritise": "rnk"}, "sample.prioritise: 'rnk' is not one of rank, prop"),
        ("sample", {"strategy": "replay", "replay": "proportional"}, "sample.replay: .* proportionate"),
        ("sample", {"strategy": "replay", "replay": 2}, "sample.replay is 2; it must be from 0 to 1"),
        ("schedule", UP, "schedule.up.windw: not an option of a rule on success_rate; .* mean 'window'?"),
        ("schedule", {"strategy": "ladder", "up": None}, "schedule.up: must be a mapping, is None"),
        ("schedule", {"strategy": "ladder", "down": {"metric": "timesteps", "threshold": 5}},
         "schedule.down.metric: timesteps is of the whole run"),
        ("schedule", {"strategy": "ladder", "up": {"any": [{"metric": "eval/success_rate", "threshold": 1}]}},
         "schedule.up.metric: eval/success_rate is of the whole run"),
        ("schedule", {"strategy": "ladder", "start": [2, 1]}, "schedule.start: must be the first and the last level"),
        ("schedule", {"strategy": "ladder", "start": 2}, "schedule.start: expected a list, got 2"),
        ("sample", {"class_path": "nowhere.Sampler"}, "sample.class_path: cannot import 'nowhere.Sampler'"),
        ("sample", {"class_path": "fractions.Fraction"}, "sample.class_path: fractions.Fraction is no strategy; make "
         "it a subclass of lit_rl.curriculum.Strategy"),
        ("schedule", {"class_path": f"{__name__}.Always"}, "is an unfinished strategy; write its choice, load_state_"),
        ("schedule", {"class_path": "lit_rl.curriculum.strategies.uniform.UniformSampler"},
         "schedule.class_path: lit_rl.curriculum.strategies.uniform.UniformSampler stands under sample"),
        ("sample", {"class_path": "x.Y", "window": 3}, "sample.window: not known beside class_path; move it under"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key(key, spec, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("[", r"\[")) as error:
        build_strategy(spec, f"curriculum.{key}")
    assert str(error.value).startswith(f"curriculum.{key}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "spec", "message"),
    [
        ("sample", {"strategy": "weights", "weights": {"near": 1, "midle": 1}}, "weights: no level is called "
         "'midle'. Did you mean 'middle'?"),
        ("sample", {"strategy": "weights", "weights": {"near": 1, "far": 1}}, "weights.middle: missing; give"),
        ("sample", {"strategy": "weights", "weights": [1, 1]}, "weights: has 2 numbers, and there are 3 levels"),
        ("sample", {"strategy": "progress", "random": {"fra": 0}}, "random: no level is called 'fra'. Did you"),
        ("schedule", {"strategy": "ladder", "start": [0, 3]}, r"start: is \[0, 3\], and levels go from"),
    ],
)  # fmt: skip
def test_mistakes_about_levels_are_found_as_a_run_begins(key, spec, message):
    strategy = build_strategy(spec, f"curriculum.{key}")
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as error:
        strategy.begin(NAMES, 4, 7)
    assert str(error.value).startswith(message.split(":")[0]), "who calls it names the key before"
