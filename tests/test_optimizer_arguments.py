"""The presets' signatures against optax's, and every wrong argument."""

from __future__ import annotations

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from transformations import PRESETS

from lrjax.optimizers import (
    NO_DECAY,
    adam,
    adamw,
    dadapt_adamw,
    decay_mask,
    lamb,
    lion,
    lion_from_adamw,
    muon,
    prodigy,
    rmsprop,
    schedule_free_adamw,
    sgd,
)

DIFFERENCES = {
    "adam": {"learning_rate": 1e-3},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.01, "mask": NO_DECAY},
    "dadapt_adamw": {},
    "lamb": {"learning_rate": 1e-3, "weight_decay": 0.01, "mask": NO_DECAY},
    "lion": {"learning_rate": 1e-4, "weight_decay": 0.1, "mask": NO_DECAY},
    "muon": {"learning_rate": 1e-3, "weight_decay": 0.01, "weight_decay_mask": NO_DECAY, "consistent_rms": 0.2},
    "prodigy": {},
    "rmsprop": {"learning_rate": 1e-3},
    "schedule_free_adamw": {},
    "sgd": {"learning_rate": 0.01},
}
"""The defaults that are not optax's."""

ADDED = {name: {"mask"} for name in DIFFERENCES} | {
    "adam": {"gradient_initialized"},
    "adamw": {"gradient_initialized"},
    "lamb": set(),
    "lion": set(),
    "muon": {"adam_only", "consistent_rms"},  # the latter is not in the oldest supported optax
    "rmsprop": {"mask", "weight_decay"},
    "sgd": {"mask", "weight_decay"},
}
"""Arguments that optax's function has not, besides max_norm and monitor."""

MUON_LEAVES_OUT = {
    "adam_eps_root",
    "adam_learning_rate",
    "adam_weight_decay",
    "adaptive",
    "muon_weight_dimension_numbers",
    "preconditioning",
}


@pytest.mark.parametrize("name", PRESETS)
def test_signature_is_optax_s_but_for_the_documented_differences(name):
    ours = inspect.signature(PRESETS[name]).parameters
    theirs = dict(inspect.signature(getattr(optax, name, None) or getattr(contrib, name)).parameters)
    if name == "muon":
        theirs = {argument: value for argument, value in theirs.items() if argument not in MUON_LEAVES_OUT}
    positional = [argument for argument, value in theirs.items() if value.kind is value.POSITIONAL_OR_KEYWORD]
    assert list(ours)[: len(positional)] == positional
    assert set(ours) - set(theirs) | ADDED[name] == ADDED[name] | {"max_norm", "monitor"}
    for argument in ADDED[name] | {"max_norm", "monitor"}:
        assert ours[argument].kind is inspect.Parameter.KEYWORD_ONLY
    introduction = PRESETS[name].__doc__.split("\n\n")[1]
    for argument, parameter in theirs.items():
        assert ours[argument].kind is parameter.kind
        if argument in DIFFERENCES[name]:
            assert ours[argument].default == DIFFERENCES[name][argument]
            assert f"``{argument}``" in introduction
        elif isinstance(parameter.default, jnp.ndarray | np.ndarray | tuple):
            np.testing.assert_array_equal(ours[argument].default, parameter.default)
        else:
            assert ours[argument].default == parameter.default
    for word in ("``mask``" if "mask" in ADDED[name] else "optax", "clipped", "non-finite", "float32"):
        assert word in introduction


TREE = {
    "embed": {"embedding": jnp.ones((5, 3)), "pos_embed": jnp.ones((4, 3)), "cls_token": jnp.ones((1, 3))},
    "patch_embed": {"proj": {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}},
    "layers_0": {
        "attention": {"query": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones((2, 2))}},
        "LayerNorm_0": {"scale": jnp.ones(3), "bias": jnp.ones(3)},
        "norm1": {"weight": jnp.ones((2, 3))},
        "rescale": {"kernel": jnp.ones((3, 3))},
    },
    "tokens": {"embedding_3": {"weight": jnp.ones((5, 3))}},
    "head": [jnp.ones((3, 2)), jnp.ones(2), None],
}
DECAYING = {"patch_embed/proj/kernel", "layers_0/attention/query/kernel", "layers_0/rescale/kernel", "head/0"}


def names_of(mask):
    leaves = jax.tree.leaves_with_path(mask)
    return {jax.tree_util.keystr(path, simple=True, separator="/") for path, marked in leaves if marked}


