"""A checkpoint from before a part was known is refused in one line."""

import pytest

from lit_rl.errors import DataError
from lit_rl.ops.schedules import Clock
from lit_rl.state.parts import restore
from lit_rl.state.records import Counters


def test_a_missing_part_is_named():
    with pytest.raises(DataError, match="no part 'clock': it was written by an earlier version"):
        restore({"counters": Counters(), "clock": Clock(1, 1)}, {"counters": Counters().state_dict()})
