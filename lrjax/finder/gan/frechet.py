"""The Fréchet distance of generated samples from real ones, of matrix products only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks

PASSES = 3
FLATTENINGS = 10
"""Each pass raises small singular values by up to 1.5**10: in all, those above 1e-5 of the norm arrive at 1."""

_product = partial(jnp.matmul, precision="highest")


def frechet_distance(
    real: Any, features: Callable[[Any], Any] | None = None, *, components: int | None = 20
) -> Callable[[Any], jax.Array]:
    """The Fréchet distance from real samples as a function of generated ones: 0 at best, smaller is better.

    ``distance = |m - m'|**2 + tr(C + C' - 2 * (C @ C')**0.5)``, with the mean ``m`` and the covariance ``C`` of the
    real features and ``m'`` and ``C'`` of the generated ones: the squared Wasserstein distance of two normal
    distributions. With a network's features it is that network's FID.

    The distance of few samples is too large, and the more so the more components it has: compare distances of equally
    many samples, at least ten times the components. It is computed of matrix products only, so that it runs alike
    under ``jit`` and ``vmap`` on every backend.

    Args:
        real: ``[N, ...]`` real samples, at least 2.
        features: ``features(samples) -> [N, ...]``, traceable by JAX; by default the samples themselves.
        components: At how many principal components of the real features to compare, at most; None for the
            features as they are.

    Returns:
        ``distance(fake)``, where ``fake`` are ``[M, ...]`` samples, at least 2 and of the real ones' shape: a float32
        scalar, not finite where a feature is not.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where there are fewer than 2 samples, real features are not finite, or ``fake`` is of another shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.finder import frechet_distance
        >>> real, fake = jax.random.normal(jax.random.key(0), (2, 10_000, 3))
        >>> distance = frechet_distance(real)
        >>> print(f"{distance(fake):.2f} {distance(fake + 1):.1f} {distance(3 * fake):.0f}")  # 3 * 1**2, 3 * (3 - 1)**2
        0.00 3.0 12

    Source:
        Dowson and Landau, "The Fréchet distance between multivariate normal distributions" (1982); Heusel et al.,
        arXiv:1706.08500 (FID). ``tr((C @ C')**0.5)`` is the sum of singular values of a product of square roots,
        read off its polar factor by the iteration of Björck and Bowie (1971).
    """
    call = "frechet_distance"
    if features is not None:
        _checks.function(call, "features", features, "features(samples)")
    if components is not None:
        components = _checks.count(call, "components", components, low=1)
    extract = features or jnp.asarray
    shape = np.shape(real)
    if len(shape) < 2 or shape[0] < 2:
        _checks.refuse(call, "real", "at least 2 samples along a leading axis", f"shape {shape}")
    rows = np.asarray(_rows(extract(jnp.asarray(real))), np.float64)
    if not np.isfinite(rows).all():
        _checks.refuse(call, "real", "samples of finite features", "some that are not finite")

    center = rows.mean(axis=0)
    basis = np.eye(len(center))
    if components is not None:
        basis = np.linalg.svd(rows - center, full_matrices=False)[2][:components].T
    projected = (rows - center) @ basis
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(projected, rowvar=False)))
    root = (axes * np.sqrt(np.maximum(variances, 0.0))) @ axes.T
    narrow = [np.asarray(part, np.float32) for part in (center, basis, root, variances.sum())]

    def distance(fake: Any) -> jax.Array:
        if jnp.shape(fake)[1:] != shape[1:] or len(fake) < 2:
            requirement = f"at least 2 samples, an array [M, {', '.join(map(str, shape[1:]))}]"
            _checks.refuse(f"{call}(...)", "fake", requirement, f"shape {jnp.shape(fake)}")
        center, basis, root, total = narrow
        projected = _product(_rows(extract(fake)).astype(jnp.float32) - center, basis)
        mean = projected.mean(axis=0)
        scattered = (projected - mean) / np.float32(len(projected) - 1) ** 0.5  # C' = scattered.T @ scattered
        cross: jax.Array = _nuclear_norm(_product(scattered, root))
        return jnp.sum(mean**2) + total + jnp.sum(scattered**2) - 2 * cross

    return distance


def _rows(features: jax.Array) -> jax.Array:
    """Every sample's features as a row."""
    return features.reshape(features.shape[0], -1)


@jax.jit  # outside jit, every call would compile the loops anew
def _nuclear_norm(matrix: jax.Array) -> jax.Array:
    """The sum of the singular values, ``sum(matrix * polar)``, where those of ``polar`` are all 1.

    LAPACK would do, but its batched calls block the threads that they wait for where lanes run on a CPU's threads.
    """
    tiny = np.finfo(matrix.dtype).tiny
    identity = jnp.eye(matrix.shape[1], dtype=matrix.dtype)

    def flatter(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        gram, factor = carry
        toward = 1.5 * identity - 0.5 * gram
        return _product(_product(toward, gram), toward), _product(factor, toward)

    def one_pass(_: Any, polar: jax.Array) -> jax.Array:
        gram = _product(polar.T, polar)  # anew, since it loses what is small beside its largest entries
        return _product(polar, jax.lax.fori_loop(0, FLATTENINGS, flatter, (gram, identity))[1])

    start = matrix / jnp.maximum(jnp.sqrt(jnp.sum(matrix**2)), tiny)
    return jnp.sum(matrix * jax.lax.fori_loop(0, PASSES, one_pass, start))
