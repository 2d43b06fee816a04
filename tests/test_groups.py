"""Parameter groups against plain optax on each group's own sub-tree."""

from __future__ import annotations

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from transformations import specification

from lrjax.finder import range_test
from lrjax.optimizers.adamw import adamw
from lrjax.optimizers.groups import ParamGroupsState, param_groups
from lrjax.optimizers.sgd import sgd

LABELS = {"backbone": ["^encoder/", "norm"], "head": "^head/"}
SUB_TREES = {"backbone": ("encoder", "norm"), "head": ("head",)}


def network(dtype=jnp.float32, seed: int = 0):
    """Three layers, a matrix, a vector and a hole in each."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.array(rng.normal(size=shape), dtype)

    return {name: {"kernel": normal(2, 3), "bias": normal(3), "unused": None} for name in ("encoder", "norm", "head")}


def target():
    return network(seed=9)


def gradient(params):
    return jax.tree.map(lambda p, t: (p - t) * (1.0 + jnp.abs(t)), params, target())


def restricted(params, label: str):
    return {name: params[name] for name in SUB_TREES[label]}


def assert_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def descend(optimizer, steps: int = 20):
    """Parameters and state after ``steps`` updates, each gradient that of the whole tree."""
    params = network()

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0])()


def alone(optimizer, label: str, steps: int = 20):
    """The group's sub-tree after ``steps`` updates of ``optimizer`` on nothing else; gradients are leaf by leaf."""
    params = restricted(network(), label)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state):
        grads = restricted(gradient({**network(), **params}), label)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params


def test_each_group_goes_as_its_optimizer_alone_on_its_sub_tree():
    schedule = optax.cosine_decay_schedule(3e-2, 20)
    transforms = {"backbone": optax.adam(schedule), "head": optax.sgd(1e-2, momentum=0.9)}
    together, _ = descend(param_groups(transforms, LABELS))
    for label, transform in transforms.items():
        assert_close(restricted(together, label), alone(transform, label), rtol=1e-6)


def test_presets_clip_by_their_own_group_s_norm():
    optimizer = param_groups({"backbone": adamw(1e-2, mask=None), "head": sgd(0.1)}, LABELS)
    together, _ = descend(optimizer)
    for label, bare in [("backbone", optax.adamw(1e-2, weight_decay=0.01)), ("head", optax.sgd(0.1))]:
        expected = alone(optax.chain(optax.clip_by_global_norm(1.0), bare), label)
        assert_close(restricted(together, label), expected, rtol=1e-4, atol=1e-6)
    _, state = jax.jit(optimizer.update)(gradient(network()), optimizer.init(network()), network())
    assert state.clip is None
    for label, group in state.groups.items():
        leaves = jax.tree.leaves(restricted(gradient(network()), label))
        expected = np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in leaves]))
        np.testing.assert_allclose(group.clip.norm, expected, rtol=1e-6)


def test_max_norm_bounds_the_norm_over_all_groups():
    """As ``torch.nn.utils.clip_grad_norm_`` over all parameters, up to its 1e-6."""
    transforms = {"backbone": optax.adam(1e-2), "head": optax.sgd(0.1)}
    tree_of_labels = {"encoder": "backbone", "norm": "backbone", "head": "head"}
    bare = optax.chain(optax.clip_by_global_norm(0.5), optax.partition(transforms, tree_of_labels))
    together, state = descend(param_groups(transforms, LABELS, max_norm=0.5))
    assert_close(together, descend(bare)[0], rtol=1e-5, atol=1e-7)
    assert (int(state.clip.count), int(state.clip.clipped)) == (20, 20)


def test_a_preset_s_bound_changes_nothing_below_a_smaller_one_over_all():
    clipped = param_groups({"backbone": sgd(1e-2), "head": sgd(0.1)}, LABELS, max_norm=0.7)
    unclipped = {"backbone": sgd(1e-2, max_norm=None), "head": sgd(0.1, max_norm=None)}
    assert_close(descend(clipped)[0], descend(param_groups(unclipped, LABELS, max_norm=0.7))[0], rtol=1e-6)


