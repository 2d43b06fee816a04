"""Learning rates that differ by layer: decayed from the head down, or one multiplier for each part."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrjax import _checks
from lrjax._norm import accumulation_dtype
from lrjax.optimizers import _arguments
from lrjax.optimizers._claims import listed, matching, named_leaves, settled
from lrjax.optimizers._table import aligned
from lrjax.optimizers.decay_mask import compiled
from lrjax.typing import PyTree

BLOCK_INDEX = r"(?:^|/)(?:\w*(?:block|layer)s?|h)[_/]?(\d+)(?:/|$)"
"""Paths inside a block, and its index: ``blocks/0/``, ``encoder/layers_0/``, ``encoderblock_0/``, ``h/0/``."""

FIRST_LAYER = r"(?<!un)embed(?!_out)|(^|/)(wte|wpe|stem)(/|$)|(^|/)(cls|\w*_tokens?)$"
"""Paths outside of blocks that are below the first: embeddings of patches, positions and tokens, and tokens."""


def layerwise(
    rule: jax.typing.ArrayLike | Mapping[str, jax.typing.ArrayLike],
    *,
    blocks: str = BLOCK_INDEX,
    first: str = FIRST_LAYER,
    stacked: str | None = None,
    default: jax.typing.ArrayLike | None = None,
) -> optax.GradientTransformation:
    """Scales the updates of an optimizer by layer, which is to scale its learning rate by layer.

    To be placed after the optimizer, ``optax.chain(adamw(1e-3), layerwise(0.75))``.

    With a decay, ``update * rule**(num_blocks + 1 - layer)``, where ``layer`` is 0 for embeddings, ``i + 1`` for block
    ``i``, and ``num_blocks + 1`` for everything else, such as the last norm and the head; ``num_blocks`` is one more
    than the largest index. This is the numbering of BEiT and MAE. timm puts the last norm of a vision transformer
    into the last block (``rule`` times this one's), and ELECTRA counts a layer between the last block and the head,
    so that all but the head's multipliers are ``rule`` times these.

    With a mapping, ``update * rule[pattern]`` of the one pattern that is found in the path of the leaf, as in
    discriminative fine-tuning.

    Weight decay is part of the update and is scaled with it; a multiplier of 0 freezes, while the optimizer's moments
    go on. The optimizer's state shows the rate before scaling; ``layer_rates`` shows those after.

    A model of several stacks of blocks, such as an encoder and a decoder, has one ``layerwise`` for each, inside
    ``param_groups``.

    Args:
        rule: The decay from one layer to the one below, from 0 to 1 (0.65 to 0.9 for fine-tuned transformers): a
            number or a traced scalar. Or a mapping of regular expressions to multipliers of at least 0, numbers or
            traced scalars; each is searched for anywhere in the path of a leaf, such as ``encoder/layers_0/kernel``,
            whatever the case.
        blocks: Regular expression for the leaves of blocks; its one group is the block's index, counted from 0.
            Where the default one finds several stacks of blocks, it must be given.
        first: Regular expression for the leaves of layer 0; a leaf inside a block belongs to the block.
        stacked: Regular expression for leaves that stack all blocks along their leading axis, as ``nn.scan`` makes
            them; None for none.
        default: With a mapping, the multiplier of leaves that no pattern claims. Without it they are an error.

    Returns:
        A transformation without state.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; or, from ``init``, no block or several stacks of them, or leaves
            that no pattern or several claim, or a pattern without a leaf.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import adamw, layerwise
        >>> params = {"embed": jnp.ones(2), "layers_0": jnp.ones(2), "layers_1": jnp.ones(2), "head": jnp.ones(2)}
        >>> optimizer = optax.chain(adamw(1e-3, weight_decay=0.0), layerwise(0.5))
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> {name: round(float(update[0]), 6) for name, update in updates.items()}
        {'embed': -0.000125, 'head': -0.001, 'layers_0': -0.00025, 'layers_1': -0.0005}
        >>> optimizer = optax.chain(adamw(1e-3), layerwise({"embed|layers": 0.01, "head": 1.0}))

    Source:
        Clark et al., "ELECTRA" (2020), arXiv:2003.10555; Bao et al., "BEiT" (2022), arXiv:2106.08254
        (``get_num_layer_for_vit``); Howard and Ruder (2018), arXiv:1801.06146 (discriminative fine-tuning).
    """
    shares = _shares_of("layerwise", rule, blocks, first, stacked, default)

    def init(params: PyTree) -> optax.EmptyState:
        shares(params)
        return optax.EmptyState()

    def update(updates: PyTree, state: optax.EmptyState, params: PyTree = None) -> tuple[PyTree, optax.EmptyState]:
        del params
        leaves, structure = jax.tree.flatten(updates)
        scaled = [_scaled(leaf, share.multiplier) for leaf, share in zip(leaves, shares(updates), strict=True)]
        return jax.tree.unflatten(structure, scaled), state

    return optax.GradientTransformation(init, update)


class LayerRate(NamedTuple):
    """The rate of one leaf, or of one block of a stacked leaf.

    Attributes:
        path: Its name, such as ``encoder/layers_0/kernel``; ``layers/kernel[0]`` in a stacked leaf.
        layer: Its number, from 0 for embeddings to ``num_blocks + 1``; None where a mapping gives the multipliers.
        multiplier: What its updates are scaled by.
        learning_rate: The rate that comes of it, or None.
    """

    path: str
    layer: int | None
    multiplier: float
    learning_rate: float | None


class LayerRates(tuple[LayerRate, ...]):
    """A tuple of ``LayerRate`` that prints as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        """A line for every leaf, below a line of headings."""
        table: list[tuple[str, ...]] = [("path", "layer", "multiplier", "learning rate")]
        for path, layer, multiplier, rate in self:
            shown = ("" if value is None else f"{value:.4g}" for value in (layer, multiplier, rate))
            table.append((path, *shown))
        kept = [column for column in zip(*table, strict=True) if any(column[1:]) or column[0] == "path"]
        return aligned(list(zip(*kept, strict=True)), str.rjust)


def layer_rates(
    params: PyTree,
    rule: jax.typing.ArrayLike | Mapping[str, jax.typing.ArrayLike],
    *,
    learning_rate: jax.typing.ArrayLike | None = None,
    blocks: str = BLOCK_INDEX,
    first: str = FIRST_LAYER,
    stacked: str | None = None,
    default: jax.typing.ArrayLike | None = None,
) -> LayerRates:
    """What ``layerwise`` with the same arguments makes of every leaf, to read before training.

    ``rate = learning_rate * multiplier``.

    Args:
        params: Pytree of arrays or of their shapes.
        rule: As in ``layerwise``, with numbers only.
        learning_rate: The optimizer's rate, to be multiplied; None leaves the rates out.
        blocks: As in ``layerwise``.
        first: As in ``layerwise``.
        stacked: As in ``layerwise``.
        default: As in ``layerwise``.

    Returns:
        A tuple of ``LayerRate(path, layer, multiplier, learning_rate)``, one for every leaf in JAX's order, that
        prints as a table.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: As ``layerwise`` and its ``init`` raise it.

    Example:
        >>> import jax.numpy as jnp
        >>> from lrjax.optimizers import layer_rates
        >>> params = {"embed": jnp.ones(2), "layers_0": jnp.ones(2), "layers_1": jnp.ones(2), "head": jnp.ones(2)}
        >>> print(layer_rates(params, 0.5, learning_rate=1e-3))
        path      layer  multiplier  learning rate
        embed         0       0.125       0.000125
        head          3           1          0.001
        layers_0      1        0.25        0.00025
        layers_1      2         0.5         0.0005
    """
    call = "layer_rates"
    shares = _shares_of(call, rule, blocks, first, stacked, default)
    for argument, value in [("rule", rule), ("learning_rate", learning_rate), ("default", default)]:
        for number in filter(_checks.is_traced, jax.tree.leaves(value)):
            _checks.refuse_type(call, argument, "known before tracing", number)
    peak = None if learning_rate is None else _checks.number(call, "learning_rate", learning_rate, low=0.0)
    rows = []
    for (path, _), share in zip(named_leaves(params), shares(params), strict=True):
        stack = np.ndim(share.multiplier) > 0
        for i, multiplier in enumerate(np.atleast_1d(np.float64(share.multiplier)).tolist()):
            name, layer = (f"{path}[{i}]", i + 1) if stack else (path, share.layer)
            rows.append(LayerRate(name, layer, multiplier, None if peak is None else peak * multiplier))
    return LayerRates(rows)


class _Share(NamedTuple):
    """What one leaf gets.

    Attributes:
        layer: Its number, an array of them in a stacked leaf, or None where a mapping gives the multipliers.
        multiplier: A number or a traced scalar, or ``[blocks]`` in a stacked leaf.
    """

    layer: Any
    multiplier: Any


_Shares: TypeAlias = Callable[[PyTree], list[_Share]]
"""What the leaves of a tree get, in JAX's order."""


def _shares_of(call: str, rule: Any, blocks: Any, first: Any, stacked: Any, default: Any) -> _Shares:
    """The checked arguments as a function of the tree."""
    if not isinstance(rule, Mapping):
        if default is not None:
            _checks.refuse(call, "default", "left out with a decay", _checks.shown(default))
        if isinstance(rule, bool) or not isinstance(rule, int | float | np.generic | np.ndarray | jax.Array):
            _checks.refuse_type(call, "rule", "a number or a mapping of regular expressions to multipliers", rule)
        decay = _arguments.number(call, "rule", rule, low=0.0, high=1.0)
        return _by_depth(call, decay, blocks, first, stacked)
    for argument, value, unset in [
        ("blocks", blocks, BLOCK_INDEX),
        ("first", first, FIRST_LAYER),
        ("stacked", stacked, None),
    ]:
        if value != unset:
            _checks.refuse(call, argument, "left out with a mapping", repr(value))
    return _by_pattern(call, rule, default)


def _by_pattern(call: str, rule: Mapping[str, Any], default: Any) -> _Shares:
    """Multipliers by the pattern that claims a leaf."""
    patterns = {pattern: [compiled(call, "rule", pattern)] for pattern in rule}
    names = {pattern: repr(pattern) for pattern in rule}
    multipliers: dict[str | None, Any] = {
        pattern: _arguments.number(call, f"rule[{pattern!r}]", value, low=0.0) for pattern, value in rule.items()
    }
    if default is not None:
        multipliers[None] = _arguments.number(call, "default", default, low=0.0)

    def shares(tree: PyTree) -> list[_Share]:
        paths = [path for path, _ in named_leaves(tree)]
        claims = [matching(patterns, path) for path in paths]
        chosen = settled(call, "rule", paths, claims, names, rest=default is not None)
        return [_Share(None, multipliers[pattern]) for pattern in chosen]

    return shares


def _by_depth(call: str, decay: Any, blocks: Any, first: Any, stacked: Any) -> _Shares:
    """Multipliers by the number of the layer."""
    block_index, first_layer = compiled(call, "blocks", blocks), compiled(call, "first", first)
    stack = None if stacked is None else compiled(call, "stacked", stacked)
    if block_index.groups != 1:
        _checks.refuse(call, "blocks", "a regular expression with one group, the block's index", repr(blocks))

    def shares(tree: PyTree) -> list[_Share]:
        leaves = named_leaves(tree)
        if not leaves:
            return []
        layers: list[Any] = []
        sizes: dict[str, int] = {}  # by the stack's name
        for path, leaf in leaves:
            if stack is not None and stack.search(path):
                size = _stack_size(call, path, leaf, sizes.get(stack.pattern))
                sizes[stack.pattern] = size
                layers.append(np.arange(1, size + 1))
            elif match := block_index.search(path):
                index = _index(call, path, match)
                name = path[: match.start(1)]
                sizes[name] = max(sizes.get(name, 0), index + 1)
                layers.append(index + 1)
            else:
                layers.append(0 if first_layer.search(path) else None)
        _check_stacks(call, sizes, blocks, stacked, [path for path, _ in leaves])
        last = max(sizes.values()) + 1
        numbers = [last if layer is None else layer for layer in layers]
        return [_Share(layer, decay ** (last - layer)) for layer in numbers]

    return shares


def _stack_size(call: str, path: str, leaf: Any, known: int | None) -> int:
    """The number of blocks in a stacked leaf."""
    if not leaf.shape or (known is not None and leaf.shape[0] != known):
        axis = "a leading axis of blocks" if known is None else f"a leading axis of {known} blocks, as others have"
        _checks.refuse(call, "stacked", f"a pattern of leaves with {axis}", f"shape {leaf.shape} for {path!r}")
    return int(leaf.shape[0])


def _index(call: str, path: str, match: re.Match[str]) -> int:
    """The block's index that the pattern found in a path."""
    if not (match[1] or "").isdecimal():
        _checks.refuse(call, "blocks", "a regular expression whose group is a number", f"{match[1]!r} in {path!r}")
    return int(match[1])


def _check_stacks(call: str, sizes: Mapping[str, int], blocks: str, stacked: str | None, paths: list[str]) -> None:
    """Refuse a tree without blocks, and one in which it is unclear which blocks count."""
    found = listed([repr(path) for path in paths])
    if stacked is not None and stacked not in sizes:
        _checks.refuse(call, "stacked", "a pattern of the stacked leaves", f"no match of {stacked!r} in {found}")
    if not sizes:
        requirement = "a pattern of the blocks' paths, its group their index (stacked= for blocks in a single leaf)"
        _checks.refuse(call, "blocks", requirement, f"no match of {blocks!r} in {found}")
    if len(sizes) > 1 and blocks == BLOCK_INDEX:
        stacks = listed([f"{name!r} of {size}" for name, size in sizes.items()])
        requirement = "given where there are several stacks of blocks (or a layerwise for each, in param_groups)"
        _checks.refuse(call, "blocks", requirement, f"the default with stacks {stacks}")


def _scaled(update: jax.Array, multiplier: Any) -> jax.Array:
    """``update * multiplier`` in its dtype, zero at a multiplier of 0 even where ``update`` is not finite."""
    real = accumulation_dtype(update)
    factor = jnp.asarray(multiplier, real)
    factor = factor.reshape(factor.shape + (1,) * (update.ndim - 1) if factor.ndim else ())
    scaled = update.astype(jnp.promote_types(update.dtype, real)) * factor
    return jnp.where(factor == 0.0, 0.0, scaled).astype(update.dtype)
