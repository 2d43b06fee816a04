"""Muon, momentum orthogonalised by Newton-Schulz iterations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._paths import path_name
from lrjax.optimizers._preset import Step, preset
from lrjax.optimizers.decay_mask import NO_DECAY, compiled
from lrjax.typing import PyTree, ScalarOrSchedule


def muon(
    learning_rate: ScalarOrSchedule = 1e-3,
    ns_coeffs: tuple[Any, ...] = (3.4445, -4.7750, 2.0315),
    ns_steps: int = 5,
    beta: jax.typing.ArrayLike = 0.95,
    eps: jax.typing.ArrayLike = 1e-8,
    weight_decay: ScalarOrSchedule = 0.01,
    weight_decay_mask: PyTree | Callable[[PyTree], PyTree] | str | None = NO_DECAY,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    consistent_rms: jax.typing.ArrayLike | None = 0.2,
    adam_only: str = NO_DECAY,
    adam_b1: jax.typing.ArrayLike = 0.9,
    adam_b2: jax.typing.ArrayLike = 0.999,
    max_norm: ScalarOrSchedule | None = 1.0,
    monitor: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Muon behind gradient clipping; unlike ``optax.contrib.muon`` in the points that follow.

    ``learning_rate`` defaults to 1e-3, ``weight_decay`` to 0.01 and ``consistent_rms`` to 0.2, so that updates
    have AdamW's size and its rates and decays serve (optax: none, 0 and None); ``weight_decay_mask`` leaves
    out biases, norms and embeddings (optax: all matrices decay, others do not); matrices whose path
    ``adam_only`` matches, by default embeddings, are trained by Adam like all that is no real matrix (optax: every
    matrix by Muon); ``weight_decay`` may be a schedule; gradients are clipped to ``max_norm`` first; a
    non-finite gradient skips the step; half-precision parameters have their momentum and arithmetic in
    float32. optax's ``adaptive``, ``preconditioning`` and dimension numbers are left out.

    With the clipped gradient ``g`` of a matrix of m by n: ``mu' = beta * mu + (1 - beta) * g``,
    ``r = newton_schulz(beta * mu' / (1 - beta**(t+1)) + (1 - beta) * g / (1 - beta**t))``, or of
    ``mu' / (1 - beta**t)`` without ``nesterov``, with t the number of steps applied, this one included;
    ``update = -learning_rate * (consistent_rms * sqrt(max(m, n)) * r + weight_decay * params)``, with
    ``sqrt(max(1, n / m))`` where ``consistent_rms`` is None. The other leaves are Adam's.

    A skipped step leaves parameters, moments and counts as they were, the clock of every schedule included;
    the state's ``clip.nonfinite`` counts it.

    Args:
        learning_rate: A number, a traced scalar, or a schedule of the steps applied.
        ns_coeffs: Three coefficients of the Newton-Schulz polynomial, or three for every iteration.
        ns_steps: Newton-Schulz iterations.
        beta: Decay of the momentum, from 0 to less than 1.
        eps: Added to the norm that a matrix is divided by, and to Adam's denominator.
        weight_decay: Decay per step in units of the learning rate, decoupled from the gradient: a number, a
            traced scalar, or a schedule.
        weight_decay_mask: Which leaves decay: a regular expression of the paths that do not (leaves of fewer
            than two dimensions never do then), see ``decay_mask``; or booleans of the parameters' structure
            or a prefix of it; or a function that makes them from the parameters; None for all.
        mu_dtype: Dtype that the momenta are stored in; None for the parameters', float32 at least.
        nesterov: Whether the momenta look ahead.
        consistent_rms: Root mean square of a matrix's update, in units of the learning rate; None for the
            width's rule.
        adam_only: Regular expression of the paths of matrices that Adam trains; add the output layer's.
        adam_b1: Decay of Adam's first moment, from 0 to less than 1.
        adam_b2: Decay of Adam's second moment, from 0 to less than 1.
        max_norm: Largest global norm of the gradient: a number, a traced scalar or a schedule; None disables
            clipping.
        monitor: Whether the state's ``monitor`` records the norms of update and parameters.

    Returns:
        A transformation whose state is a ``PresetState``; extra arguments to ``update`` are accepted.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import muon
        >>> optimizer = muon(0.1, weight_decay=0.0)
        >>> params = {"kernel": jnp.eye(4), "bias": jnp.ones(4)}
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> [bool(update[0].min() < -0.02) for update in updates.values()]
        [True, True]

    Source:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); Liu et al., "Muon is
        scalable for LLM training" (2025), arXiv:2502.16982 (``consistent_rms``); ``optax.contrib.muon``.
    """
    call = "muon"
    learning_rate = _arguments.learning_rate(call, "learning_rate", learning_rate)
    if _checks.is_traced(ns_steps):
        hint = "a number known before tracing (under optax.inject_hyperparams: static_args=('ns_steps',))"
        _checks.refuse_type(call, "ns_steps", hint, ns_steps)
    ns_steps = _checks.count(call, "ns_steps", ns_steps, low=1)
    coefficients = _coefficients(call, ns_coeffs, ns_steps)
    beta = _arguments.decay(call, "beta", beta)
    eps = _arguments.number(call, "eps", eps, low=0.0)
    weight_decay = _arguments.weight_decay(call, "weight_decay", weight_decay)
    weight_decay_mask = _arguments.mask(call, "weight_decay_mask", weight_decay_mask)
    mu_dtype = _arguments.moment_dtype(call, "mu_dtype", mu_dtype)
    _checks.flag(call, "nesterov", nesterov)
    if consistent_rms is not None:
        consistent_rms = _arguments.number(call, "consistent_rms", consistent_rms, above=0.0)
    pattern = compiled(call, "adam_only", adam_only)
    adam_b1 = _arguments.decay(call, "adam_b1", adam_b1)
    adam_b2 = _arguments.decay(call, "adam_b2", adam_b2)
    max_norm = _arguments.max_norm(call, max_norm)
    _checks.flag(call, "monitor", monitor)

    def labels(params: PyTree) -> PyTree:
        def label(path: tuple[Any, ...], leaf: jax.Array) -> str:
            real_matrix = jnp.ndim(leaf) == 2 and not jnp.iscomplexobj(leaf)
            return "muon" if real_matrix and not pattern.search(path_name(path)) else "adam"

        return jax.tree.map_with_path(label, params)

    def scale(update: jax.Array) -> jax.Array:
        rows, columns = update.shape
        factor = max(1.0, columns / rows) if consistent_rms is None else max(rows, columns)
        return update * jnp.sqrt(factor).astype(update.real.dtype) * (1.0 if consistent_rms is None else consistent_rms)

    def optimizer(step: Step) -> optax.GradientTransformation:
        matrices = optax.chain(
            scale_by_muon(
                coefficients,
                ns_steps,
                step.hold(beta),
                eps,
                mu_dtype,
                nesterov=nesterov,
                weight_dimension_numbers=partial(jax.tree.map, lambda _: MuonDimensionNumbers()),
            ),
            optax.stateless(lambda updates, _: jax.tree.map(scale, updates)),
        )
        others = optax.scale_by_adam(step.hold(adam_b1), step.hold(adam_b2), eps, mu_dtype=mu_dtype, nesterov=nesterov)
        return optax.chain(
            optax.partition({"muon": matrices, "adam": others}, labels),
            step.decay(weight_decay, weight_decay_mask),
            optax.scale(-step.learning_rate),
        )

    return preset(optimizer, learning_rate, max_norm, monitor=monitor)


def _coefficients(call: str, ns_coeffs: Any, ns_steps: int) -> tuple[Any, ...]:
    """Three numbers, or as many triples as there are iterations."""
    rows = _checks.sequence(call, "ns_coeffs", ns_coeffs, "numbers or triples")
    nested = bool(rows) and not isinstance(rows[0], int | float)
    for i, row in enumerate(rows if nested else (rows,)):
        name = f"ns_coeffs[{i}]" if nested else "ns_coeffs"
        if len(_checks.numbers(call, name, row)) != 3:
            _checks.refuse(call, name, "three numbers", _checks.shown(row))
    if nested and len(rows) != ns_steps:
        _checks.refuse(call, "ns_coeffs", f"three numbers, or ns_steps = {ns_steps} triples", f"{len(rows)} triples")
    return tuple(map(tuple, rows)) if nested else rows
