"""The Fréchet distance, against closed forms and float64 references."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from lrjax.finder import frechet_distance

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(30, 30)) * np.geomspace(1.0, 0.05, 30)
REAL = np.float32(RNG.normal(size=(400, 30)) @ MIXING + 1.0)
FAKES = np.float32(0.8 * RNG.normal(size=(5, 300, 30)) @ MIXING + np.linspace(0.9, 1.5, 5)[:, None, None])


def moments(samples):
    return samples.mean(axis=0), np.cov(samples, rowvar=False)


def reference(real, fake):
    """In float64, by scipy's square root of a matrix."""
    (m, c), (n, d) = moments(real.astype(np.float64)), moments(fake.astype(np.float64))
    return np.sum((m - n) ** 2) + np.trace(c + d - 2 * scipy.linalg.sqrtm(c @ d).real)


def projected(samples, count):
    """On the principal components of ``REAL``, in float64."""
    real = REAL.astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(real, rowvar=False))
    return (samples - real.mean(axis=0)) @ axes[:, ::-1][:, :count]


@pytest.mark.parametrize("components", [None, 30, 100], ids=["none", "all", "more than there are"])
def test_all_features_against_scipy(components):
    distance = frechet_distance(REAL, components=components)
    for fake in FAKES:
        np.testing.assert_allclose(distance(fake), reference(REAL, fake), rtol=2e-5)


def test_principal_components_against_scipy():
    distance = frechet_distance(REAL, components=7)
    expected = [reference(projected(REAL, 7), projected(fake, 7)) for fake in FAKES]
    np.testing.assert_allclose([distance(fake) for fake in FAKES], expected, rtol=2e-5)


def test_twenty_components_by_default():
    expected = reference(projected(REAL, 20), projected(FAKES[0], 20))
    np.testing.assert_allclose(frechet_distance(REAL)(FAKES[0]), expected, rtol=2e-5)


def test_closed_forms_of_the_same_samples_moved_and_scaled():
    distance = frechet_distance(REAL, components=None)
    mean, covariance = moments(REAL.astype(np.float64))
    total = np.trace(covariance)
    np.testing.assert_allclose(distance(REAL), 0.0, atol=2e-6 * total)
    np.testing.assert_allclose(distance(REAL + 2.0), 30 * 2.0**2, rtol=1e-5)
    np.testing.assert_allclose(distance(mean + 3.0 * (REAL - mean)), (3.0 - 1.0) ** 2 * total, rtol=1e-5)
    collapsed = np.repeat(mean[None], 50, axis=0)
    np.testing.assert_allclose(distance(collapsed), total, rtol=1e-5)


def test_badly_conditioned_and_rank_deficient_covariances():
    spread = np.float32(RNG.normal(size=(500, 12)) * np.geomspace(10.0, 1e-3, 12))
    few = np.float32(RNG.normal(size=(6, 12)))
    distance = frechet_distance(spread, components=None)
    # scipy's root is of no use at these conditions; singular values of a product of roots are
    real, fake = moments(spread.astype(np.float64)), moments(few.astype(np.float64))
    values, axes = np.linalg.eigh(real[1])
    scattered = (few.astype(np.float64) - fake[0]) / np.sqrt(5)
    cross = np.linalg.svd(scattered @ (axes * np.sqrt(values)), compute_uv=False).sum()
    expected = np.sum((real[0] - fake[0]) ** 2) + np.trace(real[1] + fake[1]) - 2 * cross
    np.testing.assert_allclose(distance(few), expected, rtol=2e-5)


def test_vmap_and_jit_agree_and_images_are_flattened():
    distance = frechet_distance(REAL.reshape(400, 5, 6), components=8)
    fakes = FAKES.reshape(5, 300, 5, 6)
    one_by_one = [distance(fake) for fake in fakes]
    np.testing.assert_allclose(jax.jit(jax.vmap(distance))(fakes), one_by_one, rtol=1e-5)
    assert one_by_one[0].dtype == jnp.float32
    np.testing.assert_allclose(one_by_one[0], frechet_distance(REAL, components=8)(FAKES[0]), rtol=1e-5)


def test_features_are_taken_of_both():
    distance = frechet_distance(REAL, lambda x: jnp.tanh(x[:, :4]), components=None)
    expected = reference(np.tanh(REAL[:, :4]), np.tanh(FAKES[1][:, :4]))
    np.testing.assert_allclose(distance(FAKES[1]), expected, rtol=1e-4)


def test_samples_that_are_not_finite_have_no_distance():
    distance = frechet_distance(REAL)
    assert np.isnan(distance(np.full((300, 30), np.nan, np.float32)))
    assert not np.isfinite(distance(np.full((300, 30), np.inf, np.float32)))


def test_half_precision_samples_are_compared_in_float32():
    distance = frechet_distance(REAL)
    fake = jnp.asarray(FAKES[0], jnp.bfloat16)
    np.testing.assert_allclose(distance(fake), distance(fake.astype(jnp.float32)), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: frechet_distance(REAL[0]),
            ValueError,
            "`frechet_distance(real=...)` must be at least 2 samples along a leading axis, got shape (30,)",
        ),
        (
            lambda: frechet_distance(REAL[:1]),
            ValueError,
            "`frechet_distance(real=...)` must be at least 2 samples along a leading axis, got shape (1, 30)",
        ),
        (
            lambda: frechet_distance(np.full((5, 2), np.nan)),
            ValueError,
            "`frechet_distance(real=...)` must be samples of finite features, got some that are not finite",
        ),
        (
            lambda: frechet_distance(REAL, 20),
            TypeError,
            "`frechet_distance(features=...)` must be a function features(samples), got 20 (int)",
        ),
        (
            lambda: frechet_distance(REAL, components=0),
            ValueError,
            "`frechet_distance(components=...)` must be at least 1, got 0",
        ),
        (
            lambda: frechet_distance(REAL)(FAKES[0][:, :7]),
            ValueError,
            "`frechet_distance(...)(fake=...)` must be at least 2 samples, an array [M, 30], got shape (300, 7)",
        ),
        (
            lambda: frechet_distance(REAL)(FAKES[0][:1]),
            ValueError,
            "`frechet_distance(...)(fake=...)` must be at least 2 samples, an array [M, 30], got shape (1, 30)",
        ),
    ],
    ids=["no axis", "one sample", "not finite", "features", "components", "other shape", "one fake"],
)
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()
