"""Schedules and the clock, against numbers worked by hand."""

import pytest

from lit_rl.errors import ConfigError
from lit_rl.ops.schedules import Clock, Schedule, as_schedule


@pytest.mark.parametrize(
    ("schedule", "values"),
    [  # values when 1, 3/4, 1/2, 1/4 and 0 of the run are left
        (Schedule(0.3, shape="constant"), (0.3, 0.3, 0.3, 0.3, 0.3)),
        (Schedule(0.8), (0.8, 0.6, 0.4, 0.2, 0.0)),
        (Schedule(0.8, 0.4), (0.8, 0.7, 0.6, 0.5, 0.4)),
        (Schedule(1.0, 3.0), (1.0, 1.5, 2.0, 2.5, 3.0)),
        (Schedule(0.8, 0.4, fraction=0.5), (0.8, 0.6, 0.4, 0.4, 0.4)),
        (Schedule(0.8, 0.0, fraction=0.25), (0.8, 0.0, 0.0, 0.0, 0.0)),
        (Schedule(1.0, 0.0, "cosine"), (1.0, 0.8535533905932737, 0.5, 0.14644660940672627, 0.0)),
        (Schedule(1.0, 0.5, "cosine", 0.5), (1.0, 0.75, 0.5, 0.5, 0.5)),
        (Schedule(16.0, 1.0, "exponential"), (16.0, 8.0, 4.0, 2.0, 1.0)),
        (Schedule(16.0, 1.0, "exponential", 0.5), (16.0, 4.0, 1.0, 1.0, 1.0)),
    ],
)
def test_values(schedule, values):
    for left, value in zip((1.0, 0.75, 0.5, 0.25, 0.0), values, strict=True):
        assert schedule(left) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("setting", "at_start", "at_half"),
    [
        (3e-4, 3e-4, 3e-4),
        (1, 1.0, 1.0),
        ("3e-4", 3e-4, 3e-4),
        ("lin_3e-4", 3e-4, 1.5e-4),
        ("lin_0.2", 0.2, 0.1),
        ({"start": 0.4, "end": 0.2}, 0.4, 0.3),
        ({"start": 0.4, "shape": "constant"}, 0.4, 0.4),
        (Schedule(0.4, 0.2), 0.4, 0.3),
    ],
)
def test_what_a_setting_takes(setting, at_start, at_half):
    schedule = as_schedule(setting, "model.learning_rate")
    assert schedule(1.0) == pytest.approx(at_start)
    assert schedule(0.5) == pytest.approx(at_half)


def test_the_zoos_linear_schedule_to_the_last_bit():
    schedule = as_schedule("lin_2.5e-4", "model.learning_rate")
    for timesteps in (2048, 10_240, 999_424):
        left = 1.0 - timesteps / 1_000_000
        assert schedule(left) == left * 2.5e-4


@pytest.mark.parametrize("text", ["lin_", "lin_abc", "lin_1e-4-5", "linear_3e-4", "fast", "", "exp_3e-4"])
def test_bad_text_names_key_and_forms(text):
    with pytest.raises(ConfigError, match=r"model\.clip_range: .*lin_<start>"):
        as_schedule(text, "model.clip_range")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"start": 1.0, "shape": "liner"}, "'liner' is not one of .*Did you mean 'linear'"),
        ({"start": 1.0, "fraction": 0.0}, r"fraction is 0.0; it must be above 0"),
        ({"start": 1.0, "fraction": 1.5}, r"fraction is 1.5; it must be above 0 and at most 1"),
        ({"start": 1.0, "shape": "exponential"}, "above 0"),
        ({"start": 1.0, "end": -1.0, "shape": "exponential"}, "above 0"),
        ({"start": 1.0, "stop": 0.1}, r"model\.learning_rate: .*stop"),
        ({"end": 0.1}, r"model\.learning_rate: .*start"),
        ({"start": "fast"}, r"model\.learning_rate\.start: 'fast'"),
        (None, r"model\.learning_rate"),
        ([0.1], r"model\.learning_rate"),
    ],
)
def test_bad_settings_are_config_errors(setting, message):
    with pytest.raises(ConfigError, match=message):
        as_schedule(setting, "model.learning_rate")


def test_numbers_in_quotes_inside_a_schedule():
    assert as_schedule({"start": "4e-4", "end": "2e-4"}, "model.learning_rate")(0.5) == pytest.approx(3e-4)


class TestClock:
    """A run of 1000 timesteps, stopped at 600, whose target becomes 2000."""

    def moved(self, how):
        clock = Clock(target=1000, horizon=1000)
        assert clock.progress_remaining(600) == pytest.approx(0.4)
        clock.move_target(how, 600, 2000)
        assert clock.target == 2000
        return [clock.progress_remaining(t) for t in (600, 1000, 1500, 2000, 2048)]

    def test_keep(self):
        assert self.moved("keep") == pytest.approx([0.4, 0.0, 0.0, 0.0, 0.0])

    def test_stretch(self):
        assert self.moved("stretch") == pytest.approx([0.7, 0.5, 0.25, 0.0, 0.0])

    def test_hold(self):
        assert self.moved("hold") == pytest.approx([0.4] * 5)

    def test_stretch_after_hold_moves_again(self):
        clock = Clock(target=1000, horizon=1000)
        clock.move_target("hold", 600, 2000)
        clock.move_target("stretch", 1000, 4000)
        assert clock.progress_remaining(1000) == 0.75

    @pytest.mark.parametrize("how", ["keep", "stretch", "hold"])
    def test_state_comes_back(self, how):
        clock = Clock(target=1000, horizon=1000)
        clock.move_target(how, 1000, 2000)
        other = Clock(target=1, horizon=1)
        other.load_state_dict(clock.state_dict())
        assert other == clock

    def test_progress_is_0_past_the_horizon(self):
        assert Clock(target=1000, horizon=1000).progress_remaining(1024) == 0.0