@pytest.mark.parametrize("entry", [np.nan, -np.inf])
def test_with_max_norm_a_non_finite_gradient_skips_the_step_of_all_groups(entry):
    schedule = optax.cosine_decay_schedule(1e-2, 20)
    transforms = {"backbone": optax.adamw(schedule), "head": sgd(schedule, 0.9)}
    optimizer = param_groups(transforms, LABELS, max_norm=lambda count: 1.0 + count)
    params, healthy = network(), jnp.ones(3)

    @jax.jit
    def advance(params, state, scale):
        grads = gradient(params)
        grads["head"]["bias"] = grads["head"]["bias"] * scale
        updates, state = optimizer.update(grads, state, params)
        return updates, optax.apply_updates(params, updates), state

    _, params, state = advance(params, optimizer.init(params), healthy)
    updates, unmoved, skipped = advance(params, state, jnp.array([1.0, entry, 1.0]))
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates))
    jax.tree.map(np.testing.assert_array_equal, unmoved, params)
    jax.tree.map(np.testing.assert_array_equal, skipped.partition, state.partition)
    assert (int(skipped.clip.count), int(skipped.clip.nonfinite)) == (1, 1)
    assert not np.isfinite(skipped.clip.norm)
    resumed, expected = advance(params, skipped, healthy), advance(params, state, healthy)
    jax.tree.map(np.testing.assert_array_equal, resumed[:2], expected[:2])
    jax.tree.map(np.testing.assert_array_equal, resumed[2].partition, expected[2].partition)


def test_without_max_norm_a_preset_skips_the_step_of_its_own_group():
    optimizer = param_groups({"backbone": adamw(1e-2), "head": sgd(0.1)}, LABELS)
    params = network()
    grads = gradient(params)
    grads["head"]["bias"] = grads["head"]["bias"].at[0].set(jnp.nan)
    updates, state = jax.jit(optimizer.update)(grads, optimizer.init(params), params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(updates["head"]))
    assert all((np.asarray(leaf) != 0).all() for leaf in jax.tree.leaves(updates["encoder"]))
    assert [int(state.groups[label].clip.nonfinite) for label in ("backbone", "head")] == [0, 1]


def test_a_scheduled_max_norm_counts_the_steps_applied():
    optimizer = param_groups({"all": optax.sgd(1.0)}, {"all": ""}, max_norm=lambda count: 1.0 + count)
    params, state, seen = jnp.zeros(1), optimizer.init(jnp.zeros(1)), []
    for grad in (100.0, jnp.nan, 100.0, 100.0):
        updates, state = optimizer.update(jnp.array([grad]), state, params)
        seen.append(-float(updates[0]))
    np.testing.assert_allclose(seen, [1.0, 0.0, 2.0, 3.0], rtol=1e-6)


FORMS = {
    "patterns": (LABELS, None),
    "patterns, whatever the case": ({"backbone": "ENCODER|Norm", "head": "Head"}, None),
    "patterns and a default": ({"head": "^head"}, "backbone"),
    "a function": (lambda path, _: "head" if path.startswith("head/") else "backbone", None),
    "a function and a default": (lambda path, _: "head" if path.startswith("head/") else None, "backbone"),
    "a prefix": ({"encoder": "backbone", "norm": "backbone", "head": "head"}, None),
    "a prefix and a default": ({"encoder": None, "norm": "backbone", "head": "head"}, "backbone"),
    "a whole tree": (
        {
            name: {"kernel": label, "bias": label, "unused": None}
            for label, layers in SUB_TREES.items()
            for name in layers
        },
        None,
    ),
}


@pytest.mark.parametrize(("labels", "default"), FORMS.values(), ids=FORMS.keys())
def test_all_forms_of_labels_say_the_same(labels, default):
    optimizer = param_groups({"backbone": optax.scale(2.0), "head": optax.scale(3.0)}, labels, default=default)
    updates, _ = optimizer.update(network(), optimizer.init(network()))
    for name, factor in (("encoder", 2.0), ("norm", 2.0), ("head", 3.0)):
        assert_close(updates[name], jax.tree.map(lambda leaf, f=factor: f * leaf, network()[name]), rtol=1e-7)


