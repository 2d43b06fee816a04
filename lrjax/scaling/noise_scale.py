"""The batch size beyond which a larger one stops paying."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lrjax import _checks
from lrjax.typing import LossFn, PyTree

RESOLVED = 3.0
"""Standard errors from zero at which an estimate is told apart from it."""


class NoiseScale(NamedTuple):
    """The gradient noise scale, and how far to trust it; ``print`` shows the reason.

    Attributes:
        noise_scale: ``gradient_covariance_trace / gradient_squared_norm`` in examples; NaN where the estimate of
            the squared norm is not above zero.
        standard_error: Of ``noise_scale``.
        gradient_squared_norm: Estimate of the squared norm of the exact gradient; may come out below zero.
        gradient_squared_norm_error: Its standard error.
        gradient_covariance_trace: Estimate of the trace of the covariance of one example's gradient; may come out
            below zero.
    """

    noise_scale: jax.Array
    standard_error: jax.Array
    gradient_squared_norm: jax.Array
    gradient_squared_norm_error: jax.Array
    gradient_covariance_trace: jax.Array

    @property
    def reason(self) -> str:
        """One sentence: what the measurement means, or what to do where it carries no answer; outside jit and vmap."""
        scale, error, signal, signal_error, noise = (float(value) for value in self)
        if not (math.isfinite(signal) and math.isfinite(noise)):
            return (
                "A gradient or its squared norm is not finite, so look for the fault in the data, the model or loss_fn."
            )
        if signal == noise == 0:
            return "Every gradient is zero, so there is nothing to measure at these params."
        if signal <= 0:
            return (
                f"The squared gradient norm is estimated at {signal:.3g} ± {signal_error:.2g}, which is not above "
                "zero: the noise hides the gradient, so give more or larger large_batches."
            )
        if signal < RESOLVED * signal_error:
            return (
                f"The noise scale of {scale:.3g} is uncertain beyond its standard error, as the squared gradient norm "
                f"is only {signal / signal_error:.1f} standard errors above zero: give more or larger large_batches."
            )
        bound = scale + RESOLVED * error
        if bound < 1:
            return f"The noise scale of {scale:.3g} ± {error:.2g} is below one example: no batch is too small for it."
        if scale < RESOLVED * error:
            return (
                f"The noise scale of {scale:.3g} ± {error:.2g} is not told apart from zero; it is hardly above "
                f"{bound:.3g}, so give more or smaller small_batches to measure it."
            )
        return (
            f"The noise scale is {scale:.3g} ± {error:.2g}: a batch of as many examples takes about twice the fewest "
            "steps and twice the fewest examples; far smaller ones waste steps, far larger ones examples."
        )

    def __str__(self) -> str:
        """The reason, or the fields where they have no single value."""
        single = all(np.shape(value) == () and not _checks.is_traced(value) for value in self)
        return self.reason if single else repr(self)


def gradient_noise_scale(loss_fn: LossFn, params: PyTree, small_batches: PyTree, large_batches: PyTree) -> NoiseScale:
    """The batch size at which the noise of the gradient is as large as the gradient.

    With ``small`` and ``large`` the means of ``|gradient|**2`` over the batches of ``b`` and of ``c`` examples, both
    estimates are unbiased:
    ``gradient_squared_norm = (c * large - b * small) / (c - b)``,
    ``gradient_covariance_trace = b * c * (small - large) / (c - b)``,
    ``noise_scale = gradient_covariance_trace / gradient_squared_norm``.

    The standard error comes from the variances of ``|gradient|**2`` among the batches of either size, carried through
    the ratio to first order (the delta method). It takes all batches to be drawn independently, with replacement or
    from far more examples than they hold: large batches made up of the small ones leave the estimates unbiased and
    the standard error too large. Trust it from about 30 batches of each size on, where the squared norm is several of
    its own standard errors above zero, which ``reason`` checks. For that, ``c`` should be about the noise scale or
    more, and ``b`` far below it.

    One gradient is in memory at a time, and squares are summed in float32 or wider. Outside ``jax.jit`` each call
    compiles.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, the mean over the batch of what each example's loss is alone (so
            without batch normalisation).
        params: A pytree of floating-point arrays: the point at which to measure.
        small_batches: A pytree of arrays of shape ``[n, b, ...]``, for n batches of b examples; n at least 2.
        large_batches: The same of shape ``[m, c, ...]``, for m batches of c examples; c more than b, m at least 2.

    Returns:
        A ``NoiseScale`` of float32 scalars. Where the data carry no answer its ``reason`` says so and what to do.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The batches lack an axis, are too few, differ in more than their sizes or do not differ in them,
            or the loss is no scalar.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.scaling import gradient_noise_scale
        >>> def loss_fn(params, batch):
        ...     return jnp.mean(jnp.sum((params - batch) ** 2, axis=-1)) / 2
        >>> keys = jax.random.split(jax.random.key(0))  # examples of variance 1 in 3 dimensions, around 0
        >>> small, large = jax.random.normal(keys[0], (400, 2, 3)), jax.random.normal(keys[1], (400, 64, 3))
        >>> measured = gradient_noise_scale(loss_fn, jnp.array([0.5, 0.0, 0.0]), small, large)  # 3 / 0.5**2 = 12
        >>> print(f"{measured.noise_scale:.1f} ± {measured.standard_error:.1f}")
        11.7 ± 0.8

    Source:
        McCandlish et al., "An empirical model of large-batch training" (2018), arXiv:1812.06162, appendix A.1.
    """
    call = "gradient_noise_scale"
    _checks.function(call, "loss_fn", loss_fn, "of params and batch")
    _check_params(call, params)
    b, small_form = _stacked(call, "small_batches", small_batches)
    c, large_form = _stacked(call, "large_batches", large_batches)
    if large_form != small_form:
        _checks.refuse(call, "large_batches", f"like small_batches, {small_form} an example", f"{large_form}")
    if c <= b:
        _checks.refuse(call, "large_batches", f"of more examples than small_batches' {b}", f"{c}")
    _check_loss(call, loss_fn, params, small_batches)

    norms = [_squared_norms(loss_fn, params, batches) for batches in (small_batches, large_batches)]
    # squares of squared norms may leave float32's range, those of their ratios to a common unit do not
    unit = jnp.mean(norms[0])
    unit = jnp.where(jnp.isfinite(unit) & (unit > 0), unit, 1)
    small, large = (jnp.mean(norm / unit) for norm in norms)
    variances = [jnp.var(norm / unit, ddof=1) / norm.size for norm in norms]

    signal = (c * large - b * small) / (c - b)
    noise = b * c / (c - b) * (small - large)
    scale = noise / jnp.where(signal > 0, signal, jnp.nan)
    signal_slopes, noise_slopes = (-b / (c - b), c / (c - b)), (b * c / (c - b), -b * c / (c - b))
    scale_slopes = [(up - scale * down) / signal for up, down in zip(noise_slopes, signal_slopes, strict=True)]
    return NoiseScale(
        noise_scale=scale,
        standard_error=_propagated(scale_slopes, variances),
        gradient_squared_norm=unit * signal,
        gradient_squared_norm_error=unit * _propagated(signal_slopes, variances),
        gradient_covariance_trace=unit * noise,
    )


def _check_params(call: str, params: PyTree) -> None:
    leaves = jax.tree.leaves(params)
    if not leaves:
        _checks.refuse(call, "params", "a pytree with floating-point arrays", "one without arrays")
    for leaf in leaves:
        if not isinstance(leaf, float | complex | np.generic | np.ndarray | jax.Array):
            _checks.refuse_type(call, "params", "a pytree of floating-point arrays", leaf)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise TypeError(f"`{call}(params=...)` must hold floating-point arrays only, got {jnp.result_type(leaf)}")


def _stacked(call: str, argument: str, batches: PyTree) -> tuple[int, PyTree]:
    """The examples in each batch, and the tree of one example's shapes."""
    requirement = "a pytree of arrays of shape [batches, examples, ...]"
    leaves = jax.tree.leaves(batches)
    if not leaves:
        _checks.refuse(call, argument, requirement, "no arrays")
    for leaf in leaves:
        if not isinstance(leaf, np.ndarray | jax.Array):
            _checks.refuse_type(call, argument, requirement, leaf)
        if leaf.ndim < 2 or not leaf.shape[1]:
            _checks.refuse(call, argument, requirement, f"an array of shape {leaf.shape}")
    sizes = sorted({leaf.shape[:2] for leaf in leaves})
    if len(sizes) > 1:
        _checks.refuse(call, argument, "a pytree of arrays with the same first two axes", " and ".join(map(str, sizes)))
    count, examples = sizes[0]
    if count < 2:
        _checks.refuse(call, argument, "at least 2 batches, for a standard error", f"{count}")
    return examples, jax.tree.map(lambda leaf: leaf.shape[2:], batches)


