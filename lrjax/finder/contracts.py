"""What the user's functions answer, traced once with shapes only, so that a wrong one is named before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import Jaxpr, Var

from lrjax import _checks
from lrjax.finder import trees
from lrjax.finder.programs import remembered
from lrjax.finder.segments import Lane
from lrjax.finder.supervised import Shared, Step
from lrjax.typing import LossFn, OptimizerFactory, PyTree

TRACE_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def accepts(call: str, argument: str, function: Any, names: list[str]) -> None:
    """Refuse what cannot be called with these arguments; a name that ends in ``=`` is a keyword."""
    written = f"{argument}({', '.join(name + name[:-1] if name.endswith('=') else name for name in names)})"
    _checks.function(call, argument, function, written)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions have none to read
        return
    try:
        signature.bind(
            *(name for name in names if not name.endswith("=")),
            **{name[:-1]: name for name in names if name.endswith("=")},
        )
    except TypeError as error:
        raise TypeError(f"`{call}({argument}=...)` must be callable as {written}: {error}") from None


def loss(call: str, loss_fn: LossFn, params: PyTree, batch: PyTree, model_state: PyTree, rng: Any) -> None:
    """Refuse a loss that takes or answers other than the run's model_state and rng ask for."""
    keywords = {name: value for name, value in (("state", model_state), ("rng", rng)) if value is not None}
    accepts(call, "loss_fn", loss_fn, ["params", "batch", *(f"{name}=" for name in keywords)])
    result = jax.eval_shape(loss_fn, params, batch, **keywords)
    if model_state is None:
        hint = "; give model_state= if it returns (loss, new_state)" if isinstance(result, tuple) else ""
        scalar(call, "loss_fn", result, hint)
        return
    if not (isinstance(result, tuple) and len(result) == 2):
        got = trees.described(result)
        raise TypeError(f"`{call}(loss_fn=...)` must return (loss, new_state) where there is a model_state, got {got}")
    scalar(call, "loss_fn", result[0], " as the loss of (loss, new_state)")
    if not trees.alike(result[1], model_state, dtypes=False):
        _checks.refuse(
            call,
            "loss_fn",
            f"a function whose new_state is like model_state, {trees.described(model_state)}",
            trees.described(result[1]),
        )


def evaluate(call: str, function: LossFn, params: PyTree, batch: PyTree, model_state: PyTree) -> None:
    """Refuse an evaluation that does not answer a scalar."""
    keywords = {} if model_state is None else {"state": model_state}
    accepts(call, "evaluate", function, ["params", "batch", *(f"{name}=" for name in keywords)])
    scalar(call, "evaluate", jax.eval_shape(function, params, batch, **keywords), "")


def scalar(call: str, argument: str, result: Any, hint: str) -> None:
    """Refuse what is not the shape of one floating-point number."""
    if not isinstance(result, jax.ShapeDtypeStruct):
        raise TypeError(f"`{call}({argument}=...)` must return a scalar, got {trees.described(result)}{hint}")
    if result.shape != ():
        _checks.refuse(
            call, argument, "a function to a scalar (a mean, say)", f"one to an array of shape {result.shape}"
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise TypeError(f"`{call}({argument}=...)` must return a floating-point scalar, got dtype {result.dtype}{hint}")


def factory(call: str, optimizer: Callable[..., Any], *keywords: str) -> None:
    """Refuse what is not a function of the rate, and of these keywords."""
    if isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"`{call}(optimizer=...)` must be a function of the learning rate, got a built optimizer: "
            "pass optax.adamw, not optax.adamw(1e-3)"
        )
    accepts(call, "optimizer", optimizer, ["learning_rate", *(f"{name}=" for name in keywords)])


def optimizer(call: str, build: OptimizerFactory, params: PyTree, rate: PyTree = None) -> None:
    """Refuse what is not a function of a traced ``rate``, by default a scalar, to one whose state keeps its shapes."""
    factory(call, build)

    def one_update(rate: Any, params: PyTree) -> tuple[PyTree, PyTree]:
        try:
            built = build(rate)
        except TRACE_ERRORS as error:
            traced, read = ("a traced learning rate", "the rate cannot read it")
            if not jax.tree_util.all_leaves([rate]):
                traced, read = "traced hyperparameters", "them cannot read them"
            raise TypeError(
                f"`{call}(optimizer=...)` must build its optimizer from {traced} (a Python `if`, `float` or NumPy "
                f"function of {read})"
            ) from error
        if not isinstance(built, optax.GradientTransformation):
            raise TypeError(
                f"`{call}(optimizer=...)` must return an optax.GradientTransformation, got a {type(built).__name__}"
            )
        state = built.init(params)
        update = optax.with_extra_args_support(built).update
        return state, update(params, state, params, value=jnp.zeros(()))[1]

    if rate is None:
        rate = trees.shaped((), jax.dtypes.canonicalize_dtype(np.float64))
    before, after = jax.eval_shape(one_update, rate, params)
    if not trees.alike(before, after, dtypes=False):
        _checks.refuse(
            call,
            "optimizer",
            f"one whose state keeps its structure and shapes, {trees.described(before)}",
            f"{trees.described(after)} after an update",
        )
    if not jax.tree_util.all_leaves([rate]):
        _every_rate_is_used(call, jax.make_jaxpr(one_update)(rate, params).jaxpr, rate)