def test_a_function_sees_the_leaf():
    transforms = {"matrices": optax.scale(2.0), "others": optax.scale(3.0)}
    optimizer = param_groups(transforms, lambda _, leaf: "matrices" if leaf.ndim == 2 else "others")
    updates, _ = optimizer.update(network(), optimizer.init(network()))
    for leaf, factor in (("kernel", 2.0), ("bias", 3.0)):
        np.testing.assert_allclose(updates["head"][leaf], factor * network()["head"][leaf], rtol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=6, max_size=6), st.floats(0.1, 10.0))
def test_every_leaf_gets_its_group_s_update(labels, max_norm):
    """Over the labels in use; scales show which transformation a leaf went through."""
    scales = {label: factor for label, factor in {"a": 2.0, "b": -1.0, "c": 0.5}.items() if label in labels}
    grads = network()
    whole = jax.tree.unflatten(jax.tree.structure(grads), labels)
    optimizer = param_groups({label: optax.scale(factor) for label, factor in scales.items()}, whole, max_norm=max_norm)
    updates, _ = optimizer.update(grads, optimizer.init(grads))
    factor = min(1.0, max_norm / np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(grads))))
    for update, grad, label in zip(jax.tree.leaves(updates), jax.tree.leaves(grads), labels, strict=True):
        np.testing.assert_allclose(update, scales[label] * factor * np.asarray(grad), rtol=1e-5)


class LinenNet(linen.Module):
    """Two layers."""

    @linen.compact
    def __call__(self, x):  # noqa: D102
        return linen.Dense(1, name="head")(linen.relu(linen.Dense(4, name="encoder")(x)))


class NnxNet(nnx.Module):
    """Two layers and statistics that are no parameters."""

    def __init__(self, rngs):  # noqa: D107
        self.encoder = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):  # noqa: D102
        return self.head(jax.nn.relu(self.norm(self.encoder(x))))


class EquinoxNet(eqx.Module):
    """Two layers and a field that is no array."""

    encoder: eqx.nn.Linear
    head: eqx.nn.Linear
    depth: int

    def __init__(self, key):  # noqa: D107
        self.encoder, self.head = eqx.nn.Linear(3, 4, key=key), eqx.nn.Linear(4, 1, key=key)
        self.depth = 2

    def __call__(self, x):  # noqa: D102
        return self.head(jax.nn.relu(self.encoder(x)))


def linen_params():
    return LinenNet().init(jax.random.key(0), jnp.ones((1, 3)))


def nnx_params():
    return nnx.split(NnxNet(nnx.Rngs(0)), nnx.Param, ...)[1]


def equinox_params():
    return eqx.filter(EquinoxNet(jax.random.key(0)), eqx.is_inexact_array)


def equinox_labels():
    """Labels in a module that can be called."""
    return eqx.tree_at(lambda net: net.head, jax.tree.map(lambda _: "backbone", equinox_params()), "head")


MODELS = {
    "linen": (linen_params, {"backbone": "encoder/", "head": "head/"}),
    "nnx": (nnx_params, {"backbone": ["^encoder/", "^norm/"], "head": "^head/"}),
    "equinox": (equinox_params, {"backbone": "^encoder/", "head": "^head/"}),
    "equinox, labels in a module": (equinox_params, equinox_labels()),
}


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize(("build", "labels"), MODELS.values(), ids=MODELS.keys())
def test_models_of_all_libraries(build, labels, max_norm):
    params = build()
    optimizer = param_groups({"backbone": adamw(1e-2), "head": optax.set_to_zero()}, labels, max_norm=max_norm)
    state = optimizer.init(params)
    grads = jax.tree.map(jnp.ones_like, params)
    eqx.filter_eval_shape(optimizer.update, grads, state, params)
    with jax.disable_jit():
        updates, new_state = optimizer.update(grads, state, params)
    assert specification(updates) == specification(params)
    assert specification(new_state) == specification(state)
    for path, leaf in jax.tree.leaves_with_path(updates):
        assert bool((leaf == 0).all()) == ("head" in jax.tree_util.keystr(path))


