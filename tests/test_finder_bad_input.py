"""Wrong calls of the finder, and the whole text that each is answered with."""

from __future__ import annotations

import dataclasses
import functools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from lrjax.finder import (
    Halving,
    Hyperparams,
    Plan,
    RangeTest,
    Sweep,
    from_equinox,
    from_linen,
    from_nnx,
    merge,
    minibatches,
    range_test,
    suggest,
    sweep,
    training,
)

PARAMS = {"w": jnp.zeros(2)}
BATCHES = (np.ones((6, 4, 2), np.float32), np.ones((6, 4), np.float32))
BATCH = (BATCHES[0][0], BATCHES[1][0])
KEY = jax.random.key(0)


def loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] - y) ** 2)


def loss_with_state(params, batch, state):
    return loss(params, batch), {"count": state["count"] + 1}


def loss_with_rng(params, batch, rng):
    return loss(params, batch) + jax.random.uniform(rng)


def loss_without_new_state(params, batch, state):
    return loss(params, batch)


def loss_that_ignores_rng(params, batch, rng):
    return loss(params, batch)


def init(key):
    return {"w": jax.random.normal(key, (2,))}


def call(**changes):
    """A right call of range_test but for ``changes``."""
    arguments = {
        "loss_fn": loss,
        "params": PARAMS,
        "batches": BATCHES,
        "optimizer": optax.sgd,
        "learning_rates": [0.1, 0.2],
    }
    return lambda: range_test(**(arguments | changes))


def start(hyperparams, rng):
    return {"x": hyperparams["k"], "n": jnp.int32(0)}


def fall(carry, batch):
    return carry | {"x": 0.5 * carry["x"]}, {"loss": carry["x"]}


def answers(carry=None, metrics=None):
    """A step that answers these functions of its carry."""
    return lambda old, _: (
        old if carry is None else carry(old),
        {"loss": old["x"]} if metrics is None else metrics(old),
    )


def sweep_call(**changes):
    """A right call of sweep but for ``changes``."""
    arguments = {"init": start, "step": fall, "hyperparams": {"k": np.float32([1, 2])}, "batches": None, "steps": 3}
    return lambda: sweep(**(arguments | changes))


def trained(hyperparams=None, batches=BATCHES, **changes):
    """A sweep over the loop that ``training`` gives for these changes of right arguments."""
    arguments = {"loss_fn": loss, "params": PARAMS, "optimizer": optax.sgd}
    lanes = Hyperparams(np.float32([0.1]), np.int32([0])) if hyperparams is None else hyperparams
    return lambda: sweep(*training(**(arguments | changes)), lanes, batches)


def merged(*parts):
    return lambda: merge([part() for part in parts])


def changed(make, **changes):
    return lambda: dataclasses.replace(make(), **changes)


@functools.cache
def swept() -> Sweep:
    return sweep_call()()


def endless():
    while True:
        yield BATCH


def broken():
    raise OSError("disk gone")
    yield


@functools.cache
def result(validation: bool = False) -> RangeTest:
    return range_test(loss, PARAMS, BATCHES, optax.sgd, [0.1, 0.2], validation=BATCH if validation else None)


@dataclasses.dataclass
class NotAPytree:
    """A dataclass that JAX does not know."""

    x: np.ndarray


class Dense(linen.Module):
    """A module of the other flax."""

    @linen.compact
    def __call__(self, x):  # noqa: D102
        return linen.Dense(1)(x)


def growing(learning_rate):
    """An optimizer whose state gets longer with every update."""
    return optax.GradientTransformation(
        lambda _: (jnp.zeros(()),), lambda updates, state, _=None: (updates, (*state, jnp.zeros(())))
    )


def decides(learning_rate):
    return optax.sgd(learning_rate) if learning_rate > 0 else optax.adam(learning_rate)


STATE = {"count": jnp.zeros(())}
MLP = eqx.nn.MLP(2, 1, 4, 1, key=KEY)
NORM_AND_STATE = eqx.nn.make_with_state(eqx.nn.BatchNorm)(2, "batch", mode="batch")

