"""What does a step of a preset cost, beside bare optax of the same composition and beside torch on the CPU?

    python benchmarks/optimizer_step.py [--smoke] [--sizes 1e6 1e7] [--presets adamw sgd ...]

Every step clips the global norm to 1 (the gradients exceed it), applies the optimizer and adds the updates to the
parameters, in place. lrjax's also checks for non-finite entries and counts. Prints a markdown table: milliseconds as
medians over rounds in which all contestants of a row take turns in random order, and ratios, lrjax's time over the
other's, as medians over the rounds; compile times apart. torch is measured where it is installed, as clip_grad_norm_
and the optimizer, in the foreach and the fused implementation where it has them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from lrjax import optimizers

try:
    import torch
except ImportError:
    torch = None


class Contest(NamedTuple):
    """A preset, bare optax of the same composition, and torch's optimizer where there is one."""

    ours: Callable[[], optax.GradientTransformation]
    optax: Callable[[Any], optax.GradientTransformation]
    torch: tuple[str, dict[str, Any], tuple[str, ...]] | None = None


SECONDS_A_ROW = 30  # where the slowest optimizers stop short of all rounds
BOTH = ("foreach", "fused")
CONTESTS = {
    "clip_gradients": Contest(optimizers.clip_gradients, lambda _: optax.identity()),
    "adam": Contest(optimizers.adam, lambda _: optax.adam(1e-3), ("Adam", {}, BOTH)),
    "adamw": Contest(
        optimizers.adamw,
        lambda mask: optax.adamw(1e-3, weight_decay=0.01, mask=mask),
        ("AdamW", {"weight_decay": 0.01}, BOTH),
    ),
    "lamb": Contest(optimizers.lamb, lambda mask: optax.lamb(1e-3, weight_decay=0.01, mask=mask)),
    "lion": Contest(optimizers.lion, lambda mask: optax.lion(1e-4, weight_decay=0.1, mask=mask)),
    "sgd": Contest(optimizers.sgd, lambda _: optax.sgd(0.01), ("SGD", {}, BOTH)),
    "sgd, momentum": Contest(
        lambda: optimizers.sgd(momentum=0.9), lambda _: optax.sgd(0.01, 0.9), ("SGD", {"momentum": 0.9}, BOTH)
    ),
    "sgd, Nesterov": Contest(
        lambda: optimizers.sgd(momentum=0.9, nesterov=True),
        lambda _: optax.sgd(0.01, 0.9, nesterov=True),
        ("SGD", {"momentum": 0.9, "nesterov": True}, BOTH),
    ),
    "rmsprop": Contest(optimizers.rmsprop, lambda _: optax.rmsprop(1e-3), ("RMSprop", {"alpha": 0.9}, ("foreach",))),
    "schedule_free_adamw": Contest(optimizers.schedule_free_adamw, lambda _: contrib.schedule_free_adamw()),
    "dadapt_adamw": Contest(optimizers.dadapt_adamw, lambda _: contrib.dadapt_adamw()),
    "prodigy": Contest(optimizers.prodigy, lambda _: contrib.prodigy()),
    "muon": Contest(
        optimizers.muon,
        lambda mask: contrib.muon(
            1e-3, weight_decay=0.01, weight_decay_mask=mask, consistent_rms=0.2, adam_weight_decay=0.0
        ),
    ),
}


def tree(size: float, seed: int) -> dict[str, np.ndarray]:
    """About ``size`` float32 numbers: ten square matrices and their biases."""
    rng = np.random.default_rng(seed)
    width = int((size / 10) ** 0.5)
    shapes = {f"{kind}_{i}": (width,) * rank for i in range(10) for kind, rank in (("kernel", 2), ("bias", 1))}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def jax_step(optimizer: optax.GradientTransformation, size: float) -> tuple[Callable[[], None], float]:
    """A function that takes one step, in place, and the seconds that compiling took."""
    params, grads = (jax.tree.map(jnp.asarray, tree(size, seed)) for seed in (0, 1))
    state = jax.tree.map(jnp.copy, optimizer.init(params))  # optax's prodigy keeps the parameters themselves

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, grads)
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - began
    held = [params, state]

    def take() -> None:
        held[:] = compiled(*held, grads)
        jax.block_until_ready(held)

    return take, seconds


