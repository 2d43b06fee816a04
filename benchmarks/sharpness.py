"""What does the sharpness of a network of a million parameters cost, and how near does it come?

    python benchmarks/sharpness.py [--smoke]

Digits, a network of 64-920-920-98-10, cross-entropy, trained by Adam in batches of 64; measured at initialisation and
in training, on 64 and on 1,024 examples, plain and preconditioned by Adam's state. First table: the Hessian-vector
products, the time in units of one jitted value_and_grad on the same batch (all take turns, medians), the error beside
scipy's eigsh (ARPACK), and the temporary memory beyond that of value_and_grad, in units of one gradient. The rival is
power iteration as people write it: a random start, until the eigenvalue changes by less than one part in 1,000, 100
products at most (PyHessian's).

Second table: the time of one product by three ways of differentiating twice, within a loop of ten.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits

from lrjax.curvature import sharpness

WIDTHS = (64, 920, 920, 98, 10)
RATE, B2, EPS = 1e-3, 0.999, 1e-8


def init(key: jax.Array, widths: tuple[int, ...]) -> list[Any]:
    keys = jax.random.split(key, len(widths) - 1)
    shapes = zip(keys, widths[:-1], widths[1:], strict=True)
    return [(jax.random.normal(key, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)) for key, i, o in shapes]


def loss_fn(params: list[Any], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
    x = batch[0]
    for place, (w, b) in enumerate(params):
        x = x @ w + b if place == len(params) - 1 else jax.nn.relu(x @ w + b)
    return optax.softmax_cross_entropy_with_integer_labels(x, batch[1]).mean()


def gradient_of(batch: Any) -> Callable[[Any], Any]:
    return lambda params: jax.grad(loss_fn)(params, batch)


@jax.jit
def product(params: Any, batch: Any, scale: Any, vector: Any) -> Any:
    """``scale * H * scale`` times a vector, nothing kept from one product to the next."""
    vector = jax.tree.map(jnp.multiply, scale, vector)
    return jax.tree.map(jnp.multiply, scale, jax.jvp(gradient_of(batch), (params,), (vector,))[1])


@jax.jit
def power_iteration(params: Any, batch: Any, scale: Any, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The eigenvalue of largest modulus and the products that it took."""
    flat, unravel = ravel_pytree(params)
    start = jax.random.normal(key, flat.shape)

    def advance(carry: Any) -> Any:
        vector, value, _, count = carry
        image = ravel_pytree(product(params, batch, scale, unravel(vector)))[0]
        return image / jnp.linalg.norm(image), image @ vector, value, count + 1

    def go_on(carry: Any) -> jax.Array:
        _, value, before, count = carry
        return (count < 100) & (jnp.abs(value - before) > 1e-3 * jnp.abs(value))

    carry = (start / jnp.linalg.norm(start), jnp.float32(0), jnp.float32(jnp.inf), 0)
    _, value, _, count = jax.lax.while_loop(go_on, advance, carry)
    return value, count


def reference(params: Any, batch: Any, scale: Any) -> float:
    """The largest eigenvalue by ARPACK."""
    flat, unravel = ravel_pytree(params)

    def matvec(vector: np.ndarray) -> np.ndarray:
        return np.asarray(ravel_pytree(product(params, batch, scale, unravel(jnp.float32(vector.ravel()))))[0])

    operator = LinearOperator((flat.size, flat.size), matvec, dtype=np.float32)
    start = np.random.default_rng(0).normal(size=flat.size).astype(np.float32)
    return float(eigsh(operator, k=1, which="LA", tol=1e-4, v0=start, return_eigenvectors=False)[0])


def medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def temporaries(function: Callable[..., Any], *arguments: Any) -> float:
    """Temporary bytes of the compiled program beyond those of a gradient, in units of the parameters'."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments[0]))
    own, gradients = (
        jax.jit(each).lower(*given).compile().memory_analysis().temp_size_in_bytes
        for each, given in ((function, arguments), (jax.value_and_grad(loss_fn), arguments[:2]))
    )
    return (own - gradients) / size


def stages(steps: tuple[int, ...], data: Any) -> Any:
    """The parameters and Adam's state after so many steps."""
    params = init(jax.random.key(0), WIDTHS)
    optimizer = optax.adam(RATE, b2=B2, eps=EPS)
    state = optimizer.init(params)

    @jax.jit
    def train(params: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient_of(batch)(params), state, params)
        return optax.apply_updates(params, updates), state

    generator = np.random.default_rng(0)
    for step in range(max(steps) + 1):
        chosen = generator.integers(0, len(data[0]), 64)
        batch = tuple(part[chosen] for part in data)
        if step in steps:
            yield step, params, state if step else train(params, state, batch)[1]
        params, state = train(params, state, batch)


