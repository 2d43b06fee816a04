"""Minibatches are shuffled epochs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrjax.finder import minibatches


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))
def test_every_epoch_is_a_permutation(examples, batch_size, steps, seed):
    batch_size = min(batch_size, examples)
    data = {"x": np.arange(examples), "y": np.arange(examples)[:, None] * np.ones((1, 2), np.float32)}
    batches = minibatches(data, batch_size, steps, jax.random.key(seed))
    assert batches["x"].shape == (steps, batch_size)
    assert batches["y"].shape == (steps, batch_size, 2)
    assert isinstance(batches["x"], np.ndarray)
    np.testing.assert_array_equal(batches["x"], batches["y"][..., 0])
    order = batches["x"].ravel()
    for epoch in np.split(order, range(examples, len(order), examples)):
        assert len(set(epoch.tolist())) == len(epoch)


@pytest.mark.parametrize("key", [jax.random.key, jax.random.PRNGKey])
def test_the_key_decides_the_order(key):
    data = (jnp.arange(100), np.arange(100.0))
    first, again, other = (minibatches(data, 10, 30, key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[:10] != first[10:20]).any()
    assert (first[0] != np.arange(10)).any()
