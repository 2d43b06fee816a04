"""Groups of parameters, each with an optimizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import optax

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers._claims import listed, matching, named_leaves, settled
from lrjax.optimizers.clipping import ClipState, clip_gradients
from lrjax.optimizers.decay_mask import compiled
from lrjax.typing import PyTree, ScalarOrSchedule

_CALL = "param_groups"


class ParamGroupsState(NamedTuple):
    """The state of ``param_groups``.

    Attributes:
        clip: What the clipping of all groups together has seen; ``clip.norm`` is the norm over all groups before
            clipping, ``clip.nonfinite`` counts the skipped steps and ``clip.count`` the others. None without
            ``max_norm``.
        partition: The state of ``optax.partition``.
    """

    clip: ClipState | None
    partition: Any

    @property
    def groups(self) -> dict[str, optax.OptState]:
        """The state of every group's own transformation."""
        return {label: state.inner_state for label, state in self.partition.inner_states.items()}


def param_groups(
    transforms: Mapping[str, optax.GradientTransformation],
    labels: Mapping[str, str | Sequence[str]] | Callable[[str, Any], str | None] | PyTree,
    *,
    default: str | None = None,
    max_norm: ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
    """A transformation for each group of parameters; every leaf is in one group.

    ``updates[leaf] = transforms[label(leaf)]`` of ``g = gradient * min(1, max_norm / norm(gradient))``, where each
    transformation sees the leaves of its group only.

    **The presets of this package clip by the norm of what they see: in a group, by their own group's norm, to 1 by
    default, and a non-finite gradient skips the step of its own group only.** ``max_norm`` here bounds the norm over
    all groups together, as ``torch.nn.utils.clip_grad_norm_`` over all parameters does, and a gradient that is
    non-finite anywhere then skips the step of all groups: parameters and inner states, clocks included, stay as they
    were. Presets still bound their group's norm afterwards, which changes nothing while ``max_norm`` here is no larger
    than theirs; ``max_norm=None`` turns theirs off. Skipping keeps a copy of the inner states for the length of the
    update.

    A range test over the rate of one group, while the others hold theirs, is ``range_test(loss_fn, params, batches,
    lambda rate: param_groups({"backbone": adamw(1e-5), "head": adamw(rate)}, labels), rates)``.

    Args:
        transforms: Labels and their transformations, ``optax.set_to_zero()`` for a frozen group.
        labels: Which leaf is in which group, as one of:
            a mapping from labels to a regular expression or a list of them, searched for anywhere in the path of a
            leaf, such as ``encoder/layers_0/kernel``, whatever the case;
            a function ``(path, leaf) -> label``, None for no label, that may look at the leaf's shape and dtype (it is
            called on gradients too, and anew whenever ``update`` is traced);
            a tree of labels in the structure of the parameters or a prefix of it, None for no label. A mapping whose
            keys are all labels of ``transforms`` is read as regular expressions.
        default: Label of the leaves that ``labels`` leaves out. Without it they are an error.
        max_norm: Largest norm of the gradient over all groups together: a positive number, a traced scalar or a
            schedule of the steps applied; None leaves clipping and skipping to each group.

    Returns:
        A transformation whose state is a ``ParamGroupsState``; extra arguments to ``update`` reach every group.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; or, from ``init``, leaves without a label or with two, labels that
            are unknown or, other than ``default``, without a leaf.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from lrjax.optimizers import adamw, param_groups, sgd
        >>> params = {"encoder": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 1))}}
        >>> transforms = {"backbone": adamw(1e-5), "head": sgd(0.1)}
        >>> optimizer = param_groups(transforms, {"head": "^head/"}, default="backbone")
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update(params, state, params)
        >>> [round(float(group["kernel"][0, 0]), 6) for group in updates.values()]
        [-1e-05, -0.070711]
        >>> {label: round(float(group.clip.norm), 3) for label, group in state.groups.items()}
        {'backbone': 2.0, 'head': 1.414}

    Source:
        ``optax.partition``; Howard and Ruder, "Universal language model fine-tuning for text classification" (2018),
        arXiv:1801.06146 (a rate for each group of layers).
    """
    known = _checked_transforms(transforms)
    if default is not None:
        _checks.choice(_CALL, "default", default, known)
    max_norm = _arguments.max_norm(_CALL, max_norm)
    claims = _claims_by(labels, known, default)
    required = {label: repr(label) for label in known if label != default}
    if _are_patterns(labels, known):
        required = {label: f"{name} with {labels[label]!r}" for label, name in required.items()}

    def label_tree(tree: PyTree) -> PyTree:
        paths = [path for path, _ in named_leaves(tree)]
        chosen = settled(_CALL, "labels", paths, claims(tree), required, rest=default is not None)
        return jax.tree.unflatten(jax.tree.structure(tree), [default if label is None else label for label in chosen])

    groups = optax.partition(known, label_tree)
    clip = None if max_norm is None else clip_gradients(max_norm)

    def init(params: PyTree) -> ParamGroupsState:
        return ParamGroupsState(None if clip is None else clip.init(params), groups.init(params))

    def update(
        grads: PyTree, state: ParamGroupsState, params: PyTree = None, **extra_args: Any
    ) -> tuple[PyTree, ParamGroupsState]:
        if clip is None or state.clip is None:
            updates, partition = groups.update(grads, state.partition, params, **extra_args)
            return updates, ParamGroupsState(None, partition)
        grads, clip_state = clip.update(grads, state.clip, params)
        finite = jnp.isfinite(clip_state.norm)
        updates, partition = groups.update(grads, state.partition, params, **extra_args)

        def hold(new: PyTree, old: PyTree) -> PyTree:
            return jax.tree.map(lambda leaf, held: jnp.where(finite, leaf, held), new, old)

        clip_state = clip_state._replace(count=hold(clip_state.count, state.clip.count))
        updates = hold(updates, optax.tree.zeros_like(updates))
        return updates, ParamGroupsState(clip_state, hold(partition, state.partition))

    return optax.GradientTransformationExtraArgs(init, update)


_Claims: TypeAlias = Callable[[PyTree], list[list[str]]]
"""The labels that claim each leaf of a tree."""


def _checked_transforms(transforms: Any) -> dict[str, optax.GradientTransformation]:
    """A copy of ``transforms``, which must be a mapping of labels to transformations."""
    if not isinstance(transforms, Mapping):
        _checks.refuse_type(_CALL, "transforms", "a mapping of labels to optax transformations", transforms)
    if not transforms:
        _checks.refuse(_CALL, "transforms", "a mapping with at least one label", "an empty one")
    for label, transform in transforms.items():
        if not isinstance(label, str):
            _checks.refuse_type(_CALL, "transforms", "a mapping whose labels are strings", label)
        if not isinstance(transform, optax.GradientTransformation):
            _checks.refuse_type(_CALL, f"transforms[{label!r}]", "an optax transformation", transform)
    return dict(transforms)


def _are_patterns(labels: Any, known: Mapping[str, Any]) -> TypeGuard[Mapping[str, Any]]:
    """Whether ``labels`` is a mapping of labels, and not one of parts of the parameters."""
    return isinstance(labels, Mapping) and set(labels) <= set(known)


def _claims_by(labels: Any, known: Mapping[str, Any], default: str | None) -> _Claims:
    """What ``labels`` says of a tree, in whichever of its three forms."""
    if _are_patterns(labels, known):
        return _by_pattern(labels, known, default)
    # Modules that hold labels may be callable as well, but a function is a single leaf.
    if callable(labels) and jax.tree_util.all_leaves([labels]):
        return _by_function(labels, known)
    return _by_tree(labels, known)


def _by_pattern(labels: Mapping[str, Any], known: Mapping[str, Any], default: str | None) -> _Claims:
    """The claims of regular expressions."""
    silent = [repr(label) for label in known if label not in labels and label != default]
    if silent:
        _checks.refuse(_CALL, "labels", "patterns for every label but the default", listed(silent, "none for "))
    patterns = {
        label: [
            compiled(_CALL, f"labels[{label!r}]", pattern)
            for pattern in (rule if isinstance(rule, list | tuple) else [rule])
        ]
        for label, rule in labels.items()
    }
    return lambda tree: [matching(patterns, path) for path, _ in named_leaves(tree)]


def _by_function(label_of: Callable[[str, Any], str | None], known: Mapping[str, Any]) -> _Claims:
    """The claims of a function of path and leaf."""

    def claims(tree: PyTree) -> list[list[str]]:
        found = []
        for path, leaf in named_leaves(tree):
            label = label_of(path, leaf)
            if label is not None and not (isinstance(label, str) and label in known):
                _refuse_label(label, known, f"for {path!r}")
            found.append([] if label is None else [label])
        return found

    return claims


def _by_tree(labels: PyTree, known: Mapping[str, Any]) -> _Claims:
    """The claims of a tree of labels, which may end above the leaves."""

    def is_none(label: Any) -> bool:
        return label is None

    keys = labels if isinstance(labels, Mapping) else ()
    why = "".join(f" (a tree of labels, not patterns: the key {key!r} is no label)" for key in keys if key not in known)
    for path, label in jax.tree.leaves_with_path(labels):
        if not isinstance(label, str):
            kinds = "regular expressions by label, a function of path and leaf, or a tree of labels"
            _checks.refuse_type(_CALL, "labels", kinds, label)
        if label not in known:
            _refuse_label(label, known, f"at labels{jax.tree_util.keystr(path)}{why}")

    def claims(tree: PyTree) -> list[list[str]]:
        found: list[list[str]] = []
        if not jax.tree.leaves(tree):  # such as the placeholder of optax.tree.map_params
            return found

        def claim(label: str | None, subtree: PyTree) -> None:
            found.extend([] if label is None else [label] for _ in jax.tree.leaves(subtree))

        try:
            jax.tree.map(claim, labels, tree, is_leaf=is_none)
        except ValueError as error:
            message = f"`{_CALL}(labels=...)` must be a tree of labels in the structure of the parameters or a prefix"
            raise ValueError(f"{message}: {error}") from error
        return found

    return claims


def _refuse_label(label: Any, known: Mapping[str, Any], where: str) -> NoReturn:
    """Raise for a label that has no transformation."""
    _checks.refuse(_CALL, "labels", f"labels of transforms, {', '.join(map(repr, known))}", f"{label!r} {where}")