WRONG = [
    # learning_rates
    (
        call(learning_rates=[]),
        ValueError,
        "range_test(learning_rates=...)",
        "be a sequence of rates, at least one, got none",
    ),
    (
        call(learning_rates=[0.1, float("nan")]),
        ValueError,
        "range_test(learning_rates=...)",
        "be finite in float32, got nan",
    ),
    (call(learning_rates=[0.1, -0.1]), ValueError, "range_test(learning_rates=...)", "be greater than 0, got -0.1"),
    (call(learning_rates=[0.0]), ValueError, "range_test(learning_rates=...)", "be greater than 0, got 0.0"),
    (
        call(learning_rates=np.array([0.1, np.inf])),
        ValueError,
        "range_test(learning_rates=...)",
        "be finite in float32, got inf",
    ),
    (
        call(learning_rates=[0.1, 0.2, 0.1]),
        ValueError,
        "range_test(learning_rates=...)",
        "be distinct in float32, got 0.1 more than once",
    ),
    (
        call(learning_rates=[0.1, 0.1 + 1e-12]),
        ValueError,
        "range_test(learning_rates=...)",
        "be distinct in float32, got 0.1 more than once",
    ),
    (call(learning_rates=0.1), TypeError, "range_test(learning_rates=...)", "be a sequence of rates, got 0.1 (float)"),
    (
        call(learning_rates="0.1"),
        TypeError,
        "range_test(learning_rates=...)",
        "be 'auto' or a sequence of rates, got '0.1' (str)",
    ),
    (call(learning_rates=["0.1"]), TypeError, "range_test(learning_rates=...)", "be a number, got '0.1' (str)"),
    (
        call(learning_rates=np.ones((2, 2))),
        ValueError,
        "range_test(learning_rates=...)",
        "be a sequence of rates, got an array of shape (2, 2)",
    ),
    # optimizer
    (
        call(optimizer=optax.adamw(1e-3)),
        TypeError,
        "range_test(optimizer=...)",
        "be a function of the learning rate, got a built optimizer: pass optax.adamw, not optax.adamw(1e-3)",
    ),
    (
        call(optimizer="adamw"),
        TypeError,
        "range_test(optimizer=...)",
        "be a function optimizer(learning_rate), got 'adamw' (str)",
    ),
    (
        call(optimizer=lambda rate: (optax.sgd, rate)),
        TypeError,
        "range_test(optimizer=...)",
        "return an optax.GradientTransformation, got a tuple",
    ),
    (
        call(optimizer=lambda: optax.sgd(0.1)),
        TypeError,
        "range_test(optimizer=...)",
        "be callable as optimizer(learning_rate): too many positional arguments",
    ),
    (
        call(optimizer=decides),
        TypeError,
        "range_test(optimizer=...)",
        (
            "build its optimizer from a traced learning rate (a Python `if`, `float` or NumPy function of the"
            " rate cannot read it)"
        ),
    ),
    (
        call(optimizer=growing),
        ValueError,
        "range_test(optimizer=...)",
        "be one whose state keeps its structure and shapes, (float32[],), got (float32[], float32[]) after an update",
    ),
    # params
    (
        call(params=nnx.Linear(2, 1, rngs=nnx.Rngs(0))),
        TypeError,
        "range_test(params=...)",
        (
            "be a pytree of arrays, got the flax.nnx module Linear: lrjax.finder.from_nnx(model, loss) gives "
            "loss_fn and params"
        ),
    ),
    (
        call(params=Dense()),
        TypeError,
        "range_test(params=...)",
        (
            "be a pytree of arrays, got the flax.linen module Dense: lrjax.finder.from_linen(module, loss, inputs) "
            "gives loss_fn and params"
        ),
    ),
    (
        call(params=MLP),
        TypeError,
        "range_test(params=...)",
        (
            "be a pytree of arrays, got the equinox module MLP: lrjax.finder.from_equinox(model, loss) gives "
            "loss_fn and params"
        ),
    ),
    (
        call(params={}),
        ValueError,
        "range_test(params=...)",
        "be a pytree with floating-point arrays, got one without arrays",
    ),
    (
        call(params=None),
        ValueError,
        "range_test(params=...)",
        "be a pytree with floating-point arrays, got one without arrays",
    ),
    (
        call(params={"w": jnp.zeros(2), "n": jnp.arange(3)}),
        TypeError,
        "range_test(params=...)",
        (
            "hold floating-point arrays only, got int32 at ['n']: what is carried along and not trained "
            "belongs in model_state"
        ),
    ),
    (
        call(params={"w": "zeros"}),
        TypeError,
        "range_test(params=...)",
        "hold arrays of numbers, got 'zeros' (str) at ['w']",
    ),
    (
        call(params=lambda: PARAMS),
        TypeError,
        "range_test(params=...)",
        "be callable as params(key): too many positional arguments",
    ),
    (
        call(params=lambda _: jnp.arange(2)),
        TypeError,
        "range_test(params=...)",
        "hold floating-point arrays only, got int32: what is carried along and not trained belongs in model_state",
    ),
    (
        lambda: jax.jit(lambda p: call(params=p)().losses)(PARAMS),
        TypeError,
        "range_test(params=...)",
        "hold concrete arrays: call range_test outside jit, grad and vmap",
    ),
    # batches
    (
        call(batches=None),
        TypeError,
        "range_test(batches=...)",
        "be a pytree of arrays that lead with a step axis, or an iterable of batches, got None (NoneType)",
    ),
    (
        call(batches=3),
        TypeError,
        "range_test(batches=...)",
        "be a pytree of arrays that lead with a step axis, or an iterable of batches, got 3 (int)",
    ),
    (
        call(batches=NotAPytree(np.ones(3))),
        TypeError,
        "range_test(batches=...)",
        (
            "be a pytree of arrays that lead with a step axis, or an iterable of batches, got "
            "NotAPytree(x=array([1., 1., 1.])) (NotAPytree)"
        ),
    ),
    (
        call(batches=(np.ones((6, 4, 2)), np.ones((5, 4)))),
        ValueError,
        "range_test(batches=...)",
        "be a pytree of arrays with equally many steps, got 6 at [0], 5 at [1]",
    ),
    (
        call(batches={"x": np.ones((6, 2)), "y": np.float32(1)}),
        ValueError,
        "range_test(batches=...)",
        "be a pytree of arrays whose first axis counts the steps, got a scalar at ['y']",
    ),
    (
        call(batches=np.ones((0, 2))),
        ValueError,
        "range_test(batches=...)",
        "be a pytree of arrays whose first axis counts the steps, got shape (0, 2)",
    ),
    (
        call(batches=np.array(["a", "b"])),
        TypeError,
        "range_test(batches=...)",
        "hold arrays of numbers, got array(['a', 'b'], dtype='<U1') (ndarray)",
    ),
    (
        call(batches=()),
        ValueError,
        "range_test(batches=...)",
        "be a pytree of arrays whose first axis counts the steps, got no arrays",
    ),
    (
        call(batches=[], steps=1),
        ValueError,
        "range_test(batches=...)",
        (
            "be an iterable that yields batches, got none: the iterable was exhausted; give it more batches, "
            "or ask for fewer steps"
        ),
    ),
    (
        call(batches=[]),
        ValueError,
        "range_test(batches=...)",
        (
            "be an iterable that yields batches, got none: the iterable was exhausted; give it more batches, "
            "or ask for fewer steps"
        ),
    ),
    (
        call(batches=iter([()]), steps=1),
        ValueError,
        "range_test(batches=...)",
        "be an iterable that yields batches of arrays, got ()",
    ),
    (
        call(batches=broken(), steps=1),
        ValueError,
        "range_test(batches=...)",
        (
            "be an iterable that yields batches, got none: the iterable raised OSError('disk gone'); repair "
            "it and run again"
        ),
    ),
    (
        call(batches=endless()),
        ValueError,
        "range_test(steps=...)",
        "be given where batches have no length, as a generator has none, got None",
    ),
    # steps
    (call(steps=0), ValueError, "range_test(steps=...)", "be at least 1, got 0"),
    (call(steps=-1), ValueError, "range_test(steps=...)", "be at least 1, got -1"),
    (call(steps=10.5), ValueError, "range_test(steps=...)", "be a whole number, got 10.5"),
    (call(steps="10"), TypeError, "range_test(steps=...)", "be a whole number, got '10' (str)"),
    # loss_fn
    (call(loss_fn=3.0), TypeError, "range_test(loss_fn=...)", "be a function loss_fn(params, batch), got 3.0 (float)"),
    (
        call(loss_fn=lambda p, b: (b[0] @ p["w"] - b[1]) ** 2),
        ValueError,
        "range_test(loss_fn=...)",
        "be a function to a scalar (a mean, say), got one to an array of shape (4,)",
    ),
    (
        call(loss_fn=lambda *_: jnp.int32(1)),
        TypeError,
        "range_test(loss_fn=...)",
        "return a floating-point scalar, got dtype int32",
    ),
    (call(loss_fn=lambda *_: None), TypeError, "range_test(loss_fn=...)", "return a scalar, got None"),
    (
        call(loss_fn=lambda p, b: (loss(p, b), {})),
        TypeError,
        "range_test(loss_fn=...)",
        "return a scalar, got (float32[], {}); give model_state= if it returns (loss, new_state)",
    ),
    (
        call(loss_fn=lambda _: 0.0),
        TypeError,
        "range_test(loss_fn=...)",
        "be callable as loss_fn(params, batch): too many positional arguments",
    ),
    (
        call(model_state=STATE),
        TypeError,
        "range_test(loss_fn=...)",
        "be callable as loss_fn(params, batch, state=state): got an unexpected keyword argument 'state'",
    ),
    (
        call(loss_fn=loss_without_new_state, model_state=STATE),
        TypeError,
        "range_test(loss_fn=...)",
        "return (loss, new_state) where there is a model_state, got float32[]",
    ),
    (
        call(loss_fn=lambda p, b, state: (loss(p, b), {"total": state["count"]}), model_state=STATE),
        ValueError,
        "range_test(loss_fn=...)",
        "be a function whose new_state is like model_state, {count: float32[]}, got {total: float32[]}",
    ),
    (
        call(rng=KEY),
        TypeError,
        "range_test(loss_fn=...)",
        "be callable as loss_fn(params, batch, rng=rng): got an unexpected keyword argument 'rng'",
    ),
    (
        call(loss_fn=loss_with_rng),
        TypeError,
        "range_test(loss_fn=...)",
        "be callable as loss_fn(params, batch): missing a required argument: 'rng'",
    ),
    # model_state, rng, seeds
    (
        call(loss_fn=loss_with_state, model_state={"count": "none"}),
        TypeError,
        "range_test(model_state=...)",
        "hold arrays of numbers, got 'none' (str) at ['count']",
    ),
    (
        call(loss_fn=loss_with_rng, rng=0),
        TypeError,
        "range_test(rng=...)",
        "be a key such as jax.random.key(0), got 0 (int)",
    ),
    (
        call(loss_fn=loss_with_rng, rng=np.ones(2)),
        TypeError,
        "range_test(rng=...)",
        "be a key such as jax.random.key(0), got dtype float64",
    ),
    (
        call(loss_fn=loss_with_rng, rng=jax.random.split(KEY, 3)),
        ValueError,
        "range_test(rng=...)",
        "be a key such as jax.random.key(0), got an array of shape (3,)",
    ),
    (call(params=init, seeds=0), ValueError, "range_test(seeds=...)", "be at least 1, got 0"),
    (
        call(params=init, seeds=[]),
        ValueError,
        "range_test(seeds=...)",
        "be a count or a sequence of whole numbers, at least one, got none",
    ),
    (call(params=init, seeds=[1, 2, 1]), ValueError, "range_test(seeds=...)", "be distinct, got 1 more than once"),
    (call(params=init, seeds=[-1]), ValueError, "range_test(seeds=...)", "be at least 0, got -1"),
    (call(params=init, seeds=[0.5]), ValueError, "range_test(seeds=...)", "be a whole number, got 0.5"),
    (call(params=init, seeds=True), TypeError, "range_test(seeds=...)", "be a whole number, got True (bool)"),
    (
        call(params=init, seeds="3"),
        TypeError,
        "range_test(seeds=...)",
        "be a count or a sequence of whole numbers, got '3' (str)",
    ),
    (
        call(seeds=3),
        ValueError,
        "range_test(seeds=...)",
        (
            "be left out where seeds change nothing (params is no function of a key or ignores it, and there "
            "is no rng that loss_fn uses), got 3 seeds"
        ),
    ),
    (
        call(params=lambda _: PARAMS, seeds=3),
        ValueError,
        "range_test(seeds=...)",
        (
            "be left out where seeds change nothing (params is no function of a key or ignores it, and there "
            "is no rng that loss_fn uses), got 3 seeds"
        ),
    ),
    (
        call(loss_fn=loss_that_ignores_rng, rng=KEY, seeds=3),
        ValueError,
        "range_test(seeds=...)",
        (
            "be left out where seeds change nothing (params is no function of a key or ignores it, and there "
            "is no rng that loss_fn uses), got 3 seeds"
        ),
    ),
    # validation
    (call(validation=[]), ValueError, "range_test(validation=...)", "be a batch or a list of batches, got []"),
    (call(validation=()), ValueError, "range_test(validation=...)", "be a batch or a list of batches, got ()"),
    (call(validation="test"), TypeError, "range_test(validation=...)", "hold arrays of numbers, got 'test' (str)"),
    (
        call(evaluate=loss),
        ValueError,
        "range_test(evaluate=...)",
        "be left out where there is no validation=, got a function",
    ),
    (
        call(validation_steps=[1]),
        ValueError,
        "range_test(validation_steps=...)",
        "be left out where there is no validation=, got a list",
    ),
    (
        call(validation=BATCH, validation_steps=[0, 7]),
        ValueError,
        "range_test(validation_steps=...)",
        "be at most 6, got 7",
    ),
    (
        call(validation=BATCH, validation_steps=[-1]),
        ValueError,
        "range_test(validation_steps=...)",
        "be at least 0, got -1",
    ),
    (
        call(validation=BATCH, validation_steps=3),
        TypeError,
        "range_test(validation_steps=...)",
        "be a sequence of whole numbers, got 3 (int)",
    ),
    (
        call(validation=BATCH, validation_steps=[]),
        ValueError,
        "range_test(validation_steps=...)",
        "be a sequence of whole numbers, at least one, got none",
    ),
    (
        call(loss_fn=loss_with_state, model_state=STATE, validation=BATCH),
        ValueError,
        "range_test(evaluate=...)",
        "be given where model_state or rng is: loss_fn runs in training mode; pass evaluate=",
    ),
    (
        call(loss_fn=loss_with_rng, rng=KEY, validation=BATCH),
        ValueError,
        "range_test(evaluate=...)",
        "be given where model_state or rng is: loss_fn runs in training mode; pass evaluate=",
    ),
    (
        call(validation=BATCH, evaluate=1),
        TypeError,
        "range_test(evaluate=...)",
        "be a function evaluate(params, batch), got 1 (int)",
    ),
    (
        call(validation=BATCH, evaluate=lambda _, batch: batch[1]),
        ValueError,
        "range_test(evaluate=...)",
        "be a function to a scalar (a mean, say), got one to an array of shape (4,)",
    ),
    (
        call(loss_fn=loss_with_state, model_state=STATE, validation=BATCH, evaluate=loss),
        TypeError,
        "range_test(evaluate=...)",
        "be callable as evaluate(params, batch, state=state): got an unexpected keyword argument 'state'",
    ),
    # keep, plan, devices, memory_budget, progress, checkpoint
    (call(keep="best"), ValueError, "range_test(keep=...)", "be 'finite', 'all' or Halving(...), got 'best'"),
    (call(keep=0.5), TypeError, "range_test(keep=...)", "be 'finite', 'all' or Halving(...), got 0.5 (float)"),
    (call(keep=None), TypeError, "range_test(keep=...)", "be 'finite', 'all' or Halving(...), got None (NoneType)"),
    (
        call(keep=Halving),
        TypeError,
        "range_test(keep=...)",
        "be 'finite', 'all' or Halving(...), got <class 'lrjax.finder.keeping.Halving'> (type)",
    ),
    (call(plan="fast"), ValueError, "range_test(plan=...)", "be 'auto' or Plan(...), got 'fast'"),
    (call(plan=4), TypeError, "range_test(plan=...)", "be 'auto' or Plan(...), got 4 (int)"),
    (call(plan=None), TypeError, "range_test(plan=...)", "be 'auto' or Plan(...), got None (NoneType)"),
    (call(plan=np.ones(2)), TypeError, "range_test(plan=...)", "be 'auto' or Plan(...), got array([1., 1.]) (ndarray)"),
    (
        call(plan=Plan(2, devices=9), devices=jax.devices()[:1]),
        ValueError,
        "range_test(plan=...)",
        "be one for at most as many devices as there are, 1, got 9",
    ),
    (
        call(devices="cpu"),
        TypeError,
        "range_test(devices=...)",
        "be a sequence of JAX devices, as jax.devices() gives, got 'cpu' (str)",
    ),
    (
        call(devices=2),
        TypeError,
        "range_test(devices=...)",
        "be a sequence of JAX devices, as jax.devices() gives, got 2 (int)",
    ),
    (
        call(devices=[0]),
        TypeError,
        "range_test(devices=...)",
        "be a sequence of JAX devices, as jax.devices() gives, got 0 (int)",
    ),
    (
        call(devices=jax.devices("cpu")[0]),
        TypeError,
        "range_test(devices=...)",
        "be a sequence of JAX devices, as jax.devices() gives, got CpuDevice(id=0) (Device)",
    ),
    (call(devices=[]), ValueError, "range_test(devices=...)", "be at least one device, got none"),
    (
        call(devices=jax.devices("cpu")[:1] * 2),
        ValueError,
        "range_test(devices=...)",
        "be distinct, got [CpuDevice(id=0), CpuDevice(id=0)]",
    ),
    (call(memory_budget="1GiB"), TypeError, "range_test(memory_budget=...)", "be a whole number, got '1GiB' (str)"),
    (call(memory_budget=True), TypeError, "range_test(memory_budget=...)", "be a whole number, got True (bool)"),
    (call(memory_budget=0), ValueError, "range_test(memory_budget=...)", "be at least 1, got 0"),
    (call(memory_budget=1.5), ValueError, "range_test(memory_budget=...)", "be a whole number, got 1.5"),
    (call(progress="yes"), TypeError, "range_test(progress=...)", "be True or False, got 'yes' (str)"),
    (call(progress=None), TypeError, "range_test(progress=...)", "be True or False, got None (NoneType)"),
    (call(checkpoint=3), TypeError, "range_test(checkpoint=...)", "be a path, got 3 (int)"),
    (call(checkpoint=True), TypeError, "range_test(checkpoint=...)", "be a path, got True (bool)"),
    (call(checkpoint=b"path"), TypeError, "range_test(checkpoint=...)", "be a path, got b'path' (bytes)"),
    # sweep
    (sweep_call(init=None), TypeError, "sweep(init=...)", "be a function init(hyperparams, rng), got None (NoneType)"),
    (
        sweep_call(init=lambda hyperparams: hyperparams),
        TypeError,
        "sweep(init=...)",
        "be callable as init(hyperparams, rng): too many positional arguments",
    ),
    (
        sweep_call(init=lambda *_: {"x": "zero"}),
        TypeError,
        "sweep(init=...)",
        "return a pytree of arrays, got 'zero' (str) at ['x']",
    ),
    (
        sweep_call(init=lambda *_: None),
        ValueError,
        "sweep(init=...)",
        "be a function to a carry of at least one array, got one to None",
    ),
    (sweep_call(step=None), TypeError, "sweep(step=...)", "be a function step(carry, batch), got None (NoneType)"),
    (
        sweep_call(step=lambda carry: carry),
        TypeError,
        "sweep(step=...)",
        "be callable as step(carry, batch): too many positional arguments",
    ),
    (
        sweep_call(step=lambda carry, _: carry),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics), got one to {n: int32[], x: float32[]}",
    ),
    (
        sweep_call(step=lambda *_: None),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics), got one to None",
    ),
    (
        sweep_call(step=lambda carry, _: (carry, {"loss": carry["x"]}, 1)),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics), got one to ({n: int32[], x: float32[]}, {loss: float32[]}, int)",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"x": c["x"].astype(jnp.bfloat16)})),
        TypeError,
        "sweep(step=...)",
        "keep the shape and dtype of every leaf of its carry, got bfloat16[] for float32[] at ['x']",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"n": c["n"] + 0.5})),
        TypeError,
        "sweep(step=...)",
        "keep the shape and dtype of every leaf of its carry, got float32[] for int32[] at ['n']",
    ),
    (
        sweep_call(init=lambda h, _: h["k"], step=lambda c, _: (c.astype(int), {"loss": c})),
        TypeError,
        "sweep(step=...)",
        "keep the shape and dtype of every leaf of its carry, got int32[] for float32[]",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"x": jnp.stack([c["x"], c["x"]])})),
        TypeError,
        "sweep(step=...)",
        "keep the shape and dtype of every leaf of its carry, got float32[2] for float32[] at ['x']",
    ),
    (
        sweep_call(
            init=lambda h, _: {"x": h["k"], "key": KEY},
            step=answers(lambda c: c | {"key": jax.random.key_data(c["key"])}),
        ),
        TypeError,
        "sweep(step=...)",
        "keep the shape and dtype of every leaf of its carry, got uint32[2] for key<fry>[] at ['key']",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"y": c["x"]})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) whose carry is like the one it took, {n: int32[], x: float32[]}, got {n: int32[], x: float32[], y: float32[]}",
    ),
    (
        sweep_call(step=answers(lambda c: (c["n"], c["x"]))),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) whose carry is like the one it took, {n: int32[], x: float32[]}, got (int32[], float32[])",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"x": None})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) whose carry is like the one it took, {n: int32[], x: float32[]}, got {n: int32[], x: None}",
    ),
    (
        sweep_call(step=answers(lambda c: c | {"x": "half"})),
        TypeError,
        "sweep(step=...)",
        "return (carry, metrics) of arrays, got 'half' (str) at [0]['x']",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: c["x"])),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got float32[]",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: (c["x"], c["n"]))),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got (float32[], int32[])",
    ),
    (
        sweep_call(step=answers(metrics=lambda _: {})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got {}",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {0: c["x"]})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got {0: float32[]}",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {"loss": {"a": c["x"]}})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got {loss: {a: float32[]}}",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {"loss": c["x"], "aux": None})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got {aux: None, loss: float32[]}",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {"loss": c["x"], "key": KEY})),
        ValueError,
        "sweep(step=...)",
        "be a function to (carry, metrics) with the metrics a dict of arrays of numbers by name, got {key: key<fry>[], loss: float32[]}",
    ),
    (
        sweep_call(step=answers(metrics=lambda _: {"loss": "low"})),
        TypeError,
        "sweep(step=...)",
        "return (carry, metrics) of arrays, got 'low' (str) at [1]['loss']",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {"loss": c["x"][None]})),
        TypeError,
        "sweep(step=...)",
        "return a floating-point scalar for the metric 'loss', by which lanes are lost and compared, got float32[1]",
    ),
    (
        sweep_call(step=answers(metrics=lambda c: {"loss": c["x"], "n": c["n"]}), metric="n"),
        TypeError,
        "sweep(step=...)",
        "return a floating-point scalar for the metric 'n', by which lanes are lost and compared, got int32[]",
    ),
    (sweep_call(metric="accuracy"), ValueError, "sweep(metric=...)", "be one of 'loss', got 'accuracy'"),
    (sweep_call(metric=0), TypeError, "sweep(metric=...)", "be one of 'loss', got 0 (int)"),
    (
        sweep_call(step=answers(metrics=lambda c: {"return": c["x"], "energy": c["x"]})),
        ValueError,
        "sweep(metric=...)",
        "be one of 'energy', 'return' where no metric is called 'loss', got None",
    ),
    (
        sweep_call(hyperparams={}),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays whose first axis counts the lanes, got no arrays",
    ),
    (
        sweep_call(hyperparams=None),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays whose first axis counts the lanes, got no arrays",
    ),
    (
        sweep_call(hyperparams={"k": 1.0}),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays whose first axis counts the lanes, got a scalar at ['k']",
    ),
    (
        sweep_call(hyperparams={"k": [1.0, 2.0]}),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays whose first axis counts the lanes, got a scalar at ['k'][0]",
    ),
    (
        sweep_call(hyperparams=np.ones((0, 2))),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays whose first axis counts the lanes, got shape (0, 2)",
    ),
    (
        sweep_call(hyperparams={"k": np.ones(2), "j": np.ones((3, 2))}),
        ValueError,
        "sweep(hyperparams=...)",
        "be a pytree of arrays with equally many lanes, got 3 at ['j'], 2 at ['k']",
    ),
    (
        sweep_call(hyperparams={"k": np.array(["a", "b"])}),
        TypeError,
        "sweep(hyperparams=...)",
        "hold arrays of numbers, got array(['a', 'b'], dtype='<U1') (ndarray) at ['k']",
    ),
    (sweep_call(hyperparams="k"), TypeError, "sweep(hyperparams=...)", "hold arrays of numbers, got 'k' (str)"),
    (
        sweep_call(hyperparams={"k": np.ones(2), "key": jax.random.split(KEY, 2)}),
        TypeError,
        "sweep(hyperparams=...)",
        "hold arrays of numbers, got key<fry>[2] at ['key']: give seeds and make their keys in init, or jax.random.key_data(keys) and wrap it there",
    ),
    (
        lambda: jax.jit(lambda k: sweep_call(hyperparams={"k": k})().lost_at)(jnp.ones(2)),
        TypeError,
        "sweep(hyperparams=...)",
        "hold concrete arrays: call sweep outside jit, grad and vmap",
    ),
    (
        sweep_call(batches=3),
        TypeError,
        "sweep(batches=...)",
        "be a pytree of arrays that lead with a step axis, or an iterable of batches, got 3 (int)",
    ),
    (
        sweep_call(batches="abc"),
        TypeError,
        "sweep(batches=...)",
        "be a pytree of arrays that lead with a step axis, or an iterable of batches, got 'abc' (str)",
    ),
    (
        sweep_call(batches=(np.ones(2), np.ones(3))),
        ValueError,
        "sweep(batches=...)",
        "be a pytree of arrays with equally many steps, got 2 at [0], 3 at [1]",
    ),
    (
        sweep_call(batches=iter([None])),
        ValueError,
        "sweep(batches=...)",
        "be an iterable that yields batches of arrays, got None",
    ),
    (
        sweep_call(steps=None),
        ValueError,
        "sweep(steps=...)",
        "be given where batches have no length, as a generator has none, got None",
    ),
    (
        sweep_call(batches=endless(), steps=None),
        ValueError,
        "sweep(steps=...)",
        "be given where batches have no length, as a generator has none, got None",
    ),
    (sweep_call(steps=0), ValueError, "sweep(steps=...)", "be at least 1, got 0"),
    (sweep_call(rng="key"), TypeError, "sweep(rng=...)", "hold arrays of numbers, got 'key' (str)"),
    (
        sweep_call(rng={"noise": "key"}),
        TypeError,
        "sweep(rng=...)",
        "hold arrays of numbers, got 'key' (str) at ['noise']",
    ),
    (
        lambda: jax.jit(lambda key: sweep_call(rng=key)().lost_at)(KEY),
        TypeError,
        "sweep(rng=...)",
        "hold concrete arrays: call sweep outside jit, grad and vmap",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["x"]),
        ValueError,
        "sweep(evaluate=...)",
        "be left out where there is no validation=, got a function",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["x"], validation_steps=[1]),
        ValueError,
        "sweep(evaluate=...)",
        "be left out where there is no validation=, got a function",
    ),
    (
        sweep_call(validation=np.ones(2)),
        ValueError,
        "sweep(validation=...)",
        "be left out where there is no evaluate=, got a ndarray",
    ),
    (
        sweep_call(validation_steps=[1]),
        ValueError,
        "sweep(validation_steps=...)",
        "be left out where there is no validation=, got a list",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["x"], validation="test"),
        TypeError,
        "sweep(validation=...)",
        "hold arrays of numbers, got 'test' (str)",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["x"], validation=[]),
        ValueError,
        "sweep(validation=...)",
        "be a batch or a list of batches, got []",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["x"], validation=np.ones(2), validation_steps=[4]),
        ValueError,
        "sweep(validation_steps=...)",
        "be at most 3, got 4",
    ),
    (
        sweep_call(evaluate=3, validation=np.ones(2)),
        TypeError,
        "sweep(evaluate=...)",
        "be a function evaluate(carry, batch), got 3 (int)",
    ),
    (
        sweep_call(evaluate=lambda _: 0.0, validation=np.ones(2)),
        TypeError,
        "sweep(evaluate=...)",
        "be callable as evaluate(carry, batch): too many positional arguments",
    ),
    (
        sweep_call(evaluate=lambda _, batch: batch, validation=np.ones(2)),
        ValueError,
        "sweep(evaluate=...)",
        "be a function to a scalar (a mean, say), got one to an array of shape (2,)",
    ),
    (
        sweep_call(evaluate=lambda c, _: c["n"], validation=np.ones(2)),
        TypeError,
        "sweep(evaluate=...)",
        "return a floating-point scalar, got dtype int32",
    ),
    (
        sweep_call(evaluate=lambda c, _: c, validation=np.ones(2)),
        TypeError,
        "sweep(evaluate=...)",
        "return a scalar, got {n: int32[], x: float32[]}",
    ),
    (sweep_call(keep="best"), ValueError, "sweep(keep=...)", "be 'finite', 'all' or Halving(...), got 'best'"),
    (sweep_call(plan=3), TypeError, "sweep(plan=...)", "be 'auto' or Plan(...), got 3 (int)"),
    (
        sweep_call(devices=[1]),
        TypeError,
        "sweep(devices=...)",
        "be a sequence of JAX devices, as jax.devices() gives, got 1 (int)",
    ),
    (sweep_call(memory_budget=-1), ValueError, "sweep(memory_budget=...)", "be at least 1, got -1"),
    (sweep_call(progress=1), TypeError, "sweep(progress=...)", "be True or False, got 1 (int)"),
    (sweep_call(checkpoint=1), TypeError, "sweep(checkpoint=...)", "be a path, got 1 (int)"),
    # Plan, Halving, merge, training
    (lambda: Plan(0), ValueError, "Plan(lanes=...)", "be at least 1, got 0"),
    (lambda: Plan("16"), TypeError, "Plan(lanes=...)", "be a whole number, got '16' (str)"),
    (lambda: Plan(1.5), ValueError, "Plan(lanes=...)", "be a whole number, got 1.5"),
    (lambda: Plan(1, steps=0), ValueError, "Plan(steps=...)", "be at least 1, got 0"),
    (lambda: Plan(1, steps=None), TypeError, "Plan(steps=...)", "be a whole number, got None (NoneType)"),
    (lambda: Plan(1, unroll=1), TypeError, "Plan(unroll=...)", "be True or False, got 1 (int)"),
    (lambda: Plan(1, devices=0), ValueError, "Plan(devices=...)", "be at least 1, got 0"),
    (
        lambda: Plan(1, devices=jax.devices("cpu")[:1]),
        TypeError,
        "Plan(devices=...)",
        "be a whole number, got [CpuDevice(id=0)] (list)",
    ),
    (lambda: Plan(1, threads=0), ValueError, "Plan(threads=...)", "be at least 1, got 0"),
    (lambda: Halving(fraction=0), ValueError, "Halving(fraction=...)", "be greater than 0, got 0"),
    (lambda: Halving(fraction=1), ValueError, "Halving(fraction=...)", "be less than 1, got 1"),
    (lambda: Halving(fraction=float("nan")), ValueError, "Halving(fraction=...)", "be finite in float32, got nan"),
    (lambda: Halving("half"), TypeError, "Halving(fraction=...)", "be a number, got 'half' (str)"),
    (lambda: Halving(rungs=0), ValueError, "Halving(rungs=...)", "be at least 1, got 0"),
    (lambda: Halving(rungs=1.5), ValueError, "Halving(rungs=...)", "be a whole number, got 1.5"),
    (lambda: Halving(rungs=[10, 20]), TypeError, "Halving(rungs=...)", "be a whole number, got [10, 20] (list)"),
    (lambda: merge([]), ValueError, "merge(results=...)", "be at least one result, got none"),
    (
        lambda: merge(result()),
        TypeError,
        "merge(results=...)",
        "be a sequence of results, got RangeTest(2 rates from 0.1 to 0.2, 1 seeds, 6 steps) (RangeTest)",
    ),
    (lambda: merge("ab"), TypeError, "merge(results=...)", "be a sequence of results, got 'ab' (str)"),
    (lambda: merge([3]), TypeError, "merge(results[0]=...)", "be a RangeTest or a Sweep, like the others, got 3 (int)"),
    (
        lambda: merge([result(), None]),
        TypeError,
        "merge(results[1]=...)",
        "be a RangeTest or a Sweep, like the others, got None (NoneType)",
    ),
    (
        merged(result, swept),
        TypeError,
        "merge(results[1]=...)",
        "be a RangeTest or a Sweep, like the others, got Sweep(2 lanes, 3 steps, metrics loss) (Sweep)",
    ),
    (
        merged(swept, result),
        TypeError,
        "merge(results[1]=...)",
        "be a RangeTest or a Sweep, like the others, got RangeTest(2 rates from 0.1 to 0.2, 1 seeds, 6 steps) (RangeTest)",
    ),
    (
        merged(result, changed(result, steps_done=3)),
        ValueError,
        "merge(results=...)",
        "be of equal steps, got 6 and, in results[1], 3",
    ),
    (
        merged(swept, swept, changed(swept, steps_done=2)),
        ValueError,
        "merge(results=...)",
        "be of equal steps, got 3 and, in results[2], 2",
    ),
    (
        merged(result, changed(result, validation_steps=np.array([0, 6]))),
        ValueError,
        "merge(results=...)",
        "be of equal validation steps, got [] and, in results[1], [0, 6]",
    ),
    (
        merged(result, result),
        ValueError,
        "merge(results=...)",
        "be results with every seed of every rate once, got more than one lane of rate 0.1 and seed 0",
    ),
    (
        merged(result, changed(result, learning_rates=np.array([0.2, 0.3]))),
        ValueError,
        "merge(results=...)",
        "be results with every seed of every rate once, got more than one lane of rate 0.2 and seed 0",
    ),
    (
        merged(result, changed(result, seeds=np.int32([1]), learning_rates=np.array([0.2, 0.3]))),
        ValueError,
        "merge(results=...)",
        "be results with every seed of every rate once, got no lane of rate 0.1 and seed 1",
    ),
    (
        merged(swept, changed(swept, metric="cost")),
        ValueError,
        "merge(results=...)",
        "be of equal metric, got 'loss' and, in results[1], 'cost'",
    ),
    (
        merged(swept, changed(swept, metrics={"loss": np.ones((2, 3), np.float32), "n": np.ones((2, 3), np.int32)})),
        ValueError,
        "merge(results=...)",
        "be of equal metrics, got {loss: float32[3]} and, in results[1], {loss: float32[3], n: int32[3]}",
    ),
    (
        merged(swept, changed(swept, metrics={"loss": np.ones((2, 3, 4), np.float32)})),
        ValueError,
        "merge(results=...)",
        "be of equal metrics, got {loss: float32[3]} and, in results[1], {loss: float32[3,4]}",
    ),
    (
        merged(swept, changed(swept, hyperparams={"k": np.ones((2, 1), np.float32)})),
        ValueError,
        "merge(results=...)",
        "be of equal hyperparams, got {k: float32[]} and, in results[1], {k: float32[1]}",
    ),
    (
        merged(swept, changed(swept, hyperparams={"rate": np.float32([1, 2])})),
        ValueError,
        "merge(results=...)",
        "be of equal hyperparams, got {k: float32[]} and, in results[1], {rate: float32[]}",
    ),
    (
        trained(loss_fn=None),
        TypeError,
        "training(loss_fn=...)",
        "be a function loss_fn(params, batch), got None (NoneType)",
    ),
    (
        trained(loss_fn=lambda params: params["w"].sum()),
        TypeError,
        "training(loss_fn=...)",
        "be callable as loss_fn(params, batch): too many positional arguments",
    ),
    (
        trained(loss_fn=lambda _, batch: batch[1]),
        ValueError,
        "training(loss_fn=...)",
        "be a function to a scalar (a mean, say), got one to an array of shape (4,)",
    ),
    (
        trained(model_state=STATE),
        TypeError,
        "training(loss_fn=...)",
        "be callable as loss_fn(params, batch, state=state): got an unexpected keyword argument 'state'",
    ),
    (
        trained(optimizer=optax.sgd(0.1)),
        TypeError,
        "training(optimizer=...)",
        "be a function of the learning rate, got a built optimizer: pass optax.adamw, not optax.adamw(1e-3)",
    ),
    (
        trained(optimizer="sgd"),
        TypeError,
        "training(optimizer=...)",
        "be a function optimizer(learning_rate), got 'sgd' (str)",
    ),
    (
        trained(optimizer=decides),
        TypeError,
        "training(optimizer=...)",
        "build its optimizer from a traced learning rate (a Python `if`, `float` or NumPy function of the rate cannot read it)",
    ),
    (
        trained(params=None),
        ValueError,
        "training(params=...)",
        "be a pytree with floating-point arrays, got one without arrays",
    ),
    (
        trained(params={"w": "zeros"}),
        TypeError,
        "training(params=...)",
        "hold arrays of numbers, got 'zeros' (str) at ['w']",
    ),
    (
        trained(params=lambda: PARAMS),
        TypeError,
        "training(params=...)",
        "be callable as params(key): too many positional arguments",
    ),
    (
        trained(hyperparams={"learning_rate": np.float32([0.1])}),
        ValueError,
        "training(...)[0](hyperparams=...)",
        "be Hyperparams(learning_rate, seed), got {learning_rate: float32[]}",
    ),
    # the others
    (
        lambda: suggest([0.1, 0.2]),
        TypeError,
        "suggest(result=...)",
        "be a RangeTest, a RampTest or a GridTest (gan_suggest reads tests of GANs), got [0.1, 0.2] (list)",
    ),
    (
        lambda: suggest(result(), rule="best"),
        ValueError,
        "suggest(rule=...)",
        "be one of 'auto', 'steepest', 'valley', 'slide', 'minimum', 'one_decade_below', 'edge', got 'best'",
    ),
    (
        lambda: suggest(result(), objective="test"),
        ValueError,
        "suggest(objective=...)",
        "be one of 'validation', 'training', got 'test'",
    ),
    (
        lambda: suggest(result(), objective="validation"),
        ValueError,
        "suggest(objective=...)",
        "be 'training' for a result without validation, got 'validation'",
    ),
    (
        lambda: minibatches({}, 2, 3, KEY),
        ValueError,
        "minibatches(data=...)",
        "be a pytree of arrays whose first axis counts the examples, got no arrays",
    ),
    (
        lambda: minibatches((np.ones(3), np.ones(4)), 2, 3, KEY),
        ValueError,
        "minibatches(data=...)",
        "be a pytree of arrays with equally many examples, got 3 at [0], 4 at [1]",
    ),
    (
        lambda: minibatches(np.ones(3), 4, 3, KEY),
        ValueError,
        "minibatches(batch_size=...)",
        "be at most the number of examples, got 4 with 3",
    ),
    (lambda: minibatches(np.ones(3), 2, 0, KEY), ValueError, "minibatches(steps=...)", "be at least 1, got 0"),
    (
        lambda: minibatches(np.ones(3), 2, 3, 0),
        TypeError,
        "minibatches(rng=...)",
        "be a key such as jax.random.key(0), got 0 (int)",
    ),
    (
        lambda: from_nnx(Dense(), loss),
        TypeError,
        "from_nnx(model=...)",
        "be an nnx.Module or a function rngs -> nnx.Module, got Dense() (Dense)",
    ),
    (
        lambda: from_nnx([1, 2], loss),
        TypeError,
        "from_nnx(model=...)",
        "be an nnx.Module or a function rngs -> nnx.Module, got [1, 2] (list)",
    ),
    (
        lambda: from_nnx(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), None),
        TypeError,
        "from_nnx(loss=...)",
        "be a function loss(model, batch), got None (NoneType)",
    ),
    (
        lambda: from_nnx(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), loss, evaluate=3),
        TypeError,
        "from_nnx(evaluate=...)",
        "be a function evaluate(model, batch), got 3 (int)",
    ),
    (
        lambda: from_linen([1, 2], loss, BATCH[0]),
        TypeError,
        "from_linen(module=...)",
        "be a linen.Module, got [1, 2] (list)",
    ),
    (
        lambda: from_linen(Dense(), None, BATCH[0]),
        TypeError,
        "from_linen(loss=...)",
        "be a function loss(apply, batch), got None (NoneType)",
    ),
    (
        lambda: from_linen(Dense(), loss, BATCH[0], evaluate=3),
        TypeError,
        "from_linen(evaluate=...)",
        "be a function evaluate(apply, batch), got 3 (int)",
    ),
    (
        lambda: from_linen(Dense(), loss),
        TypeError,
        "from_linen(*inputs, **keywords)",
        "be what module.init takes: Dense.__call__() missing 1 required positional argument: 'x'",
    ),
    (
        lambda: from_linen(Dense(), loss, BATCH[0], evalute=loss),
        TypeError,
        "from_linen(*inputs, **keywords)",
        "be what module.init takes: Dense.__call__() got an unexpected keyword argument 'evalute'",
    ),
    (
        lambda: from_equinox(3, loss),
        TypeError,
        "from_equinox(model=...)",
        "be an eqx.Module, (model, state), or a function of a key that makes either, got 3 (int)",
    ),
    (
        lambda: from_equinox((2, 3), loss),
        TypeError,
        "from_equinox(model=...)",
        "be an eqx.Module, (model, state), or a function of a key that makes either, got (2, 3) (tuple)",
    ),
    (
        lambda: from_equinox(lambda _: 3, loss),
        TypeError,
        "from_equinox(model=...)",
        "be an eqx.Module, (model, state), or a function of a key that makes either, got 3 (int)",
    ),
    (
        lambda: from_equinox(lambda: MLP, loss),
        TypeError,
        "from_equinox(model=...)",
        "be callable as model(key): too many positional arguments",
    ),
    (
        lambda: from_equinox(eqx.nn.BatchNorm(2, "batch", mode="batch"), loss),
        TypeError,
        "from_equinox(model=...)",
        ("be (model, state), as eqx.nn.make_with_state makes it, where a layer has state, got a BatchNorm alone"),
    ),
    (
        lambda: from_equinox(MLP, None),
        TypeError,
        "from_equinox(loss=...)",
        "be a function loss(model, batch), got None (NoneType)",
    ),
    (
        lambda: from_equinox(MLP, loss_with_state),
        TypeError,
        "from_equinox(loss=...)",
        "be callable as loss(model, batch): missing a required argument: 'state'",
    ),
    (
        lambda: from_equinox(NORM_AND_STATE, loss),
        TypeError,
        "from_equinox(loss=...)",
        "be callable as loss(model, batch, state=state): got an unexpected keyword argument 'state'",
    ),
    (
        lambda: from_equinox(MLP, loss, evaluate=3),
        TypeError,
        "from_equinox(evaluate=...)",
        "be a function evaluate(model, batch), got 3 (int)",
    ),
    (
        lambda: from_equinox(NORM_AND_STATE, loss_with_state, evaluate=loss),
        TypeError,
        "from_equinox(evaluate=...)",
        "be callable as evaluate(model, batch, state=state): got an unexpected keyword argument 'state'",
    ),
]


