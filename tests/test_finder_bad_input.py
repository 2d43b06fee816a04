"""Wrong calls of the finder, and the whole text that each is answered with."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from lrjax.finder import from_equinox, from_linen, from_nnx, minibatches, range_test, suggest
from lrjax.finder.result import RangeTest

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


def endless():
    while True:
        yield BATCH


def broken():
    raise OSError("disk gone")
    yield


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
        "be a sequence of rates, got '0.1' (str)",
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
        "be a pytree of arrays whose first axis counts the steps, got shape () at ['y']",
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
    (call(progress=1), TypeError, "range_test(progress=...)", "be True or False, got 1 (int)"),
    # the others
    (lambda: suggest([0.1, 0.2]), TypeError, "suggest(result=...)", "be a RangeTest, got [0.1, 0.2] (list)"),
    (lambda: suggest(result(), rule="steepest"), ValueError, "suggest(rule=...)", "be one of 'auto', got 'steepest'"),
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
