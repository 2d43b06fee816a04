"""What a GAN step reports, against numbers worked out by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lrjax.optimizers import gan_init, gan_optimizers, gan_step

SQUARES = [[0.0, 0.0], [2.0, 4.0]]  # variances 1 and 4 over the batch: a spread of √2.5
HALVES = [[0.0, 1.0], [1.0, 0.0]]  # variances of a quarter: a spread of a half


def quadratic(aux):
    """A loss of a vector, reporting ``aux(batch)``; None for none."""

    def loss(own, opponent, batch, rng):
        value = jnp.sum(own**2)
        return value if aux is None else (value, aux(batch))

    return loss


def report(generator_aux, discriminator_aux, batch=None, steps=1):
    """The metrics of one step."""
    optimizers = gan_optimizers(discriminator_steps=steps)
    step = gan_step(quadratic(generator_aux), quadratic(discriminator_aux), optimizers)
    state = gan_init(optimizers, jnp.array([3.0, 4.0]), jnp.array([1.0]))
    return step(state, batch, jax.random.key(0))[1]


def test_all_measurements_of_one_step():
    def aux(_):
        return {
            "real_logits": jnp.array([[1.0], [2.0], [0.5], [-1.0]]),
            "fake_logits": jnp.array([-1.0, 0.0, 2.0]),  # a logit of 0 is no answer
            "fake": jnp.array(HALVES).reshape(2, 1, 2),
            "real": jnp.array(SQUARES),
            "penalty": jnp.float16(0.25),
            "parts": {"count": 3, "flag": jnp.array(True)},
        }

    metrics = report(lambda _: {"entropy": 2.5}, aux)
    np.testing.assert_allclose(metrics[:4], [25.0, 1.0, 10.0, 2.0], rtol=1e-6)
    expected = [3 / 4, 1 / 3, 0.5, 0.5 / 2.5**0.5]
    np.testing.assert_allclose(metrics[4:8], expected, rtol=1e-6)
    assert metrics.generator_aux == {"entropy": 2.5}
    assert metrics.discriminator_aux == {"penalty": 0.25, "parts": {"count": 3.0, "flag": 1.0}}
    assert all((leaf.shape, leaf.dtype) == ((), jnp.float32) for leaf in jax.tree.leaves(metrics))


def test_nothing_is_measured_without_aux_and_the_structure_says_so():
    metrics = report(None, lambda _: {})
    assert metrics[4:] == (None, None, None, None, {}, {})
    assert report(None, lambda _: {"fake": jnp.ones((4, 2))}).spread_ratio is None
    assert report(None, lambda _: {"real": jnp.ones((4, 2))}).spread is None


def test_the_generator_s_aux_fills_in_what_the_discriminator_s_lacks():
    metrics = report(
        lambda _: {"fake": jnp.array(HALVES), "fake_logits": jnp.array([-1.0, -1.0])},
        lambda _: {"fake_logits": jnp.array([1.0, 1.0])},
    )
    np.testing.assert_allclose(metrics.spread, 0.5, rtol=1e-6)
    assert float(metrics.fake_accuracy) == 0.0


def test_the_discriminator_s_are_means_over_its_steps():
    def aux(batch):
        return {
            "real_logits": batch["logits"],
            "real": batch["samples"],
            "fake": 2.0 * batch["samples"] + 1.0,
            "mean": jnp.mean(batch["logits"]),
        }

    batch = {"logits": jnp.array([[1.0, -1.0], [1.0, 3.0]]), "samples": jnp.array([SQUARES, HALVES])}
    metrics = report(lambda batch: {"mean": jnp.mean(batch["logits"])}, aux, batch, steps=2)
    np.testing.assert_allclose(metrics.real_accuracy, (0.5 + 1.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics.spread, (2 * 2.5**0.5 + 2 * 0.5) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics.spread_ratio, 2.0, rtol=1e-6)
    np.testing.assert_allclose(metrics.discriminator_aux["mean"], (0.0 + 2.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(metrics.generator_aux["mean"], 2.0, rtol=1e-6)  # it sees the last slice


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.uint8])
def test_spreads_of_narrow_samples_are_taken_in_float32(dtype):
    """Far from zero, where bfloat16 could not hold a variance, and where a byte's square overflows."""
    samples = np.random.default_rng(0).integers(180, 250, size=(64, 5))
    metrics = report(None, lambda _: {"fake": jnp.asarray(samples, dtype)})
    exact = np.sqrt(np.asarray(jnp.asarray(samples, dtype), np.float64).var(axis=0).mean())
    np.testing.assert_allclose(metrics.spread, exact, rtol=1e-5)


def test_a_collapsed_generator_has_no_spread():
    """All samples alike: the ratio falls below the 0.6 that marks a collapse, however well they lie in the data."""
    real = jax.random.normal(jax.random.key(0), (256, 8))
    healthy = report(None, lambda _: {"real": real, "fake": jax.random.normal(jax.random.key(1), (256, 8))})
    collapsed = report(None, lambda _: {"real": real, "fake": jnp.broadcast_to(real[0], real.shape)})
    assert 0.85 < healthy.spread_ratio < 1.15
    assert collapsed.spread_ratio < 1e-6


def test_measuring_changes_neither_the_training_nor_its_gradients():
    """The spread of equal samples has no finite derivative; none is taken."""

    def loss(own, opponent, batch, rng):
        fake = jnp.broadcast_to(own, (4, 2))
        return jnp.sum(own**2), {"fake": fake, "real": fake, "real_logits": fake, "fake_logits": fake}

    optimizers = gan_optimizers(1e-2, 1e-2)
    state = gan_init(optimizers, jnp.array([3.0, 4.0]), jnp.array([1.0, 2.0]))
    measured, _ = gan_step(loss, loss, optimizers)(state, None, jax.random.key(0))
    bare, _ = gan_step(quadratic(None), quadratic(None), optimizers)(state, None, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, measured, bare)


def test_a_scan_stacks_scalars_only():
    """The images that are measured are dropped, and vmap over scan keeps one number a step."""

    def aux(batch):
        return {
            "fake": batch,
            "real": batch,
            "fake_logits": batch[:, 0],
            "real_logits": batch[:, 0],
            "mean": batch[0, 0],
        }

    optimizers = gan_optimizers()
    step = gan_step(quadratic(None), quadratic(aux), optimizers)
    state = gan_init(optimizers, jnp.ones(2), jnp.ones(2))
    xs = jnp.ones((3, 7, 4, 2)), jax.random.split(jax.random.key(0), (3, 7))
    _, metrics = jax.eval_shape(jax.vmap(lambda *xs: jax.lax.scan(lambda s, x: step(s, *x), state, xs)), *xs)
    leaves = jax.tree.leaves(metrics)
    assert len(leaves) == 9
    assert all(leaf.shape == (3, 7) for leaf in leaves)
