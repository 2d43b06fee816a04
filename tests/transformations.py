"""One row for every public transformation: how to build it by default, and how from a learning rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrjax import monitors, optimizers


def with_value(transformation: optax.GradientTransformationExtraArgs) -> optax.GradientTransformationExtraArgs:
    """``transformation`` for callers that have no loss to pass."""

    def update(updates, state, params=None, **extra_args):
        return transformation.update(updates, state, params, **{"value": jnp.float32(1.0), **extra_args})

    return optax.GradientTransformationExtraArgs(transformation.init, update)


PRESETS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    "adam": optimizers.adam,
    "adamw": optimizers.adamw,
    "dadapt_adamw": optimizers.dadapt_adamw,
    "lamb": optimizers.lamb,
    "lion": optimizers.lion,
    "muon": optimizers.muon,
    "prodigy": optimizers.prodigy,
    "rmsprop": optimizers.rmsprop,
    "schedule_free_adamw": optimizers.schedule_free_adamw,
    "sgd": optimizers.sgd,
}

TRANSFORMATIONS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "clip_gradients": optimizers.clip_gradients,
    **PRESETS,
    "gan_optimizers.generator": lambda: optimizers.gan_optimizers().generator,
    "gan_optimizers.discriminator": lambda: optimizers.gan_optimizers().discriminator,
}
"""With their defaults."""

FROM_RATE: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    **PRESETS,
    "gan_optimizers.generator": lambda rate: optimizers.gan_optimizers(rate).generator,
    "gan_optimizers.discriminator": lambda rate: optimizers.gan_optimizers(2e-4, rate).discriminator,
}
"""The same ones from a number, a tracer or a schedule."""

VARIANTS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "clip_gradients by every bound": lambda: optimizers.clip_gradients(
        lambda count: 1.0 / (count + 1), max_value=0.5, max_block_rms=0.3, adaptive=0.1
    ),
    "clip_gradients passing non-finite": lambda: optimizers.clip_gradients(skip_nonfinite=False),
    "adamw without clipping": lambda: optimizers.adamw(max_norm=None),
    "adamw on a schedule, half moment": lambda: optimizers.adamw(
        optax.cosine_decay_schedule(1e-2, 50), mu_dtype=jnp.bfloat16, nesterov=True
    ),
    "adamw with everything scheduled": lambda: optimizers.adamw(
        optax.cosine_decay_schedule(1e-2, 50),
        optax.linear_schedule(0.95, 0.85, 10),
        weight_decay=optax.linear_schedule(0.1, 0.0, 10),
        mask=None,
        max_norm=optax.linear_schedule(1.0, 0.1, 10),
        monitor=True,
    ),
    "dadapt_adamw warming up, decaying": lambda: optimizers.dadapt_adamw(
        optax.linear_schedule(0.0, 1.0, 5), weight_decay=0.1, monitor=True
    ),
    "lion with half momentum": lambda: optimizers.lion(mu_dtype=jnp.bfloat16),
    "muon by width, half momentum": lambda: optimizers.muon(
        consistent_rms=None,
        nesterov=False,
        mu_dtype=jnp.bfloat16,
        ns_coeffs=((3.4, -4.7, 2.0), (2.0, -1.5, 0.5)),
        ns_steps=2,
    ),
    "prodigy safeguarded, decaying": lambda: optimizers.prodigy(
        optax.linear_schedule(0.0, 1.0, 5), weight_decay=0.1, safeguard_warmup=True
    ),
    "rmsprop centred with Nesterov momentum": lambda: optimizers.rmsprop(
        0.01, centered=True, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "rmsprop, bias corrected": lambda: optimizers.rmsprop(0.01, bias_correction=True, monitor=True),
    "schedule_free_adamw, warmed up in half precision": lambda: optimizers.schedule_free_adamw(
        warmup_steps=3, weight_decay=0.1, state_dtype=jnp.bfloat16
    ),
    "sgd with Nesterov momentum": lambda: optimizers.sgd(0.01, 0.9, nesterov=True, weight_decay=0.1),
    "sgd with half momentum": lambda: optimizers.sgd(0.01, 0.9, accumulator_dtype=jnp.bfloat16, monitor=True),
    "gan_optimizers, critic of three steps": lambda: (
        optimizers.gan_optimizers(2e-4, optax.linear_schedule(4e-4, 0.0, 10), discriminator_steps=3).discriminator
    ),
    "gan_optimizers, optimistic under a scheduled bound": lambda: (
        optimizers.gan_optimizers(optimistic=True, max_norm=lambda step: 1.0 / (1 + step)).discriminator
    ),
    "param_groups, clipped together": lambda: optimizers.param_groups(
        {"matrices": optimizers.adamw(1e-2), "others": optax.sgd(1e-2, 0.9)},
        {"matrices": "weight", "others": "bias|scale"},
        max_norm=1.0,
    ),
    "adam from its first gradient": lambda: optimizers.adam(1e-2, gradient_initialized=True, nesterov=True),
    "adamw from its first gradient, half moment": lambda: optimizers.adamw(
        optax.cosine_decay_schedule(1e-2, 50), mu_dtype=jnp.bfloat16, gradient_initialized=True
    ),
    "record, in a chain": lambda: monitors.record(),
    "record of adamw, every third step": lambda: monitors.record(optimizers.adamw(), every=3),
    "backoff of adamw": lambda: with_value(monitors.backoff(optimizers.adamw())),
    "backoff of sgd, without restoring": lambda: with_value(
        monitors.backoff(optax.sgd(1e-2, 0.9), recovery=2, patience=2, restore=False)
    ),
    "reduce_on_plateau behind adamw": lambda: optax.chain(
        optimizers.adamw(), with_value(monitors.reduce_on_plateau(patience=1))
    ),
    "reduce_on_plateau with everything set": lambda: with_value(
        monitors.reduce_on_plateau(
            0.5, 1, learning_rate=0.1, min_lr=0.01, mode="max", threshold_mode="range", cooldown=1, accumulation_size=2
        )
    ),
    "layerwise behind adamw": lambda: optax.chain(
        optimizers.adamw(), optimizers.layerwise({"weight": 0.1}, default=1.0)
    ),
}
"""Arguments away from their defaults that change the state or the path through the code."""


def tree(dtype: Any = jnp.float32, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    """A small tree of normal numbers with a matrix, a vector, a scalar and a hole."""
    keys = jax.random.split(jax.random.key(seed), 3)
    shapes = {"weight": (3, 4), "bias": (4,), "scale": ()}
    leaves = {
        name: (scale * jax.random.normal(key, shape)).astype(dtype)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return {**leaves, "unused": None}


def specification(values: Any) -> tuple[Any, list[Any]]:
    """What must not change from one update to the next: structure, shapes, dtypes and weak types."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda tree: tree, values))
    return structure, [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]
