"""Which parameters weight decay applies to."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp

from lrjax import _checks
from lrjax.optimizers._paths import path_name
from lrjax.typing import PyTree

NO_DECAY = (
    r"(^|/)(\w*bias|scale|offset|\w*embed(ding)?s?|\w*_token)$"
    r"|norm[^/]*/[^/]*$"
    r"|embed(ding)?s?(_\d+)?/weight$"
)
"""Paths that do not decay by default: biases, all parameters of normalisation layers, embeddings, tokens."""


def decay_mask(params: PyTree, exclude: str = NO_DECAY) -> PyTree:
    """Marks the leaves that decay: those with two dimensions or more whose path ``exclude`` does not match.

    ``mask[path] = ndim(params[path]) >= 2 and not re.search(exclude, path)``.

    A path joins names and indices by slashes, such as ``encoder/layers_0/kernel``; case does not matter. The
    presets call this with their ``mask`` where that is a pattern. Dimensions alone would let the biases of
    stacked or multi-head layers and all embedding tables decay, which is why names count too.

    Args:
        params: Pytree of arrays.
        exclude: Regular expression, searched for anywhere in the path.

    Returns:
        Booleans in the structure of ``params``.

    Raises:
        TypeError: ``exclude`` is not a string.
        ValueError: ``exclude`` is not a regular expression.

    Example:
        >>> import jax.numpy as jnp
        >>> from lrjax.optimizers import decay_mask
        >>> layer = {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)}
        >>> decay_mask({"dense": layer, "embed": {"embedding": jnp.ones((5, 3))}})
        {'dense': {'bias': False, 'kernel': True}, 'embed': {'embedding': False}}
        >>> decay_mask({"dense": layer, "embed": {"embedding": jnp.ones((5, 3))}}, exclude="bias")
        {'dense': {'bias': False, 'kernel': True}, 'embed': {'embedding': True}}

    Source:
        Dosovitskiy et al., arXiv:2010.11929, and He et al., arXiv:1812.01187, leave out biases and norms.
    """
    pattern = compiled("decay_mask", "exclude", exclude)

    def decays(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        return jnp.ndim(leaf) >= 2 and not pattern.search(path_name(path))

    return jax.tree.map_with_path(decays, params)


def compiled(call: str, argument: str, pattern: Any) -> re.Pattern[str]:
    """A regular expression on paths, blind to case."""
    if not isinstance(pattern, str):
        _checks.refuse_type(call, argument, "a regular expression", pattern)
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        _checks.refuse(call, argument, f"a regular expression ({error})", repr(pattern))