def test_nnx_optimizer_trains_with_it():
    model = NnxNet(nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    transforms = {"backbone": optax.set_to_zero(), "head": adamw(1e-2)}
    optimizer = nnx.Optimizer(model, param_groups(transforms, MODELS["nnx"][1], max_norm=1.0), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        optimizer.update(model, nnx.grad(lambda model: jnp.mean((model(jnp.ones((2, 3))) - 1.0) ** 2))(model))

    step(model, optimizer)
    after = nnx.state(model, nnx.Param)
    np.testing.assert_array_equal(after["encoder"]["kernel"][...], before["encoder"]["kernel"][...])
    assert not np.array_equal(after["head"]["bias"][...], before["head"]["bias"][...])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("max_norm", [None, lambda count: 1.0 + count])
def test_state_and_updates_keep_structure_and_dtypes(dtype, max_norm):
    optimizer = param_groups({"backbone": optax.adam(1e-2), "head": adamw(1e-2)}, LABELS, max_norm=max_norm)
    params, grads = network(dtype), network(dtype, seed=1)
    state = optimizer.init(params)
    updates, first = jax.eval_shape(optimizer.update, grads, state, params)
    _, second = jax.eval_shape(optimizer.update, grads, first, params)
    assert specification(updates) == specification(grads)
    assert specification(first) == specification(second) == specification(state)
    assert isinstance(state, ParamGroupsState)


def test_vmap_over_one_group_s_rate_and_the_bound():
    def trained(rate, max_norm):
        optimizer = param_groups({"backbone": optax.sgd(1e-2), "head": adamw(rate)}, LABELS, max_norm=max_norm)
        return descend(optimizer, 5)[0]

    rates, bounds = jnp.array([1e-3, 0.1]), jnp.array([0.5, 2.0])
    together, one = jax.vmap(trained)(rates, bounds), jax.jit(trained)
    for lane, (rate, bound) in enumerate(zip(rates, bounds, strict=True)):
        actual = jax.tree.map(lambda leaf, i=lane: leaf[i], together)
        assert_close(actual, one(rate, bound), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("empty", [{}, (), {"unused": None}, {"encoder": {"unused": optax.MaskedNode()}}])
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_trees_without_leaves(empty, max_norm):
    for labels in (LABELS, {"encoder": "backbone", "head": "head"}):
        optimizer = param_groups({"backbone": adamw(), "head": sgd()}, labels, max_norm=max_norm)
        updates, state = optimizer.update(empty, optimizer.init(empty), empty)
        assert updates == empty
        assert specification(state) == specification(optimizer.init(empty))


def test_extra_arguments_reach_every_group():
    def update(updates, state, params=None, *, value):
        return jax.tree.map(lambda update: update * value, updates), state

    by_value = optax.GradientTransformationExtraArgs(optax.identity().init, update)
    optimizer = param_groups({"backbone": by_value, "head": optax.identity()}, LABELS)
    updates, _ = optimizer.update(network(), optimizer.init(network()), network(), value=3.0)
    assert_close(updates["encoder"], jax.tree.map(lambda leaf: 3.0 * leaf, network()["encoder"]), rtol=1e-7)
    assert_close(updates["head"], network()["head"])


def test_it_nests_and_is_masked():
    """A mask hides leaves from the patterns, as an outer group does."""
    inner = param_groups({"matrix": optax.scale(2.0), "rest": optax.scale(3.0)}, {"matrix": "kernel"}, default="rest")
    outer = param_groups({"backbone": inner, "head": optax.scale(5.0)}, LABELS)
    updates, _ = outer.update(network(), outer.init(network()))
    for name, factors in (("encoder", (2.0, 3.0)), ("head", (5.0, 5.0))):
        for leaf, factor in zip(("kernel", "bias"), factors, strict=True):
            np.testing.assert_allclose(updates[name][leaf], factor * network()[name][leaf], rtol=1e-7)
    masked = optax.masked(
        param_groups({"all": optax.scale(2.0)}, {"all": "^head/"}), {"encoder": False, "norm": False, "head": True}
    )
    updates, _ = masked.update(network(), masked.init(network()))
    assert_close(updates["encoder"], network()["encoder"])


def test_optax_maps_over_the_parameters_in_the_state():
    labels = {"encoder": "backbone", "norm": "backbone", "head": "head"}
    optimizer = param_groups({"backbone": optax.adam(1e-2), "head": optax.adam(1e-2)}, labels, max_norm=1.0)
    state = optax.tree_utils.tree_map_params(optimizer, lambda leaf: leaf + 7.0, optimizer.init(network()))
    assert (state.groups["head"][0].mu["head"]["kernel"] == 7.0).all()
    assert int(state.groups["head"][0].count) == 0


X = np.random.default_rng(0).normal(size=(10, 8, 3)).astype(np.float32)
Y = np.tanh(X @ np.float32([[1.0, 0.5], [-2.0, 0.0], [0.5, 1.0]])).sum(-1)
START = {"backbone": {"kernel": 0.5 * np.eye(3, 2, dtype=np.float32)}, "head": {"kernel": np.float32([0.1, -0.2])}}


def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["backbone"]["kernel"]) @ params["head"]["kernel"] - y) ** 2)