@pytest.mark.parametrize(("wrong", "kind", "argument", "text"), WRONG, ids=[f"{row[2]}-{row[3]}" for row in WRONG])
def test_wrong_call_is_answered(wrong, kind, argument, text):
    with pytest.raises(kind) as caught:
        wrong()
    assert str(caught.value) == f"`{argument}` must {text}"


def test_table_is_large_enough():
    assert len(WRONG) >= 40


@pytest.mark.parametrize(
    "make",
    [
        call,
        lambda **changes: call(batches=iter([BATCH] * 6), steps=6, **changes),
        lambda **changes: call(learning_rates=[0.1, 0.2, 0.3], validation=BATCH, **changes),
        lambda **changes: sweep_call(plan=Plan(2), **changes),
        lambda **changes: sweep_call(hyperparams={"k": np.ones(9, np.float32)}, plan=Plan(3), **changes),
    ],
    ids=["stacked", "stream", "validation", "two lanes", "nine lanes"],
)
def test_a_budget_too_small_names_one_that_is_enough(make):
    with pytest.raises(ValueError, match=re.escape("(memory_budget=...)` must be enough for")) as caught:
        make(memory_budget=80)()
    lanes, needed, got = re.search(r"the (.*) of a call, some ([\d,]+) bytes, got (\d+)$", str(caught.value)).groups()
    assert (lanes, got) == ("lane", "80")
    needed = int(needed.replace(",", ""))
    for more in np.arange(1, 3.5, 0.25):  # and from there on, however the lanes then fit
        assert make(memory_budget=int(more * needed))().steps_done
    with pytest.raises(ValueError, match="memory_budget"):
        make(memory_budget=needed // 2)()
