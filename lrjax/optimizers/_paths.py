"""The names of a tree's leaves, as people write them in patterns."""

from __future__ import annotations

from typing import Any

import jax
from jax.tree_util import DictKey, GetAttrKey


def path_name(path: tuple[Any, ...]) -> str:
    """``encoder/layers/0/kernel`` for flax, equinox and plain trees alike.

    The leaf of a flax.nnx state is the ``value`` of a variable, which is no part of its name.
    """
    wrapped = len(path) > 1 and isinstance(path[-2], DictKey) and isinstance(path[-1], GetAttrKey)
    if wrapped and path[-1].name in ("value", "raw_value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")