def torch_step(name: str, options: dict[str, Any], implementation: str, size: float) -> Callable[[], None]:
    """The same in torch."""
    params = [torch.nn.Parameter(torch.from_numpy(leaf)) for leaf in tree(size, 0).values()]
    grads = [torch.from_numpy(leaf) for leaf in tree(size, 1).values()]
    optimizer = getattr(torch.optim, name)(params, lr=1e-3, **options, **{implementation: True})

    def take() -> None:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()  # clipping works in place
        began = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        optimizer.step()
        took.append(time.perf_counter() - began)

    took: list[float] = []
    take.took = took  # type: ignore[attr-defined]
    return take


def seconds_of(take: Callable[[], None], steps: int) -> float:
    """Seconds a step; of torch, without the copying of gradients."""
    began = time.perf_counter()
    for _ in range(steps):
        take()
    seconds = time.perf_counter() - began
    if hasattr(take, "took"):
        seconds = sum(take.took[-steps:])
    return seconds / steps


def measured(name: str, size: float, rounds: int, steps: int) -> str:
    """A row of the table."""
    contest = CONTESTS[name]
    mask = optimizers.decay_mask(tree(size, 0))
    bare = optax.chain(optax.clip_by_global_norm(1.0), contest.optax(mask))
    takes, compiling = {}, {}
    for key, optimizer in (("lrjax", contest.ours()), ("optax", bare)):
        takes[key], compiling[key] = jax_step(optimizer, size)
    if torch is not None and contest.torch:
        for implementation in contest.torch[2]:
            takes[implementation] = torch_step(*contest.torch[:2], implementation, size)
    times: dict[str, list[float]] = {key: [] for key in takes}
    turn = sum(seconds_of(take, 2) * (steps + 1) for take in takes.values())
    rounds = min(rounds, max(5, int(SECONDS_A_ROW / turn)))
    shuffled = random.Random(0)
    for _ in range(rounds):
        for key in shuffled.sample(list(takes), len(takes)):
            seconds_of(takes[key], 1)  # caches are its own again
            times[key].append(seconds_of(takes[key], steps))
    milliseconds = {key: f"{statistics.median(values) * 1e3:.3f}" for key, values in times.items()}
    ratios = {
        key: f"{statistics.median(a / b for a, b in zip(times['lrjax'], values, strict=True)):.2f}"
        for key, values in times.items()
    }
    cells = [name, f"{size:.0e}", milliseconds["lrjax"], milliseconds["optax"], ratios["optax"]]
    cells += [f"{milliseconds[key]} ({ratios[key]})" if key in times else "-" for key in BOTH]
    return " | ".join([*cells, f"{compiling['lrjax']:.2f}", f"{compiling['optax']:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="one small size, few rounds")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--presets", nargs="+", choices=CONTESTS, default=list(CONTESTS))
    options = parser.parse_args()
    sizes, rounds = ([1e4], 3) if options.smoke else (options.sizes, 61)
    print(f"jax {jax.__version__}, optax {optax.__version__}, torch {torch.__version__ if torch else 'not installed'}")
    print()
    print(
        "preset | parameters | lrjax ms | optax ms | ratio | torch foreach ms (ratio) | torch fused ms (ratio)", end=""
    )
    print(" | lrjax compile s | optax compile s")
    print("|".join(["---"] * 9))
    for size in sizes:
        for name in options.presets:
            print(measured(name, size, rounds, steps=max(1, int(3e7 / size / 10))), flush=True)
            jax.clear_caches()


if __name__ == "__main__":
    main()
