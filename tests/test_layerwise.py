"""Layer-wise rates against multipliers worked out by hand and optimizers run leaf by leaf."""

from __future__ import annotations

import re
from itertools import pairwise

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

from lrjax.optimizers.adamw import adamw
from lrjax.optimizers.groups import param_groups
from lrjax.optimizers.layerwise import LayerRate, layer_rates, layerwise


def ones(*paths: str):
    """A tree of vectors of ones with these paths."""
    tree: dict = {}
    for path in paths:
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = jnp.ones(2)
    return tree


def multipliers(transform, tree) -> dict[str, float]:
    """What a transformation makes of updates of one, by path."""
    updates, _ = transform.update(tree, transform.init(tree), tree)
    leaves = jax.tree.leaves_with_path(updates)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): float(leaf[0]) for path, leaf in leaves}


VIT = ones(
    *("cls_token", "pos_embed", "patch_embed/proj/kernel"),
    *(f"blocks/{i}/{part}" for i in range(12) for part in ("attn/qkv/kernel", "mlp/fc1/bias", "norm1/scale")),
    *("norm/scale", "head/kernel"),
)
# 0.75**13, 0.75**12, ..., 0.75, 1
BY_LAYER = [0.0237573, 0.0316764, 0.0422351, 0.0563135, 0.0750847, 0.100113, 0.133484]
BY_LAYER += [0.177979, 0.237305, 0.316406, 0.421875, 0.5625, 0.75, 1.0]


def test_a_vision_transformer_of_twelve_blocks():
    found = multipliers(layerwise(0.75), VIT)
    expected = dict.fromkeys(("cls_token", "pos_embed", "patch_embed/proj/kernel"), BY_LAYER[0])
    for i in range(12):
        expected |= {
            f"blocks/{i}/{part}": BY_LAYER[i + 1] for part in ("attn/qkv/kernel", "mlp/fc1/bias", "norm1/scale")
        }
    expected |= {"norm/scale": 1.0, "head/kernel": 1.0}
    assert found == pytest.approx(expected, rel=1e-5)


NAMES = {
    "flax, big_vision": [
        {"embedding/kernel": 0, "cls": 0, "pos_embedding": 0, "Transformer/encoderblock_0/LayerNorm_0/scale": 1},
        {
            "Transformer/encoderblock_1/MlpBlock_0/Dense_1/bias": 2,
            "Transformer/encoder_norm/scale": 3,
            "head/kernel": 3,
        },
    ],
    "flax, names by itself": [
        {"Embed_0/embedding": 0, "TransformerBlock_0/Dense_0/kernel": 1, "TransformerBlock_1/Dense_1/kernel": 2},
        {"LayerNorm_0/scale": 3, "Dense_0/kernel": 3},
    ],
    "Hugging Face BERT": [
        {"bert/embeddings/word_embeddings/embedding": 0, "bert/embeddings/LayerNorm/scale": 0},
        {"bert/encoder/layer/0/attention/self/query/kernel": 1, "bert/encoder/layer/1/output/LayerNorm/bias": 2},
        {"bert/pooler/dense/kernel": 3, "classifier/kernel": 3, "cls/predictions/transform/dense/kernel": 3},
    ],
    "Hugging Face GPT-2": [
        {"transformer/wte/embedding": 0, "transformer/wpe/embedding": 0, "transformer/h/0/attn/c_attn/kernel": 1},
        {"transformer/h/1/mlp/c_fc/kernel": 2, "transformer/ln_f/scale": 3, "lm_head/kernel": 3},
    ],
    "Hugging Face T5's encoder": [
        {"shared/embedding": 0, "encoder/block/0/layer/0/SelfAttention/relative_attention_bias/embedding": 1},
        {"encoder/block/1/layer/1/DenseReluDense/wi/kernel": 2, "encoder/final_layer_norm/weight": 3},
    ],
    "nnx and equinox": [
        {"patch_embed/weight": 0, "register_tokens": 0, "layers/0/attn/weight": 1, "layers/1/mlp/layers/0/weight": 2},
        {"norm/weight": 3, "unembed/weight": 3, "embed_out/weight": 3},
    ],
    "CLIP": [
        {"visual/class_embedding": 0, "visual/transformer/resblocks/0/ln_1/weight": 1},
        {"visual/transformer/resblocks/1/ln_1/weight": 2, "visual/proj": 3},
    ],
    "a stem": [{"stem/conv/kernel": 0, "layer_0/kernel": 1, "layer_1/kernel": 2, "fc/kernel": 3}],
}