def costs(steps: tuple[int, ...], rounds: int) -> None:
    images, labels = load_digits(return_X_y=True)
    data = np.float32(images / 16), np.int32(labels)
    head = "step|examples|Hessian|sharpness|products|gradients|error|memory|power iteration's products|gradients|error"
    print(head, "|".join(["---"] * 11), sep="\n")
    key = jax.random.key(1)
    for step, params, state in stages(steps, data):
        for examples in (64, 1024):
            batch = tuple(jnp.asarray(part[:examples]) for part in data)
            for name, adam in (("plain", None), ("preconditioned", state)):
                nu = state[0].nu
                count = int(state[0].count)
                scale = jax.tree.map(lambda x, n=count: (jnp.sqrt(x / (1 - B2**n)) + EPS) ** -0.5, nu)
                if adam is None:
                    scale = jax.tree.map(jnp.ones_like, nu)
                ours = partial(sharpness, loss_fn, params, batch, rng=key, preconditioner=adam)
                theirs = partial(power_iteration, params, batch, scale, key)
                gradient = partial(jax.jit(jax.value_and_grad(loss_fn)), params, batch)
                seconds = medians({"ours": ours, "theirs": theirs, "gradient": gradient}, rounds)
                truth = reference(params, batch, scale)
                measured, (power, products) = ours(), theirs()

                def program(params: Any, batch: Any, adam: Any) -> Any:
                    return sharpness(loss_fn, params, batch, rng=key, preconditioner=adam)

                cells = [
                    f"{step}",
                    f"{examples}",
                    name,
                    f"{measured.value:.4g}",
                    f"{measured.products}",
                    f"{seconds['ours'] / seconds['gradient']:.1f}",
                    f"{abs(measured.value / truth - 1):.1e}",
                    f"{temporaries(program, params, batch, adam):.1f}",
                    f"{products}",
                    f"{seconds['theirs'] / seconds['gradient']:.1f}",
                    f"{abs(power / truth - 1):.1e}",
                ]
                print("|".join(cells), flush=True)


def ways(rounds: int) -> None:
    images, labels = load_digits(return_X_y=True)
    params = init(jax.random.key(0), WIDTHS)

    def forward_over_reverse(params: Any, batch: Any) -> Callable[[Any], Any]:
        return lambda vector: jax.jvp(gradient_of(batch), (params,), (vector,))[1]

    def linearised(params: Any, batch: Any) -> Callable[[Any], Any]:
        return jax.linearize(gradient_of(batch), params)[1]

    def reverse_over_reverse(params: Any, batch: Any) -> Callable[[Any], Any]:
        return lambda vector: jax.vjp(gradient_of(batch), params)[1](vector)[0]

    contestants = {
        "linearised once": linearised,
        "forward over reverse": forward_over_reverse,
        "reverse over reverse": reverse_over_reverse,
    }
    print("\nproduct|examples|gradients|memory", "|".join(["---"] * 4), sep="\n")
    for examples in (64, 1024):
        batch = jnp.float32(images[:examples] / 16), jnp.int32(labels[:examples])
        calls: dict[str, Callable[[], Any]] = {"gradient": partial(jax.jit(jax.value_and_grad(loss_fn)), params, batch)}
        memory = {}
        for name, way in contestants.items():

            def ten(params: Any, batch: Any, way: Any = way) -> Any:
                operator = way(params, batch)
                return jax.lax.fori_loop(0, 10, lambda _, vector: operator(vector), params)

            calls[name] = partial(jax.jit(ten), params, batch)
            memory[name] = temporaries(ten, params, batch)
        seconds = medians(calls, rounds)
        for name in contestants:
            ratio = seconds[name] / seconds["gradient"] / 10
            print(f"{name}|{examples}|{ratio:.2f}|{memory[name]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="few steps and rounds")
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}\n")
    costs((0, 2) if options.smoke else (0, 100), 1 if options.smoke else 3)
    ways(1 if options.smoke else 3)


if __name__ == "__main__":
    main()