def _every_rate_is_used(call: str, jaxpr: Jaxpr, rates: PyTree) -> None:
    """Refuse an optimizer that leaves out some of the ``rates``, the first arguments of its traced update."""
    used = {variable for equation in jaxpr.eqns for variable in equation.invars if isinstance(variable, Var)}
    for (path, _), variable in zip(jax.tree_util.tree_leaves_with_path(rates), jaxpr.invars, strict=False):
        if variable not in used:
            got = f"one that leaves out {jax.tree_util.keystr(path)}"
            _checks.refuse(call, "optimizer", "a function that uses every rate it is given", got)


def seeds(
    call: str,
    count: int,
    init: Callable[[Any, Shared], Any],
    step: Callable[[Any, PyTree], tuple[Any, Any]],
    shared: Shared,
    batch: PyTree,
) -> None:
    """Refuse several seeds where neither a lane's parameters nor its loss depend on the seed."""

    def outcome(seed: Any, shared: Shared, batch: PyTree) -> PyTree:
        carry = init(seed, shared)
        return carry.params, step(carry, batch)[1]

    jaxpr = jax.make_jaxpr(outcome)(trees.shaped((), jnp.int32), shared, batch).jaxpr
    depending = {jaxpr.invars[0]}
    for equation in jaxpr.eqns:
        if any(isinstance(variable, Var) and variable in depending for variable in equation.invars):
            depending.update(equation.outvars)
    if not any(isinstance(variable, Var) and variable in depending for variable in jaxpr.outvars):
        _checks.refuse(
            call,
            "seeds",
            "left out where seeds change nothing (params is no function of a key or ignores it, and there is no rng "
            "that loss_fn uses)",
            f"{count} seeds",
        )


def init(call: str, function: Any) -> Callable[[PyTree, PyTree], PyTree]:
    """``init(hyperparams, rng)``, which once traced refuses to give what is no carry."""
    accepts(call, "init", function, ["hyperparams", "rng"])

    def checked(hyperparams: PyTree, rng: PyTree) -> PyTree:
        carry = _arrays(call, "init", "a pytree of arrays", function(hyperparams, rng))
        if not jax.tree.leaves(carry):
            _checks.refuse(call, "init", "a function to a carry of at least one array", f"one to {carry}")
        return carry

    return checked


def step(call: str, function: Any) -> Step:
    """``step(carry, batch)``, which once traced refuses to give a carry unlike the one it took, or no metrics."""
    accepts(call, "step", function, ["carry", "batch"])
    pair = "a function to (carry, metrics)"

    def checked(carry: PyTree, batch: PyTree) -> tuple[PyTree, dict[str, jax.Array]]:
        result = function(carry, batch)
        if not (isinstance(result, tuple | list) and len(result) == 2):
            _checks.refuse(call, "step", pair, f"one to {trees.described(result)}")
        after, metrics = _arrays(call, "step", "(carry, metrics) of arrays", tuple(result))
        structures: list[Any] = [jax.tree.structure(tree) for tree in (carry, after)]
        if structures[0] != structures[1]:
            requirement = f"{pair} whose carry is like the one it took, {trees.described(carry)}"
            _checks.refuse(call, "step", requirement, trees.described(after))
        for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(carry), jax.tree.leaves(after), strict=True):
            if (old.shape, old.dtype) != (new.shape, new.dtype):
                raise TypeError(
                    f"`{call}(step=...)` must keep the shape and dtype of every leaf of its carry, got "
                    f"{trees.described(new)} for {trees.described(old)}{trees.at(path)}"
                )
        is_dict = isinstance(metrics, dict) and metrics and all(isinstance(name, str) for name in metrics)
        if not (
            is_dict and all(isinstance(value, jax.Array) and not trees.is_key(value) for value in metrics.values())
        ):
            requirement = f"{pair} with the metrics a dict of arrays of numbers by name"
            _checks.refuse(call, "step", requirement, trees.described(metrics))
        return after, dict(metrics)  # an OrderedDict would have its leaves in another order than their sorted names

    return checked


def metric(call: str, lane: Lane, name: str | None) -> str:
    """The metric by which lanes are lost and compared: the one named, else the loss, else the only one."""
    known = sorted(lane.metrics)
    if name is None:
        name = "loss" if "loss" in known else known[0]
        if name != "loss" and len(known) > 1:
            requirement = f"one of {', '.join(map(repr, known))} where no metric is called 'loss'"
            _checks.refuse(call, "metric", requirement, "None")
    _checks.choice(call, "metric", name, known)
    form = lane.metrics[name]
    if form.shape != () or not jnp.issubdtype(form.dtype, jnp.floating):
        raise TypeError(
            f"`{call}(step=...)` must return a floating-point scalar for the metric {name!r}, by which lanes are lost "
            f"and compared, got {trees.described(form)}"
        )
    return name


def _arrays(call: str, argument: str, wanted: str, result: PyTree) -> PyTree:
    """What a function returned with its Python numbers as arrays, refused where a leaf is something else."""

    def array(path: Any, leaf: Any) -> jax.Array:
        if not isinstance(leaf, jax.Array | np.ndarray | np.number | np.bool_ | bool | int | float | complex):
            got = f"{_checks.shown(leaf)} ({type(leaf).__name__}){trees.at(path)}"
            raise TypeError(f"`{call}({argument}=...)` must return {wanted}, got {got}")
        return jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(array, result)


def reading(call: str, evaluate: Any, carry: PyTree, batch: PyTree, known_as: tuple[Any, ...]) -> None:
    """Refuse an evaluation of a carry that does not give a scalar."""
    shapes = jax.tree.map(trees.shape_of, batch)
    key = ("reading", *known_as, *trees.form((carry, shapes)))
    scalar(call, "evaluate", remembered(key, lambda: jax.eval_shape(evaluate, carry, shapes)), "")