def still(optimizer):
    """The first updates where every gradient is zero."""
    return jax.jit(lambda: optimizer.update(optax.tree.zeros_like(TREE), optimizer.init(TREE), TREE)[0])()


def test_what_decays_by_default():
    mask = decay_mask(TREE)
    assert names_of(mask) == DECAYING
    assert jax.tree.structure(mask) == jax.tree.structure(TREE)
    updates = still(adamw(0.1, weight_decay=1.0))
    assert names_of(jax.tree.map(lambda leaf: bool((np.asarray(leaf) != 0).all()), updates)) == DECAYING


@pytest.mark.parametrize("preset", [adamw, lamb, lion, sgd, rmsprop, schedule_free_adamw, dadapt_adamw, prodigy])
def test_a_pattern_says_what_does_not_decay(preset):
    optimizer = preset(0.1, weight_decay=1.0, mask="HEAD|attention")
    updates = still(optimizer)
    moved = names_of(jax.tree.map(lambda leaf: bool((np.asarray(leaf) != 0).all()), updates))
    assert moved == {
        *("embed/embedding", "embed/pos_embed", "embed/cls_token", "patch_embed/proj/kernel"),
        *("layers_0/norm1/weight", "layers_0/rescale/kernel", "tokens/embedding_3/weight"),
    }


def test_what_decays_in_flax_and_equinox():
    import equinox as eqx
    from flax import linen, nnx

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.embed = nnx.Embed(7, 4, rngs=rngs)
            self.attention = nnx.MultiHeadAttention(2, 4, rngs=rngs, decode=False)
            self.norm = nnx.LayerNorm(4, rngs=rngs)
            self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs)])

    params = nnx.state(Net(nnx.Rngs(0)), nnx.Param)
    marked = {"/".join(map(str, path)) for path, value in nnx.to_flat_state(decay_mask(params)) if value.get_value()}
    kernels = {f"attention/{name}/kernel" for name in ("key", "query", "value", "out")}
    assert marked == kernels | {"layers/0/kernel"}

    variables = linen.Sequential([linen.Embed(7, 4), linen.LayerNorm(), linen.Dense(3)]).init(
        jax.random.key(0), jnp.zeros(2, int)
    )
    assert names_of(decay_mask(variables)) == {"params/layers_2/kernel"}

    mlp = eqx.filter(eqx.nn.MLP(2, 3, 4, 1, key=jax.random.key(0)), eqx.is_inexact_array)
    assert names_of(decay_mask(mlp)) == {"layers/0/weight", "layers/1/weight"}


NUMBER = "must be a number, got"
NAMED = "must be a number or a schedule, got"
MASK = "must be a tree of booleans, a function that makes one from the parameters, a regular expression or None"

SHARED = [
    ({"learning_rate": "fast"}, TypeError, f"learning_rate=...)` {NAMED} 'fast' (str)"),
    ({"learning_rate": None}, TypeError, f"learning_rate=...)` {NAMED} None (NoneType)"),
    ({"learning_rate": True}, TypeError, f"learning_rate=...)` {NAMED} True (bool)"),
    ({"learning_rate": optax.sgd(0.1)}, TypeError, f"learning_rate=...)` {NAMED} GradientTransformation"),
    ({"learning_rate": -1e-3}, ValueError, "learning_rate=...)` must be at least 0, got -0.001"),
    ({"learning_rate": float("nan")}, ValueError, "learning_rate=...)` must be finite in float32, got nan"),
    (
        {"learning_rate": jnp.ones(3)},
        ValueError,
        "learning_rate=...)` must be a number (jax.vmap gives many at once), got an array of shape (3,)",
    ),
    ({"max_norm": 0}, ValueError, "max_norm=...)` must be greater than 0, got 0"),
    ({"max_norm": -1.0}, ValueError, "max_norm=...)` must be greater than 0, got -1.0"),
    ({"max_norm": False}, TypeError, f"max_norm=...)` {NAMED} False (bool)"),
    ({"monitor": 1}, TypeError, "monitor=...)` must be True or False, got 1 (int)"),
]
"""What every preset refuses."""

MASKED = [
    ({"mask": {"bias": 0.0}}, TypeError, f"mask=...)` {MASK}, got 0.0 (float)"),
    ({"mask": "("}, ValueError, "mask=...)` must be a regular expression (missing ), unterminated subpattern"),
    ({"mask": True}, TypeError, f"mask=...)` {MASK}; under optax.inject_hyperparams a function needs"),
    ({"weight_decay": -0.1}, ValueError, "weight_decay=...)` must be at least 0, got -0.1"),
    ({"weight_decay": None}, TypeError, f"weight_decay=...)` {NAMED} None (NoneType)"),
]
"""What every preset with weight decay refuses."""