def test_a_range_test_over_one_group_s_rate():
    def optimizer(rate):
        transforms = {"backbone": adamw(1e-2), "head": adamw(rate, weight_decay=0.0)}
        return param_groups(transforms, {"backbone": "^backbone/", "head": "^head/"})

    rates = [0.3, 1e-3, 0.03]
    result = range_test(loss_fn, START, (X, Y), optimizer, rates)
    for rate, losses in zip(rates, result.losses[:, 0], strict=True):
        np.testing.assert_allclose(losses, by_hand(rate), rtol=1e-4)


@jax.jit
def by_hand(head_rate):
    """The loss before each update of two optimizers that share nothing but the loss."""
    optimizers = {"backbone": optax.adamw(1e-2, weight_decay=0.01), "head": optax.adam(head_rate)}
    optimizers = {name: optax.chain(optax.clip_by_global_norm(1.0), bare) for name, bare in optimizers.items()}

    def step(carry, batch):
        params, states = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, batch)
        for name, optimizer in optimizers.items():
            updates, states[name] = optimizer.update(grads[name], states[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
        return (params, states), loss

    params = jax.tree.map(jnp.asarray, START)
    states = {name: optimizer.init(params[name]) for name, optimizer in optimizers.items()}
    return jax.lax.scan(step, (params, states), (X, Y))[1]


PAIR = {"backbone": optax.sgd(0.1), "head": optax.sgd(0.1)}
WRONG_CALLS = [
    (
        lambda: param_groups(optax.sgd(0.1), {}),
        TypeError,
        "`param_groups(transforms=...)` must be a mapping of labels to optax transformations, got GradientTransformation",
    ),
    (
        lambda: param_groups({}, {}),
        ValueError,
        "`param_groups(transforms=...)` must be a mapping with at least one label, got an empty one",
    ),
    (
        lambda: param_groups({1: optax.sgd(0.1)}, {}),
        TypeError,
        "`param_groups(transforms=...)` must be a mapping whose labels are strings, got 1 (int)",
    ),
    (
        lambda: param_groups({"head": optax.sgd}, {}),
        TypeError,
        "`param_groups(transforms['head']=...)` must be an optax transformation, got <function sgd",
    ),
    (
        lambda: param_groups(PAIR, LABELS, default="rest"),
        ValueError,
        "`param_groups(default=...)` must be one of 'backbone', 'head', got 'rest'",
    ),
    (
        lambda: param_groups(PAIR, LABELS, max_norm=0.0),
        ValueError,
        "`param_groups(max_norm=...)` must be greater than 0, got 0.0",
    ),
    (
        lambda: param_groups(PAIR, {"head": "^head/"}),
        ValueError,
        "`param_groups(labels=...)` must be patterns for every label but the default, got none for 'backbone'",
    ),
    (
        lambda: param_groups(PAIR, {"backbone": ["encoder", "("], "head": "^head/"}),
        ValueError,
        "`param_groups(labels['backbone']=...)` must be a regular expression (missing ), unterminated subpattern",
    ),
    (
        lambda: param_groups(PAIR, {"backbone": 3, "head": "^head/"}),
        TypeError,
        "`param_groups(labels['backbone']=...)` must be a regular expression, got 3 (int)",
    ),
    (
        lambda: param_groups(PAIR, {"encoder": 3, "head": "head"}),
        TypeError,
        "`param_groups(labels=...)` must be regular expressions by label, a function of path and leaf, or a tree of labels, got 3 (int)",
    ),
    (
        lambda: param_groups(PAIR, {"backbone": "^encoder/", "haed": "^head/"}),
        ValueError,
        "`param_groups(labels=...)` must be labels of transforms, 'backbone', 'head', got '^encoder/' at labels['backbone'] (a tree of labels, not patterns: the key 'haed' is no label)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


WIDE = {f"layer{i}": jnp.ones(1) for i in range(9)}
WRONG_LABELS = [
    (
        {"backbone": "^encoder/", "head": "head"},
        network(),
        "a claim for every leaf (default= takes the rest), got none for 'norm/bias', 'norm/kernel'",
    ),
    (
        {"backbone": "^layer0", "head": "^layer1"},
        WIDE,
        "a claim for every leaf (default= takes the rest), got none for 'layer2', 'layer3', 'layer4', 'layer5', 'layer6', 'layer7' and 1 more",
    ),
    (
        {"backbone": "^encoder/|norm|bias", "head": "^head/"},
        network(),
        "a single claim for every leaf, got 'head/bias' claimed by 'backbone' and 'head'",
    ),
    (
        {"backbone": "encoder|norm|head", "head": "haed"},
        network(),
        "such that each claims a leaf, got none for 'head' with 'haed'; the paths are 'encoder/bias', 'encoder/kernel', 'head/bias', 'head/kernel', 'norm/bias', 'norm/kernel'",
    ),
    (
        lambda path, _: "tail" if path == "norm/bias" else "head",
        network(),
        "labels of transforms, 'backbone', 'head', got 'tail' for 'norm/bias'",
    ),
    (
        lambda path, _: [path],
        network(),
        "labels of transforms, 'backbone', 'head', got ['encoder/bias'] for 'encoder/bias'",
    ),
    (
        lambda path, _: None if path == "norm/bias" else "head",
        network(),
        "a claim for every leaf (default= takes the rest), got none for 'norm/bias'",
    ),
    (
        {"encoder": "backbone", "norm": None, "head": "head"},
        network(),
        "a claim for every leaf (default= takes the rest), got none for 'norm/bias', 'norm/kernel'",
    ),
    (
        {"encoder": "backbone", "head": "head", "neck": "head"},
        network(),
        "a tree of labels in the structure of the parameters or a prefix: ",
    ),
    ("head", network(), "such that each claims a leaf, got none for 'backbone'; the paths"),
]


@pytest.mark.parametrize(("labels", "params", "message"), WRONG_LABELS, ids=[case[2] for case in WRONG_LABELS])
def test_labels_that_do_not_fit_the_parameters_are_refused_by_init(labels, params, message):
    optimizer = param_groups(PAIR, labels)
    with pytest.raises(ValueError, match=re.escape(f"`param_groups(labels=...)` must be {message}")):
        optimizer.init(params)


def test_a_group_without_leaves_is_fine_as_the_default():
    param_groups(PAIR, {"head": "."}, default="backbone").init(network())
