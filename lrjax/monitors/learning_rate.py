"""The learning rate of an optimizer, read from its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax

from lrjax import _checks
from lrjax.monitors._rate_search import found, outline
from lrjax.typing import PyTree

_CALL = "current_learning_rate"


def current_learning_rate(opt_state: PyTree) -> Any:
    """The learning rate in the state of an optimizer, wherever it stands there.

    ``learning_rate = rate * estimate * scale``, of what the state holds: the rate it was built with or scheduled to,
    the estimate of D-Adaptation or Prodigy, and the ``scale`` of ``reduce_on_plateau`` or ``backoff`` in the same
    chain or around it.

    It is the rate **of the last update**, and before the first update the one that it will have; a step that was
    skipped does not count. By what holds it:

    - ``record``, the presets of lrjax, ``optax.inject_hyperparams``: the rate of the last update.
    - ``reduce_on_plateau``, of lrjax or of ``optax.contrib``: its scale is that of the last update.
    - ``backoff``: its scale is that of the **next** update.
    - D-Adaptation and Prodigy, lrjax's or ``optax.contrib``'s: the estimate after the last update, which the **next**
      update has, without Adam's bias correction. ``optax.contrib``'s states do not hold the ``learning_rate``
      they multiply it by, 1 by default. (``record`` around them keeps what the last update had.)
    - ``optax.contrib.schedule_free*``: the largest rate so far, of a schedule read one step ahead, 0 before the first
      update; or that of the base optimizer, if its state holds one.
    - ``optax.MultiSteps``: the rate of the last update that was not only accumulated.
    - ``layerwise`` scales updates without a state: the rate is the one before that.

    Read inside ``jit`` it is a traced scalar, of a state made under ``vmap`` an array over the lanes.

    Args:
        opt_state: The state of an optimizer, or what holds it: a flax ``TrainState``, an ``nnx.Optimizer``, a
            ``GanState``. Chains, masks, ``MultiSteps``, ``apply_if_finite`` and their like are looked into.

    Returns:
        A scalar; of ``param_groups``, ``optax.partition`` or a ``GanState`` a dict of them by label, without the
        labels that have none, such as a frozen group.

    Raises:
        TypeError: ``opt_state`` is an optimizer and not a state.
        ValueError: The state holds no learning rate, or several without labels: which of two rates in a chain is the
            optimizer's, only its builder knows.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> import lrjax
        >>> from lrjax.monitors import current_learning_rate
        >>> optimizer = optax.chain(optax.clip(1.0), lrjax.adamw(lrjax.warmup_linear(0.1, 100, warmup_steps=10)))
        >>> params = {"w": jnp.ones(3)}
        >>> state = optimizer.init(params)
        >>> for _ in range(3):
        ...     updates, state = optimizer.update(params, state, params)
        >>> round(float(current_learning_rate(state)), 6)  # of the third update, whose index is 2
        0.02

    Source:
        https://github.com/google-deepmind/optax/issues/206, where it is asked for.
    """
    if isinstance(opt_state, optax.GradientTransformation):
        _checks.refuse_type(_CALL, "opt_state", "the state, as in optimizer.init(params)", opt_state)
    rate = found(opt_state, opt_state, _refuse_several).rate(_refuse_several)
    if rate is None:
        _checks.refuse(
            _CALL,
            "opt_state",
            "a state that holds a learning rate",
            f"{outline(opt_state)}. To add it, wrap the optimizer as in lrjax.record(optimizer, learning_rate="
            "schedule), use a preset such as lrjax.adamw, or optax.inject_hyperparams(optax.adamw)(schedule)",
        )
    return rate


def _refuse_several(rates: Mapping[str, Any]) -> Any:
    """Raise for rates of which none is the optimizer's."""
    paths = ", ".join(f"opt_state{path}" for path in rates)
    _checks.refuse(
        _CALL,
        "opt_state",
        "a state with one learning rate, or with labels as optax.partition has them",
        f"{len(rates)}, at {paths}: give the part that is meant, or read one of these",
    )
