"""Every wrong argument of the GAN's functions, and every wrong return of a loss, is refused by name."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from toy_gan import (
    batches,
    discriminator_loss,
    discriminator_params,
    generator_loss,
    generator_params,
    keys,
    sample,
    start,
)

from lrjax.optimizers import GanOptimizers, gan_init, gan_optimizers, gan_step
from lrjax.optimizers.gan_state import GanModelState


def stepped(generator=generator_loss, discriminator=discriminator_loss, batch=batches[0], rng=keys[0], **options):
    optimizers = gan_optimizers(**options)
    return gan_step(generator, discriminator, optimizers)(start(optimizers), batch, rng)


def returning(aux):
    """A loss with this ``aux``."""
    return lambda *_, **__: (jnp.float32(1.0), aux)


def stepped_with_state(aux):
    """A step in which the generator carries a vector, and the discriminator's loss returns this ``aux``."""
    optimizers = gan_optimizers()
    state = gan_init(optimizers, generator_params, discriminator_params, generator_state={"mean": jnp.zeros(3)})
    return gan_step(generator_loss, returning(aux), optimizers)(state, batches[0], keys[0])


WRONG_CALLS = [
    (
        lambda: gan_optimizers("2e-4"),
        TypeError,
        "`gan_optimizers(generator_learning_rate=...)` must be a number or a schedule, got '2e-4' (str)",
    ),
    (
        lambda: gan_optimizers(2e-4, -4e-4),
        ValueError,
        "`gan_optimizers(discriminator_learning_rate=...)` must be at least 0, got -0.0004",
    ),
    (
        lambda: gan_optimizers(discriminator_steps=0),
        ValueError,
        "`gan_optimizers(discriminator_steps=...)` must be at least 1, got 0",
    ),
    (
        lambda: gan_optimizers(discriminator_steps=1.5),
        ValueError,
        "`gan_optimizers(discriminator_steps=...)` must be a whole number, got 1.5",
    ),
    (
        lambda: jax.jit(lambda n: gan_optimizers(discriminator_steps=n))(2),
        TypeError,
        "`gan_optimizers(discriminator_steps=...)` must be a number known before tracing, got",
    ),
    (lambda: gan_optimizers(b1=1.0), ValueError, "`gan_optimizers(b1=...)` must be less than 1, got 1.0"),
    (lambda: gan_optimizers(b2="0.9"), TypeError, "`gan_optimizers(b2=...)` must be a number, got '0.9' (str)"),
    (lambda: gan_optimizers(eps=-1.0), ValueError, "`gan_optimizers(eps=...)` must be at least 0, got -1.0"),
    (
        lambda: gan_optimizers(max_norm=0.0),
        ValueError,
        "`gan_optimizers(max_norm=...)` must be greater than 0, got 0.0",
    ),
    (
        lambda: gan_optimizers(max_norm="1"),
        TypeError,
        "`gan_optimizers(max_norm=...)` must be a number or a schedule, got '1' (str)",
    ),
    (
        lambda: gan_optimizers(max_norm=(1.0, 2.0, 3.0)),
        ValueError,
        "`gan_optimizers(max_norm=...)` must be one bound or a pair, the generator's first, got 3 of them",
    ),
    (
        lambda: gan_optimizers(max_norm=(1.0, -1.0)),
        ValueError,
        "`gan_optimizers(max_norm[1]=...)` must be greater than 0, got -1.0",
    ),
    (
        lambda: gan_optimizers(max_norm=("1", None)),
        TypeError,
        "`gan_optimizers(max_norm[0]=...)` must be a number or a schedule, got '1' (str)",
    ),
    (
        lambda: gan_optimizers(preset="biggan"),
        ValueError,
        "`gan_optimizers(preset=...)` must be one of 'default', 'dcgan', 'sagan', 'ttur', 'wgan-gp', got 'biggan'",
    ),
    (
        lambda: gan_optimizers(preset=None),
        TypeError,
        "`gan_optimizers(preset=...)` must be one of 'default', 'dcgan', 'sagan', 'ttur', 'wgan-gp', got None",
    ),
    (
        lambda: gan_optimizers(optimistic=1),
        TypeError,
        "`gan_optimizers(optimistic=...)` must be True or False, got 1 (int)",
    ),
    (
        lambda: gan_init(GanOptimizers(optax.adam, optax.adam(1e-3)), generator_params, discriminator_params),
        TypeError,
        "`gan_init(optimizers.generator=...)` must be a transformation, such as optax.adam(1e-3), got <function adam",
    ),
    (
        lambda: gan_step(generator_loss, discriminator_loss, GanOptimizers(optax.sgd(0.1), optax.sgd(0.1), 0)),
        ValueError,
        "`gan_step(optimizers.discriminator_steps=...)` must be at least 1, got 0",
    ),
    (
        lambda: gan_init(gan_optimizers(), nnx.Linear(2, 1, rngs=nnx.Rngs(0)), discriminator_params),
        TypeError,
        (
            "`gan_init(generator_params=...)` must be the parameters alone, as in "
            "`graph, params, state = nnx.split(model, nnx.Param, ...)`, got a Linear"
        ),
    ),
    (
        lambda: gan_init(gan_optimizers(), generator_params, discriminator_params, generator_state={"mean": [0.0]}),
        TypeError,
        "`gan_init(generator_state=...)` must hold arrays only, got float at ['mean'][0]",
    ),
    (
        lambda: gan_init(gan_optimizers(), generator_params, discriminator_params, discriminator_state="train"),
        TypeError,
        "`gan_init(discriminator_state=...)` must hold arrays only, got str at the top",
    ),
    (
        lambda: gan_init((optax.adam(1e-3), optax.adam(1e-3)), generator_params, discriminator_params),
        TypeError,
        "`gan_init(optimizers=...)` must be GanOptimizers, as gan_optimizers gives them, got (Gradient",
    ),
    (
        lambda: gan_init(gan_optimizers(), {"n": jnp.arange(3)}, discriminator_params),
        TypeError,
        "`gan_init(generator_params=...)` must hold floating arrays only, got int32 at ['n']",
    ),
    (
        lambda: gan_init(gan_optimizers(), generator_params, [1.0]),
        TypeError,
        "`gan_init(discriminator_params=...)` must hold floating arrays only, got float at [0]",
    ),
    (
        lambda: gan_step(None, discriminator_loss, gan_optimizers()),
        TypeError,
        (
            "`gan_step(generator_loss=...)` must be a function (own_params, opponent_params, batch, rng) -> scalar "
            "or (scalar, aux), got None (NoneType)"
        ),
    ),
    (
        lambda: gan_step(generator_loss, 0.5, gan_optimizers()),
        TypeError,
        "`gan_step(discriminator_loss=...)` must be a function",
    ),
    (
        lambda: gan_step(generator_loss, discriminator_loss, optax.adam(1e-3)),
        TypeError,
        "`gan_step(optimizers=...)` must be GanOptimizers, as gan_optimizers gives them",
    ),
    (
        lambda: gan_step(generator_loss, discriminator_loss, gan_optimizers(), ema=1.5),
        ValueError,
        "`gan_step(ema=...)` must be at most 1, got 1.5",
    ),
    (
        lambda: gan_step(generator_loss, discriminator_loss, gan_optimizers(), order="both"),
        ValueError,
        "`gan_step(order=...)` must be one of 'alternating', 'simultaneous', got 'both'",
    ),
    (
        lambda: stepped(generator=lambda g, *_: sample(g, keys[0])),
        ValueError,
        "`gan_step(generator_loss=...)` must return a scalar, got float32 of shape (8,)",
    ),
    (
        lambda: stepped(discriminator=lambda *_: 1.0),
        TypeError,
        "`gan_step(discriminator_loss=...)` must return a scalar array or (scalar array, aux), got float",
    ),
    (
        lambda: stepped(generator=lambda *_: (jnp.float32(1.0), {}, {})),
        TypeError,
        "`gan_step(generator_loss=...)` must return a scalar array or (scalar array, aux), got tuple",
    ),
    (
        lambda: stepped(discriminator=returning(batches[0])),
        TypeError,
        (
            "`gan_step(discriminator_loss=...)` must return a dict with names as keys beside its loss, "
            "got float32 of shape (8,)"
        ),
    ),
    (
        lambda: stepped(discriminator=returning({0: 1.0})),
        TypeError,
        "`gan_step(discriminator_loss=...)` must return a dict with names as keys beside its loss, got dict",
    ),
    (
        lambda: stepped(discriminator=returning({"real_logits": 0.5})),
        TypeError,
        "`gan_step(discriminator_loss=...)` must return an array of logits as aux['real_logits'], got float",
    ),
    (
        lambda: stepped(discriminator=returning({"fake": jnp.float32(0.5)})),
        TypeError,
        (
            "`gan_step(discriminator_loss=...)` must return an array of samples along a leading axis as aux['fake'], "
            "got float32 of shape ()"
        ),
    ),
    (
        lambda: stepped(generator=returning({"images": batches})),
        TypeError,
        (
            "`gan_step(generator_loss=...)` must return real scalars in aux['images']: "
            "only real_logits, fake_logits, real, fake and state may be arrays, got float32 of shape (6, 8)"
        ),
    ),
    (
        lambda: stepped(generator=returning({"note": {"text": "warm"}})),
        TypeError,
        (
            "`gan_step(generator_loss=...)` must return real scalars in aux['note']: "
            "only real_logits, fake_logits, real, fake and state may be arrays, got str"
        ),
    ),
    (
        lambda: stepped(generator=returning({"state": {}})),
        ValueError,
        (
            "`gan_step(generator_loss=...)` returned aux['state'], but gan_init was given no state: "
            "pass gan_init(generator_state=..., discriminator_state=...)"
        ),
    ),
    (
        lambda: stepped_with_state({}),
        ValueError,
        "`gan_step(discriminator_loss=...)` must return the new model states as aux['state'], got aux with []",
    ),
    (
        lambda: stepped_with_state({"state": {"mean": jnp.zeros(3)}}),
        ValueError,
        (
            "`gan_step(discriminator_loss=...)` must return aux['state'] of the structure, shapes and dtypes of the "
            "state= that it was given, got PyTreeDef({'mean': *}) for PyTreeDef(CustomNode(namedtuple[GanModelState]"
        ),
    ),
    (
        lambda: stepped_with_state({"state": GanModelState({"mean": jnp.zeros(4)}, None)}),
        ValueError,
        "state= that it was given, got float32[4] for float32[3] at .generator['mean']",
    ),
    (
        lambda: stepped_with_state({"state": GanModelState({"mean": jnp.zeros(3, jnp.bfloat16)}, None)}),
        ValueError,
        "state= that it was given, got bfloat16[3] for float32[3] at .generator['mean']",
    ),
    (
        lambda: stepped(rng=0),
        TypeError,
        "`gan_step(...)(rng=...)` must be one key, such as jax.random.key(0), got 0 (int)",
    ),
    (lambda: stepped(rng=keys), TypeError, "`gan_step(...)(rng=...)` must be one key, such as jax.random.key(0)"),
    (
        lambda: stepped(discriminator_steps=3),
        ValueError,
        "`gan_step(...)(batch=...)` must be stacked along a leading axis of discriminator_steps = 3, got shape (8,)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG_CALLS, ids=[case[2] for case in WRONG_CALLS])
def test_wrong_calls_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