@pytest.mark.parametrize("parts", NAMES.values(), ids=NAMES.keys())
def test_names_that_are_known(parts):
    layers = {path: layer for part in parts for path, layer in part.items()}
    rates = layer_rates(ones(*layers), 0.5)
    assert {row.path: row.layer for row in rates} == layers
    assert {row.path: row.multiplier for row in rates} == {path: 0.5 ** (3 - layer) for path, layer in layers.items()}


class LinenNet(linen.Module):
    """Flax numbers the blocks in their names."""

    @linen.compact
    def __call__(self, tokens):  # noqa: D102
        x = linen.Embed(5, 2, name="embed")(tokens)
        for i in range(2):
            x = linen.Dense(2, name=f"layers_{i}")(x)
        return linen.Dense(1, name="head")(x)


class NnxNet(nnx.Module):
    """The blocks are a list."""

    def __init__(self, rngs):  # noqa: D107
        self.embed = nnx.Embed(5, 2, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(2, 1, rngs=rngs)


class EquinoxNet(eqx.Module):
    """The blocks are a list, and functions are among the leaves."""

    embed: eqx.nn.Embedding
    layers: list
    head: eqx.nn.Linear

    def __init__(self, key):  # noqa: D107
        self.embed = eqx.nn.Embedding(5, 2, key=key)
        self.layers = [eqx.nn.MLP(2, 2, 2, 1, key=key) for _ in range(2)]
        self.head = eqx.nn.Linear(2, 1, key=key)


MODELS = {
    "linen": (
        lambda: LinenNet().init(jax.random.key(0), jnp.zeros(1, int))["params"],
        lambda tree: [tree["embed"], tree["layers_0"], tree["layers_1"], tree["head"]],
    ),
    "nnx": (
        lambda: nnx.split(NnxNet(nnx.Rngs(0)), nnx.Param, ...)[1],
        lambda tree: [tree["embed"], tree["layers"][0], tree["layers"][1], tree["head"]],
    ),
    "equinox": (
        lambda: eqx.filter(EquinoxNet(jax.random.key(0)), eqx.is_inexact_array),
        lambda tree: [tree.embed, *tree.layers, tree.head],
    ),
}


@pytest.mark.parametrize(("build", "in_order"), MODELS.values(), ids=MODELS.keys())
def test_models_of_all_libraries(build, in_order):
    params = build()
    transform = layerwise(0.5)
    updates, state = eqx.filter_jit(transform.update)(jax.tree.map(jnp.ones_like, params), transform.init(params))
    assert state == optax.EmptyState()
    assert specification(updates) == specification(params)
    for part, multiplier in zip(in_order(updates), (0.125, 0.25, 0.5, 1.0), strict=True):
        for leaf in jax.tree.leaves(part):
            np.testing.assert_array_equal(leaf, multiplier)


def descend(optimizer, params, steps: int = 10):
    """Parameters after some updates with gradients that change."""

    def step(carry, i):
        params, state = carry
        grads = jax.tree.map(lambda leaf: jnp.sin(3.0 * leaf + i), params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))[0][0])()


SMALL = ones("embed", "layers_0", "layers_1", "head")


def test_behind_an_optimizer_each_leaf_goes_as_alone_at_its_own_rate():
    """Weight decay, which is part of the update, is in units of the scaled rate."""
    optimizer = optax.chain(adamw(1e-2, weight_decay=0.1, mask=None, max_norm=None), layerwise(0.5))
    together = descend(optimizer, SMALL)
    for name, rate in {"embed": 1.25e-3, "layers_0": 2.5e-3, "layers_1": 5e-3, "head": 1e-2}.items():
        alone = descend(optax.adamw(rate, weight_decay=0.1), SMALL[name])
        np.testing.assert_allclose(together[name], alone, rtol=1e-6)


def test_discriminative_fine_tuning():
    optimizer = optax.chain(optax.sgd(0.1), layerwise({"embed|layers": 0.01, "HEAD": 1.0}))
    for together, rate in zip(descend(optimizer, SMALL).values(), (1e-3, 0.1, 1e-3, 1e-3), strict=True):
        np.testing.assert_allclose(together, descend(optax.sgd(rate), jnp.ones(2)), rtol=1e-6)


def test_the_default_multiplier_is_the_rest_s():
    assert multipliers(layerwise({"head": 2.0}, default=0.5), SMALL) == {
        "embed": 0.5,
        "head": 2.0,
        "layers_0": 0.5,
        "layers_1": 0.5,
    }