WRONG_CALLS = [
    *((name, *wrong) for name in PRESETS for wrong in SHARED),
    *((name, *wrong) for name in PRESETS if name not in ("adam", "muon") for wrong in MASKED),
    *(
        (name, {"b1": 1.0}, ValueError, "b1=...)` must be less than 1, got 1.0")
        for name in ("adam", "adamw", "lamb", "lion", "schedule_free_adamw")
    ),
    *(
        (name, {"b2": -0.1}, ValueError, "b2=...)` must be at least 0, got -0.1")
        for name in ("adam", "adamw", "lamb", "lion", "schedule_free_adamw")
    ),
    *(
        (name, {"b2": optax.constant_schedule(0.9)}, TypeError, f"b2=...)` {NUMBER} <function")
        for name in ("adam", "adamw", "lamb", "lion", "schedule_free_adamw")
    ),
    *(
        (name, {"eps": -1e-8}, ValueError, "eps=...)` must be at least 0, got -1e-08")
        for name in PRESETS
        if name not in ("lion", "sgd")
    ),
    *((n, {"eps_root": "0"}, TypeError, f"eps_root=...)` {NUMBER} '0' (str)") for n in ("adam", "adamw", "lamb")),
    *(
        (n, {"mu_dtype": "wide"}, TypeError, "mu_dtype=...)` must be a floating dtype or None, got 'wide' (str)")
        for n in ("adam", "adamw", "lion", "muon")
    ),
    ("adamw", {"mu_dtype": jnp.int8}, ValueError, "mu_dtype=...)` must be a floating dtype or None, got int8"),
    *(
        (n, {"nesterov": 1}, TypeError, "nesterov=...)` must be True or False, got 1 (int)")
        for n in ("adam", "adamw", "muon", "rmsprop", "sgd")
    ),
    *(
        (n, {"gradient_initialized": None}, TypeError, "gradient_initialized=...)` must be True or False, got None")
        for n in ("adam", "adamw")
    ),
    *((n, {"momentum": 1.0}, ValueError, "momentum=...)` must be less than 1, got 1.0") for n in ("rmsprop", "sgd")),
    *(
        (
            n,
            {"nesterov": True},
            ValueError,
            "nesterov=...)` must be False without momentum, got True with momentum=None",
        )
        for n in ("rmsprop", "sgd")
    ),
    (
        *("sgd", {"accumulator_dtype": jnp.bfloat16}, ValueError),
        "accumulator_dtype=...)` must be None without momentum, got bfloat16 with momentum=None",
    ),
    (
        *("sgd", {"momentum": 0.9, "accumulator_dtype": "wide"}, TypeError),
        "accumulator_dtype=...)` must be a floating dtype or None, got 'wide' (str)",
    ),
    ("rmsprop", {"decay": 1.0}, ValueError, "decay=...)` must be less than 1, got 1.0"),
    (
        *("rmsprop", {"centered": True, "bias_correction": True}, ValueError),
        "bias_correction=...)` must be False with centered=True, got True",
    ),
    ("rmsprop", {"initial_scale": -1}, ValueError, "initial_scale=...)` must be at least 0, got -1"),
    *(
        ("rmsprop", {name: 0}, TypeError, f"{name}=...)` must be True or False, got 0 (int)")
        for name in ("eps_in_sqrt", "centered", "bias_correction")
    ),
    *(
        wrong
        for name in ("dadapt_adamw", "prodigy")
        for wrong in [
            (name, {"betas": 0.9}, TypeError, "betas=...)` must be a pair of decays, got 0.9 (float)"),
            (name, {"betas": (0.9,)}, TypeError, "betas=...)` must be a pair of decays, got (0.9,) (tuple)"),
            (name, {"betas": (1.5, 0.9)}, ValueError, "betas[0]=...)` must be less than 1, got 1.5"),
            (name, {"betas": (0.9, "b")}, TypeError, f"betas[1]=...)` {NUMBER} 'b' (str)"),
            (name, {"estim_lr0": 0.0}, ValueError, "estim_lr0=...)` must be greater than 0, got 0.0"),
        ]
    ),
    ("prodigy", {"beta3": 1.0}, ValueError, "beta3=...)` must be less than 1, got 1.0"),
    ("prodigy", {"estim_lr_coef": -1.0}, ValueError, "estim_lr_coef=...)` must be greater than 0, got -1.0"),
    ("prodigy", {"safeguard_warmup": 1}, TypeError, "safeguard_warmup=...)` must be True or False, got 1 (int)"),
    ("schedule_free_adamw", {"b1": 0.0}, ValueError, "b1=...)` must be greater than 0, got 0.0"),
    ("schedule_free_adamw", {"warmup_steps": 1.5}, ValueError, "warmup_steps=...)` must be a whole number, got 1.5"),
    ("schedule_free_adamw", {"weight_lr_power": -1}, ValueError, "weight_lr_power=...)` must be at least 0, got -1"),
    (
        *("schedule_free_adamw", {"state_dtype": jnp.int32}, ValueError),
        "state_dtype=...)` must be a floating dtype or None, got int32",
    ),
    ("muon", {"ns_steps": 0}, ValueError, "ns_steps=...)` must be at least 1, got 0"),
    (
        "muon",
        {"ns_coeffs": 3.0},
        TypeError,
        "ns_coeffs=...)` must be a sequence of numbers or triples, got 3.0 (float)",
    ),
    ("muon", {"ns_coeffs": (1.0, 2.0)}, ValueError, "ns_coeffs=...)` must be three numbers, got (1.0, 2.0)"),
    (
        *("muon", {"ns_coeffs": ((1.0, 2.0, 3.0),)}, ValueError),
        "ns_coeffs=...)` must be three numbers, or ns_steps = 5 triples, got 1 triples",
    ),
    ("muon", {"beta": 1.0}, ValueError, "beta=...)` must be less than 1, got 1.0"),
    ("muon", {"weight_decay": -1.0}, ValueError, "weight_decay=...)` must be at least 0, got -1.0"),
    ("muon", {"weight_decay_mask": False}, TypeError, f"weight_decay_mask=...)` {MASK}"),
    ("muon", {"consistent_rms": 0}, ValueError, "consistent_rms=...)` must be greater than 0, got 0"),
    ("muon", {"adam_only": None}, TypeError, "adam_only=...)` must be a regular expression, got None (NoneType)"),
    (
        "muon",
        {"adam_only": "["},
        ValueError,
        "adam_only=...)` must be a regular expression (unterminated character set",
    ),
    ("muon", {"adam_b1": 1}, ValueError, "adam_b1=...)` must be less than 1, got 1"),
    ("muon", {"adam_b2": -1}, ValueError, "adam_b2=...)` must be at least 0, got -1"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"), WRONG_CALLS, ids=[f"{call[0]}({call[3]}" for call in WRONG_CALLS]
)
def test_wrong_calls_are_refused_by_name(name, arguments, error, message):
    with pytest.raises(error, match="^" + re.escape(f"`{name}({message}")):
        PRESETS[name](**arguments)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: decay_mask(TREE, exclude=3),
            TypeError,
            "`decay_mask(exclude=...)` must be a regular expression, got 3",
        ),
        (
            lambda: decay_mask(TREE, "*"),
            ValueError,
            "`decay_mask(exclude=...)` must be a regular expression (nothing to",
        ),
        (lambda: lion_from_adamw(-1.0, 0.1), ValueError, "`lion_from_adamw(learning_rate=...)` must be at least 0"),
        (lambda: lion_from_adamw(1e-3, "x"), TypeError, f"`lion_from_adamw(weight_decay=...)` {NAMED} 'x' (str)"),
        (
            lambda: lion_from_adamw(1e-3, 0.1, factor=0),
            ValueError,
            "`lion_from_adamw(factor=...)` must be greater than 0, got 0",
        ),
    ],
    ids=["exclude type", "exclude", "rate", "decay", "factor"],
)
def test_helpers_refuse_by_name(call, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        call()


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("adam", "rmsprop", "sgd")])
def test_missing_parameters_are_said_to_be_missing(name):
    optimizer = PRESETS[name](weight_decay=0.1)
    with pytest.raises(ValueError, match="update needs the parameters: call update"):
        jax.eval_shape(lambda: optimizer.update(TREE, optimizer.init(TREE)))


@pytest.mark.parametrize("optimizer", [adam(), rmsprop(), sgd(momentum=0.9), muon(weight_decay=0.0)])
def test_without_decay_no_parameters_are_needed(optimizer):
    updates, _ = jax.eval_shape(lambda: optimizer.update(TREE, optimizer.init(TREE)))
    assert jax.tree.structure(updates) == jax.tree.structure(TREE)
