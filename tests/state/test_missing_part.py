"""A checkpoint from before a part was known is refused in one line."""

import pytest

from lit_rl.errors import DataError
from lit_rl.state.parts import restore
from lit_rl.state.records import Counters


def test_a_missing_part_is_named():
    with pytest.raises(DataError, match="no part 'clock': it was written by an earlier version"):
        restore({"counters": Counters()}, {"counters": "", "clock": ""}, {"counters": Counters().state_dict()})