def test_zero_freezes_even_where_the_update_is_not_finite():
    updates = {**SMALL, "embed": jnp.array([jnp.nan, jnp.inf])}
    for transform in (layerwise({"embed": 0.0}, default=1.0), layerwise(0.0)):
        scaled, _ = transform.update(updates, transform.init(SMALL))
        np.testing.assert_array_equal(scaled["embed"], 0.0)
        np.testing.assert_array_equal(scaled["head"], 1.0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_the_product_is_rounded_once_to_the_update_s_dtype(dtype):
    rng = np.random.default_rng(0)
    updates = {"embed": jnp.asarray(rng.normal(size=50), dtype), "layers_0": jnp.ones((), dtype), "gone": None}
    transform = layerwise(0.9)
    scaled, _ = transform.update(updates, transform.init(updates))
    assert specification(scaled) == specification(updates)
    wide = np.complex64 if dtype == jnp.complex64 else np.float32
    exact = (np.asarray(updates["embed"], wide) * np.float32(0.81)).astype(dtype)
    np.testing.assert_allclose(np.asarray(scaled["embed"], wide), np.asarray(exact, wide), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_float64_updates_are_scaled_in_float64():
    updates = {"embed": jnp.ones(1, jnp.float64), "layers_0": jnp.ones(1)}
    scaled, _ = layerwise(0.9).update(updates, optax.EmptyState())
    np.testing.assert_allclose(scaled["embed"], 0.9**2, rtol=1e-15)


def test_traced_multipliers_and_decays():
    def scaled(decay, multiplier):
        by_depth = layerwise(decay).update(SMALL, optax.EmptyState())[0]
        return by_depth, layerwise({"embed": multiplier}, default=1.0).update(SMALL, optax.EmptyState())[0]

    by_depth, by_pattern = jax.jit(jax.vmap(scaled))(jnp.array([0.0, 0.5, 1.0]), jnp.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(by_depth["embed"][:, 0], [0.0, 0.125, 1.0])
    np.testing.assert_allclose(by_depth["head"][:, 0], 1.0)
    np.testing.assert_allclose(by_pattern["embed"][:, 0], [0.0, 0.5, 2.0])
    np.testing.assert_allclose(by_pattern["head"], 1.0)


def test_a_multiplier_can_be_swept():
    def trained(multiplier):
        return descend(optax.chain(adamw(1e-2), layerwise({"embed|layers": multiplier, "head": 1.0})), SMALL, 3)

    together = jax.vmap(trained)(jnp.array([0.0, 0.1]))
    np.testing.assert_array_equal(together["embed"][0], 1.0)
    for name, leaf in trained(0.1).items():
        np.testing.assert_allclose(together[name][1], leaf, rtol=1e-6)


def test_stacked_blocks_get_a_multiplier_each():
    """As ``nn.scan`` and ``nnx.vmap`` make them, and as the same blocks would apart."""
    tree = {
        "embed": jnp.ones(2),
        "encoderblock": {"kernel": jnp.ones((3, 2, 2)), "bias": jnp.ones(3)},
        "head": jnp.ones(2),
    }
    scaled, _ = layerwise(0.5, stacked="encoderblock/").update(tree, optax.EmptyState())
    np.testing.assert_array_equal(
        scaled["encoderblock"]["kernel"], np.broadcast_to(np.float32([0.125, 0.25, 0.5])[:, None, None], (3, 2, 2))
    )
    np.testing.assert_array_equal(scaled["encoderblock"]["bias"], [0.125, 0.25, 0.5])
    np.testing.assert_array_equal([scaled["embed"][0], scaled["head"][0]], [0.0625, 1.0])
    rows = layer_rates({"layers": jnp.ones((2, 3)), "head": jnp.ones(2)}, 0.5, learning_rate=0.1, stacked="layers")
    assert rows == (
        LayerRate("head", 3, 1.0, 0.1),
        LayerRate("layers[0]", 1, 0.25, 0.025),
        LayerRate("layers[1]", 2, 0.5, 0.05),
    )


def test_patterns_of_one_s_own():
    tree = ones("stem_conv", "stages/0/blocks/0/w", "stages/0/blocks/1/w", "stages/1/blocks/0/w", "head")
    found = multipliers(layerwise(0.5, blocks=r"stages/(\d+)", first="stem_"), tree)
    assert list(found.values()) == [1.0, 0.25, 0.25, 0.5, 0.125]


def test_two_towers_have_one_layerwise_each():
    tower = ("embed", "layers/0", "layers/1")
    tree = ones(*(f"image/{part}" for part in (*tower, "layers/2")), *(f"text/{part}" for part in tower))
    both = param_groups({"image": layerwise(0.5), "text": layerwise(0.1)}, {"image": "^image/", "text": "^text/"})
    expected = {"image/embed": 0.0625, "image/layers/0": 0.125, "image/layers/1": 0.25, "image/layers/2": 0.5}
    expected |= {"text/embed": 0.001, "text/layers/0": 0.01, "text/layers/1": 0.1}
    assert multipliers(both, tree) == pytest.approx(expected)


@pytest.mark.parametrize("empty", [{}, (), {"unused": None}, {"layers": optax.MaskedNode()}])
def test_trees_without_leaves(empty):
    for transform in (layerwise(0.75), layerwise({"head": 0.1}), layerwise(0.75, stacked="layers")):
        assert transform.update(empty, transform.init(empty)) == (empty, optax.EmptyState())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(0.01, 1.0), st.randoms(use_true_random=False))
def test_each_layer_has_the_decay_times_the_next_one_s(num_blocks, decay, random):
    names = ["embed", *(f"layers_{i}" for i in range(num_blocks)), "head"]
    shuffled = random.sample(names, len(names))
    rows = {row.path: row for row in layer_rates({name: np.ones(1) for name in shuffled}, decay)}
    assert [rows[name].layer for name in names] == list(range(num_blocks + 2))
    assert rows["head"].multiplier == 1.0
    for below, above in pairwise(names):
        assert rows[below].multiplier == pytest.approx(decay * rows[above].multiplier)


def test_the_rates_print_as_a_table():
    shapes = jax.eval_shape(lambda: SMALL)
    assert str(layer_rates(shapes, 0.5, learning_rate=1e-3)).splitlines() == [
        "path      layer  multiplier  learning rate",
        "embed         0       0.125       0.000125",
        "head          3           1          0.001",
        "layers_0      1        0.25        0.00025",
        "layers_1      2         0.5         0.0005",
    ]
    assert str(layer_rates(shapes, {"embed": 0.01}, default=1)).splitlines() == [
        "path      multiplier",
        "embed           0.01",
        "head               1",
        "layers_0           1",
        "layers_1           1",
    ]
    assert str(layer_rates({}, 0.5)) == "path"


def test_the_rates_are_those_of_the_transformation():
    for rule, options in [(0.65, {}), ({"^layers": 0.3, "embed": 0.1}, {"default": 2.0})]:
        rows = layer_rates(SMALL, rule, learning_rate=0.1, **options)
        assert {row.path: row.multiplier for row in rows} == pytest.approx(
            multipliers(layerwise(rule, **options), SMALL)
        )
        assert all(row.learning_rate == pytest.approx(0.1 * row.multiplier) for row in rows)
    assert all(type(value) is float for row in layer_rates(SMALL, 1, learning_rate=1) for value in row[2:])


WRONG_CALLS = [
    (
        lambda: layerwise("0.75"),
        TypeError,
        "`layerwise(rule=...)` must be a number or a mapping of regular expressions to multipliers, got '0.75' (str)",
    ),
    (lambda: layerwise(optax.constant_schedule(0.5)), TypeError, "multipliers, got <function constant_schedule"),
    (lambda: layerwise(True), TypeError, "multipliers, got True (bool)"),
    (lambda: layerwise(1.1), ValueError, "`layerwise(rule=...)` must be at most 1, got 1.1"),
    (lambda: layerwise(-0.1), ValueError, "`layerwise(rule=...)` must be at least 0, got -0.1"),
    (
        lambda: layerwise(jnp.ones(2)),
        ValueError,
        "`layerwise(rule=...)` must be a number (jax.vmap gives many at once), got an array of shape (2,)",
    ),
    (lambda: layerwise({"head": -1.0}), ValueError, "`layerwise(rule['head']=...)` must be at least 0, got -1.0"),
    (lambda: layerwise({"head": "1"}), TypeError, "`layerwise(rule['head']=...)` must be a number, got '1' (str)"),
    (lambda: layerwise({"(": 1.0}), ValueError, "`layerwise(rule=...)` must be a regular expression (missing ), unt"),
    (lambda: layerwise({0: 1.0}), TypeError, "`layerwise(rule=...)` must be a regular expression, got 0 (int)"),
    (lambda: layerwise({}, default=-1), ValueError, "`layerwise(default=...)` must be at least 0, got -1"),
    (
        lambda: layerwise(0.5, default=1.0),
        ValueError,
        "`layerwise(default=...)` must be left out with a decay, got 1.0",
    ),
    (
        lambda: layerwise({"head": 1.0}, stacked="layers"),
        ValueError,
        "`layerwise(stacked=...)` must be left out with a mapping, got 'layers'",
    ),
    (
        lambda: layerwise({"head": 1.0}, blocks=r"(\d)"),
        ValueError,
        "`layerwise(blocks=...)` must be left out with a mapping, got '(\\\\d)'",
    ),
    (
        lambda: layerwise(0.5, blocks=r"layers_\d+"),
        ValueError,
        "`layerwise(blocks=...)` must be a regular expression with one group, the block's index, got 'layers_\\\\d+'",
    ),
    (lambda: layerwise(0.5, blocks=None), TypeError, "`layerwise(blocks=...)` must be a regular expression, got None"),
    (lambda: layerwise(0.5, first="["), ValueError, "`layerwise(first=...)` must be a regular expression (untermin"),
    (lambda: layerwise(0.5, stacked=1), TypeError, "`layerwise(stacked=...)` must be a regular expression, got 1"),
    (lambda: layer_rates(SMALL, 2.0), ValueError, "`layer_rates(rule=...)` must be at most 1, got 2.0"),
    (
        lambda: layer_rates(SMALL, 0.5, learning_rate=-1.0),
        ValueError,
        "`layer_rates(learning_rate=...)` must be at least 0, got -1.0",
    ),
    (
        lambda: jax.jit(lambda m: len(layer_rates(SMALL, {"head": m}, default=1.0)))(0.1),
        TypeError,
        "`layer_rates(rule=...)` must be known before tracing, got ",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


WRONG_TREES = [
    (
        layerwise(0.5),
        ones("Dense_0", "Dense_1"),
        "must be a pattern of the blocks' paths, its group their index (stacked= for blocks in a single leaf), got no ",
    ),
    (layerwise(0.5), ones("Dense_0", "Dense_1"), " in 'Dense_0', 'Dense_1'"),
    (
        layerwise(0.5),
        ones("encoder/layers/0/w", "encoder/layers/1/w", "decoder/layers/0/w"),
        "`layerwise(blocks=...)` must be given where there are several stacks of blocks (or a layerwise for each, in param_groups), got the default with stacks 'decoder/layers/' of 1, 'encoder/layers/' of 2",
    ),
    (
        layerwise(0.5, blocks=r"layers_(\w+)"),
        ones("layers_0", "layers_x"),
        "`layerwise(blocks=...)` must be a regular expression whose group is a number, got 'x' in 'layers_x'",
    ),
    (
        layerwise(0.5, stacked="layres"),
        ones("layers", "head"),
        "`layerwise(stacked=...)` must be a pattern of the stacked leaves, got no match of 'layres' in 'head', 'layers'",
    ),
    (
        layerwise(0.5, stacked="layers"),
        {"layers": {"scale": jnp.ones(())}},
        "`layerwise(stacked=...)` must be a pattern of leaves with a leading axis of blocks, got shape () for 'layers/scale'",
    ),
    (
        layerwise(0.5, stacked="layers"),
        {"layers": {"bias": jnp.ones(3), "kernel": jnp.ones((2, 3))}},
        "must be a pattern of leaves with a leading axis of 3 blocks, as others have, got shape (2, 3) for 'layers/kernel'",
    ),
    (
        layerwise({"head": 1.0, "layers": 0.5}),
        SMALL,
        "`layerwise(rule=...)` must be a claim for every leaf (default= takes the rest), got none for 'embed'",
    ),
    (
        layerwise({"head": 1.0, "e": 0.5}, default=1.0),
        SMALL,
        "must be a single claim for every leaf, got 'head' claimed by 'head' and 'e'",
    ),
    (
        layerwise({"haed": 1.0}, default=0.5),
        SMALL,
        "must be such that each claims a leaf, got none for 'haed'; the paths are",
    ),
]


@pytest.mark.parametrize(("transform", "tree", "message"), WRONG_TREES, ids=[case[2] for case in WRONG_TREES])
def test_trees_that_the_rule_does_not_fit_are_refused_by_init(transform, tree, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        transform.init(tree)
