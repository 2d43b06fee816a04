"""Programs are found again by their text, and never give another program's answer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax.finder import programs, range_test
from lrjax.finder.programs import compiled

COMPILATION = "/jax/core/compile/backend_compile_duration"
X = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
_compilations: list[str] = []


def _count(event: str, duration: float, **kwargs: object) -> None:
    if event == COMPILATION:
        _compilations.append(event)


jax.monitoring.register_event_duration_secs_listener(_count)


@pytest.fixture
def compilations():
    """The compilations of the backend since the test began."""
    _compilations.clear()
    return _compilations


def written_anew(steps=None, seeds=3, rates=(0.1, 0.2), batches=X):
    """One call that uses every part, all of its functions new objects each time."""

    def loss(params, batch, state, rng):
        noise = jax.random.normal(rng, batch.shape)
        return jnp.mean((batch + 0.1 * noise) @ params["w"]) ** 2, {"n": state["n"] + 1}

    return range_test(
        loss,
        lambda key: {"w": jax.random.normal(key, (3,))},
        batches,
        lambda rate: optax.adam(rate),
        list(rates),
        steps=steps,
        rng=jax.random.key(1),
        seeds=seeds,
        model_state={"n": jnp.zeros(())},
        validation=[X[0], X[1], X[0, :2]],
        evaluate=lambda params, batch, state: jnp.mean(batch @ params["w"]) ** 2 + state["n"],
    )


def test_counting_works(compilations):
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert compilations


def test_a_second_call_compiles_nothing(compilations):
    first = written_anew()
    compilations.clear()
    second = written_anew()
    assert not compilations
    np.testing.assert_array_equal(first.losses, second.losses)
    np.testing.assert_array_equal(first.validation_losses, second.validation_losses)


def test_other_steps_seeds_rates_and_batches_of_the_same_shapes_compile_nothing(compilations):
    written_anew()
    compilations.clear()
    other = written_anew(steps=133, seeds=[7, 1, 9], rates=(0.3, 0.01), batches=X + 1)
    assert not compilations
    assert other.losses.shape == (2, 3, 133)


def test_a_stream_compiles_once_for_all_its_lengths(compilations):
    written_anew(steps=70, batches=list(X))
    compilations.clear()
    written_anew(steps=9, batches=iter(X))
    assert not compilations


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_data_closed_over_is_each_programs_own(compilations, kind):
    def call(data):
        data = kind(data)
        result = range_test(
            lambda params, batch: jnp.sum(data * params) + batch.sum() * 0,
            jnp.zeros(3),
            X,
            lambda rate: optax.chain(optax.masked(optax.scale(2.0), mask=True), optax.sgd(rate)),
            [0.5],
            steps=2,
        )
        return result.losses[0, 0]

    np.testing.assert_allclose(call(np.float32([1, 2, 3])), [0, -14])
    compilations.clear()
    np.testing.assert_allclose(call(np.float32([1, 2, 4])), [0, -21])
    assert not compilations


def test_data_closed_over_by_an_inner_jit_is_each_programs_own():
    def call(data):
        inner = jax.jit(lambda params: jnp.sum(data * params))

        def loss(params, batch):
            return jax.lax.fori_loop(0, 2, lambda _, total: total + inner(params), 0.0) + 0 * batch.sum()

        return range_test(loss, jnp.zeros(3), X, optax.sgd, [0.5], steps=2).losses[0, 0]

    np.testing.assert_allclose(call(jnp.float32([1, 2, 3])), [0, -28])
    np.testing.assert_allclose(call(jnp.float32([1, 2, 4])), [0, -42])
    np.testing.assert_allclose(call(np.float32([1, 2, 3])), [0, -28])


def test_large_data_in_an_inner_jit_is_told_apart_by_one_value():
    def call(position):
        data = jnp.zeros(100_000).at[position].set(1.0)
        inner = jax.jit(lambda x: jnp.dot(data, x))
        return float(compiled(inner, np.arange(100_000, dtype=np.float32))(np.arange(100_000, dtype=np.float32)))

    assert [call(position) for position in (50_000, 50_001, 50_000)] == [50_000, 50_001, 50_000]


def test_callbacks_are_each_programs_own():
    def call(factor):
        def double(x):
            return np.asarray(x) * np.float32(factor)

        def function(x):
            return jax.pure_callback(double, jax.ShapeDtypeStruct((), jnp.float32), x)

        return float(compiled(function, np.float32(1))(np.float32(3)))

    assert [call(factor) for factor in (2, 5, 2)] == [6, 15, 6]


def test_arguments_that_are_not_used_still_count():
    assert float(compiled(lambda x, _: x, np.float32(0), np.float32(0))(np.float32(1), np.float32(2))) == 1
    assert float(compiled(lambda x: x, np.float32(0))(np.float32(1))) == 1
    assert float(compiled(lambda _, y: y, np.float32(0), np.float32(0))(np.float32(1), np.float32(2))) == 2


def test_results_come_in_each_functions_own_structure():
    x = np.float32(3)
    assert compiled(lambda x: {"a": x, "b": (x,)}, x)(x) == {"a": 3, "b": (3,)}
    assert compiled(lambda x: [x, x], x)(x) == [3, 3]


def test_only_the_first_argument_is_given_up():
    first, second = jnp.ones(8), jnp.ones(8)
    compiled(lambda x, y: x + y, first, second, donate_first=True)(first, second)
    assert first.is_deleted()
    assert not second.is_deleted()


def test_the_cache_is_bounded_and_forgets_the_oldest(compilations, monkeypatch):
    monkeypatch.setattr(programs, "CAPACITY", 2)
    monkeypatch.setattr(programs, "_executables", type(programs._executables)())

    def call(shift):
        return float(compiled(lambda x: x + shift, np.float32(0))(np.float32(1)))

    assert [call(shift) for shift in (1.0, 2.0, 1.0, 3.0)] == [2, 3, 2, 4]
    assert len(programs._executables) == 2
    compilations.clear()
    call(1.0)
    assert not compilations
    call(2.0)
    assert len(compilations) == 1
