"""One function over an array or over every array of a dictionary."""

import numpy as np

from lit_rl.ops.tree import leaves, tree_map


def test_an_array_is_its_own_leaf():
    array = np.arange(3)
    assert leaves(array) == [array]
    np.testing.assert_array_equal(tree_map(lambda a, b: a + b, array, array), [0, 2, 4])


def test_dictionaries_keep_keys_and_nesting():
    tree = {"b": np.ones(2), "a": {"c": np.zeros(1)}}
    doubled = tree_map(lambda a, b: a + b, tree, tree)
    assert list(doubled) == ["b", "a"]
    np.testing.assert_array_equal(doubled["b"], [2, 2])
    assert [leaf.shape for leaf in leaves(tree)] == [(2,), (1,)]
