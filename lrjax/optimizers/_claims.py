"""Rules that claim the leaves of a tree by their paths: every leaf one claim, every rule a leaf."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from lrjax import _checks
from lrjax.optimizers._paths import path_name
from lrjax.typing import PyTree


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """Path and value of every leaf, in JAX's order."""
    return [(path_name(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def matching(patterns: Mapping[str, Sequence[re.Pattern[str]]], path: str) -> list[str]:
    """The labels with a pattern that is found in ``path``."""
    return [label for label, group in patterns.items() if any(pattern.search(path) for pattern in group)]


def settled(
    call: str,
    argument: str,
    paths: Sequence[str],
    claims: Sequence[Sequence[str]],
    labels: Mapping[str, str],
    *,
    rest: bool,
) -> list[str | None]:
    """The label of every leaf.

    Args:
        call: The function that the user called.
        argument: Its argument that holds the rules.
        paths: The leaves' names.
        claims: The labels that claim each of them.
        labels: Those that must have a leaf, and what a message calls them; in a tree without any leaf none must.
        rest: Whether leaves without a claim are allowed; their label is None.
    """
    several = [
        f"{path!r} claimed by {' and '.join(map(repr, claim))}"
        for path, claim in zip(paths, claims, strict=True)
        if len(claim) > 1
    ]
    if several:
        _checks.refuse(call, argument, "a single claim for every leaf", listed(several))
    unclaimed = [repr(path) for path, claim in zip(paths, claims, strict=True) if not claim]
    if unclaimed and not rest:
        _checks.refuse(
            call, argument, "a claim for every leaf (default= takes the rest)", listed(unclaimed, "none for ")
        )
    chosen = [claim[0] if claim else None for claim in claims]
    idle = [name for label, name in labels.items() if label not in chosen]
    if paths and idle:
        found = listed([repr(path) for path in paths])
        _checks.refuse(
            call, argument, "such that each claims a leaf", f"{listed(idle, 'none for ')}; the paths are {found}"
        )
    return chosen


def listed(items: Sequence[str], before: str = "", most: int = 6) -> str:
    """The first items and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return before + ", ".join(items[:most]) + more