def _check_loss(call: str, loss_fn: LossFn, params: PyTree, batches: PyTree) -> None:
    """Refuse a loss that is not one floating-point number, from a trace with shapes only."""
    loss = jax.eval_shape(
        lambda params, batches: loss_fn(params, jax.tree.map(lambda x: x[0], batches)), params, batches
    )
    if not isinstance(loss, jax.ShapeDtypeStruct):
        raise TypeError(f"`{call}(loss_fn=...)` must return a scalar, got {type(loss).__name__}")
    if loss.shape != ():
        _checks.refuse(call, "loss_fn", "a function to a scalar, the mean", f"one to an array of shape {loss.shape}")
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(f"`{call}(loss_fn=...)` must return a floating-point scalar, got dtype {loss.dtype}")


def _squared_norms(loss_fn: LossFn, params: PyTree, batches: PyTree) -> jax.Array:
    """``|gradient|**2`` of every batch, ``[n]``."""

    def squared_norm(batch: PyTree) -> jax.Array:
        sizes = [jnp.abs(leaf) for leaf in jax.tree.leaves(jax.grad(loss_fn)(params, batch))]
        wide = [size.astype(jnp.promote_types(size.dtype, jnp.float32)) for size in sizes]
        return jnp.sum(jnp.stack([jnp.sum(size**2) for size in wide]))

    norms: jax.Array = lax.map(squared_norm, batches)
    return norms


def _propagated(slopes: Sequence[jax.Array | float], variances: Sequence[jax.Array]) -> jax.Array:
    """The standard error of a function of two independent means, to first order."""
    parts = [slope**2 * variance for slope, variance in zip(slopes, variances, strict=True)]
    return jnp.sqrt(jnp.sum(jnp.stack(parts)))
