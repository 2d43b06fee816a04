"""The largest eigenvalue of the Hessian of the loss."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.curvature import _loss, lanczos
from lrjax.curvature.preconditioner import SecondMoment, second_moment
from lrjax.typing import LossFn, PyTree


class Sharpness(NamedTuple):
    """The largest eigenvalue of a Hessian, and how far to trust it; ``stability_edge`` takes it as it is.

    Attributes:
        value: The eigenvalue, float32 (float64 for float64 parameters); NaN where the loss has no finite curvature.
        error: The Hessian has an eigenvalue this near to ``value``, to the rounding of a Hessian-vector product.
        products: Hessian-vector products that it took, int32.
    """

    value: jax.Array
    error: jax.Array
    products: jax.Array


def sharpness(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    *,
    rng: jax.Array,
    iterations: int = 32,
    tolerance: ArrayLike = 0.01,
    preconditioner: PyTree | None = None,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
) -> Sharpness:
    """The largest eigenvalue of the Hessian of the loss, by Lanczos on Hessian-vector products.

    ``max(x @ H @ x / (x @ x))`` with ``H`` the second derivatives of ``loss_fn(params, batch)``; with a
    ``preconditioner``, of ``P**(-1/2) @ H @ P**(-1/2)``, where
    ``P = diag(sqrt(nu / (1 - b2**count) + eps_root) + eps)`` is what Adam divides its updates by.

    It is the largest eigenvalue and not the largest modulus: the directions of negative curvature, which may be
    steeper, are left by gradient descent at any rate, while ``value`` sets the rate at which it becomes unstable
    (``stability_edge``). A ``value`` below zero means that there are none but those.

    A product costs about two gradients, as the gradient is linearised once; the start is made of the gradient and of
    random numbers in equal parts, so that a network's answer to 1% usually takes 3 to 12 products. Memory: six to
    nine arrays like the parameters beyond a gradient's own, whatever ``iterations``: Lanczos' vectors are not kept.

    What else the loss needs goes in with the batch, as in
    ``sharpness(lambda params, given: loss_fn(params, given[0], rng=given[1]), params, (batch, key), rng=rng)``.
    One program is compiled for each function ``loss_fn``: a lambda that is written anew compiles anew.

    Args:
        loss_fn: ``loss_fn(params, batch) -> loss``, one number, twice differentiable.
        params: A pytree of real floating-point arrays: the point at which to measure. Half precision is widened to
            float32 before ``loss_fn`` sees it.
        batch: Any pytree of arrays; the curvature is the batch's, so give it as many examples as you can.
        rng: The JAX key of the start. To rounding and ``tolerance``, the result does not depend on it.
        iterations: Most products, a Python number.
        tolerance: Largest ``error`` as a part of ``value`` at which it stops: a number or a traced scalar. The
            eigenvalue itself is then usually ten times nearer.
        preconditioner: The state of an optimizer with one Adam in it, of optax or of this package, after an update;
            None for the plain Hessian.
        b2: Adam's decay of the second moment, from 0 to less than 1.
        eps: Adam's number outside the square root. Where it is 0 and a ``nu`` too, the result is not finite.
        eps_root: Adam's number inside the square root.

    Returns:
        A ``Sharpness``. An ``error`` above ``tolerance * value`` says that ``iterations`` were too few.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range, or the preconditioner holds no Adam state, several, or one of other
            parameters.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.curvature import sharpness, stability_edge
        >>> def loss_fn(params, batch):
        ...     return jnp.sum(batch * params**2) / 2
        >>> curvatures = jnp.array([-9.0, 1.0, 3.0, 4.0])  # the Hessian's diagonal
        >>> measured = sharpness(loss_fn, jnp.ones(4), curvatures, rng=jax.random.key(0))
        >>> print(f"{measured.value:.3f} in {measured.products} products, {stability_edge(measured):.3f}")
        4.000 in 4 products, 0.500

    Source:
        Lanczos (1950); without orthogonalising again, Paige, "Accuracy and effectiveness of the Lanczos algorithm for
        the symmetric eigenproblem" (1980). Preconditioned: Cohen et al., arXiv:2207.14484.
    """
    call = "sharpness"
    _checks.function(call, "loss_fn", loss_fn, "of params and batch")
    _loss.check_params(call, params)
    if _checks.is_traced(iterations):
        _checks.refuse_type(call, "iterations", "a Python number, which sets the size of the program", iterations)
    moment = None if preconditioner is None else second_moment(call, preconditioner, params, b2, eps, eps_root)
    measured: Sharpness = _measured(
        loss_fn,
        params,
        batch,
        moment,
        _key(call, rng),
        _checks.count(call, "iterations", iterations, low=1, high=10_000),
        _checks.number(call, "tolerance", tolerance, low=0.0),
    )
    return measured


@partial(jax.jit, static_argnames=("loss_fn", "iterations"))
def _measured(
    loss_fn: LossFn,
    params: PyTree,
    batch: PyTree,
    moment: SecondMoment | None,
    rng: jax.Array,
    iterations: int,
    tolerance: ArrayLike,
) -> Sharpness:
    """The measurement, compiled once for a function, shapes and ``iterations``."""
    params = _loss.widened(params)
    gradient, product = jax.linearize(jax.grad(_loss.of_params("sharpness", loss_fn, batch)), params)
    if moment is None:
        operator = product
    else:
        scale = moment.inverse_root(params)
        gradient = jax.tree.map(jnp.multiply, scale, gradient)

        def operator(vector: PyTree) -> PyTree:
            image = product(jax.tree.map(jnp.multiply, scale, vector))
            return jax.tree.map(jnp.multiply, scale, image)

    found = lanczos.largest_eigenvalue(operator, _start(gradient, rng), iterations=iterations, tolerance=tolerance)
    return Sharpness(found.value, found.residual, found.products)


def _start(gradient: PyTree, rng: jax.Array) -> PyTree:
    """A unit vector of random numbers and, where it has a direction, the gradient, in equal parts."""
    leaves, structure = jax.tree.flatten(gradient)
    length = lanczos.norm(leaves)
    directed = (length > 0) & jnp.isfinite(length)
    sizes = [leaf.size for leaf in leaves]
    drawn = jax.random.normal(rng, (sum(sizes),), length.dtype) / sum(sizes) ** 0.5  # for each leaf, compiling is slow

    def mixed(noise: jax.Array, leaf: jax.Array) -> jax.Array:
        directions = jnp.where(directed, leaf / jnp.where(directed, length, 1), 0)
        return (noise.reshape(leaf.shape) + directions).astype(leaf.dtype)

    start = jax.tree.unflatten(structure, map(mixed, jnp.split(drawn, np.cumsum(sizes)[:-1]), leaves))
    return lanczos.unit(start, lanczos.norm(start))


def _key(call: str, rng: jax.Array) -> jax.Array:
    """One JAX key, typed or of the older uint32 kind."""
    wanted = "a key such as jax.random.key(0)"
    if not isinstance(rng, jax.Array | np.ndarray):
        _checks.refuse_type(call, "rng", wanted, rng)
    typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
    if not typed and rng.dtype != np.uint32:
        raise TypeError(f"`{call}(rng=...)` must be {wanted}, got dtype {rng.dtype}")
    if rng.ndim != (0 if typed else 1):
        _checks.refuse(call, "rng", wanted, f"an array of shape {rng.shape}")
    return jnp.asarray(rng)
