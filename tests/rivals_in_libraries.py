"""Transformers, timm, Keras, optax, fastai, pytorch-scheduler and a paper, by hand in float64; optax as installed.

Transformers 5.23.0, timm 1.0.31 and Keras 3.15.1 compute the same to 1e-13.
"""
# ruff: noqa: N803 (W and N are the names of the table)

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from typing import Any

import jax
import numpy as np
import optax
from rivals import FALL, Run, half_cosine, into

RUNS: list[Run] = []
rival = into(RUNS)

# Transformers

HF = {"lr": 5e-5, "W": 12, "N": 90}


@rival("Transformers", "constant", 20, lr=5e-5)
def hf_constant(t, lr):
    return lr


@rival("Transformers", "constant_with_warmup", 40, lr=5e-5, W=12)
@rival("Transformers", "constant_with_warmup", 40, lr=5e-5, W=0)
def hf_constant_with_warmup(t, lr, W):
    return lr * t / W if t < W else lr


@rival("Transformers", "linear", 100, **HF)
def hf_linear(t, lr, W, N):
    return lr * t / W if t < W else lr * max(0, (N - t) / (N - W))


@rival("Transformers", "cosine", 90, **HF, num_cycles=0.5)
@rival("Transformers", "cosine, num_cycles", 90, **HF, num_cycles=1.5)
def hf_cosine(t, lr, W, N, num_cycles):
    return lr * t / W if t < W else lr * math.cos(math.pi * num_cycles * (t - W) / (N - W)) ** 2


@rival("Transformers", "cosine_with_restarts", 100, **HF, num_cycles=3)
def hf_restarts(t, lr, W, N, num_cycles):
    if t < W:
        return lr * t / W
    return 0 if t >= N else lr * half_cosine((t - W) * num_cycles % (N - W) / (N - W))


@rival("Transformers", "polynomial", 100, **HF, lr_end=1e-7, power=1.0)
@rival("Transformers", "polynomial", 100, **HF, lr_end=1e-6, power=2.5)
def hf_polynomial(t, lr, W, N, lr_end, power):
    if t < W:
        return lr * t / W
    return lr_end if t > N else (lr - lr_end) * ((N - t) / (N - W)) ** power + lr_end


@rival("Transformers", "inverse_sqrt", 90, lr=5e-5, W=12, timescale=None)
@rival("Transformers", "inverse_sqrt", 90, lr=5e-5, W=0, timescale=None)
@rival("Transformers", "inverse_sqrt", 90, lr=5e-5, W=12, timescale=40)
def hf_inverse_sqrt(t, lr, W, timescale):
    scale = timescale or W or 10_000
    return lr * t / W if t < W else lr / math.sqrt((t + scale - W) / scale)


@rival("Transformers", "cosine_with_min_lr", 90, **HF, min_lr=5e-6)
def hf_cosine_min(t, lr, W, N, min_lr):
    return lr * t / W if t < W else min_lr + (lr - min_lr) * half_cosine((t - W) / (N - W))


@rival("Transformers", "cosine_warmup_with_min_lr", 90, **HF, min_lr=5e-6, warmup_lr_rate=None)
@rival("Transformers", "cosine_warmup_with_min_lr, warmup_lr_rate", 90, **HF, min_lr=0.0, warmup_lr_rate=0.3)
def hf_cosine_warmup_min(t, lr, W, N, min_lr, warmup_lr_rate):
    if t < W:
        return lr * ((t + 1) / W if warmup_lr_rate is None else warmup_lr_rate + (1 - warmup_lr_rate) * t / (W - 1))
    return min_lr + (lr - min_lr) * half_cosine((t - W + 1) / (N - W))


HF_WSD = {**HF, "D": 25, "min_lr_ratio": 0.1}


@rival("Transformers", "warmup_stable_decay", 100, **HF_WSD, warmup_type="linear", decay_type="linear")
@rival("Transformers", "warmup_stable_decay", 100, **HF_WSD, warmup_type="linear", decay_type="cosine")
@rival("Transformers", "warmup_stable_decay", 100, **HF_WSD, warmup_type="linear", decay_type="1-sqrt")
@rival("Transformers", "warmup_stable_decay, cosine warmup", 100, **HF_WSD, warmup_type="cosine", decay_type="cosine")
@rival("Transformers", "warmup_stable_decay, 1-sqrt warmup", 100, **HF_WSD, warmup_type="1-sqrt", decay_type="linear")
def hf_wsd(t, lr, W, N, D, min_lr_ratio, warmup_type, decay_type):
    if t < W:
        rises = {"linear": t / W, "cosine": 1 - half_cosine(t / W), "1-sqrt": 1 - math.sqrt(1 - t / W)}
        return lr * (min_lr_ratio + (1 - min_lr_ratio) * rises[warmup_type])
    if t < N - D:
        return lr
    return lr * (min_lr_ratio + (1 - min_lr_ratio) * FALL[decay_type](min((t - N + D) / D, 1)))


# timm

TIMM = {"lr": 1e-3, "lr_min": 1e-5, "t_initial": 60, "warmup_t": 7, "warmup_lr_init": 1e-6}
TIMM_CURVE = {"lr": 1e-3, "lr_min": 1e-5, "t_initial": 60}


@rival("timm", "cosine, warmup_prefix", 80, **TIMM)
def timm_cosine_prefix(t, lr, lr_min, t_initial, warmup_t, warmup_lr_init):
    if t < warmup_t:
        return warmup_lr_init + t * (lr - warmup_lr_init) / warmup_t
    return lr_min + (lr - lr_min) * half_cosine(min((t - warmup_t) / t_initial, 1))


@rival("timm", "cosine", 80, **TIMM)
def timm_cosine(t, lr, lr_min, t_initial, warmup_t, warmup_lr_init):
    if t < warmup_t:
        return warmup_lr_init + t * (lr - warmup_lr_init) / warmup_t
    return lr_min + (lr - lr_min) * half_cosine(min(t / t_initial, 1))


@rival("timm", "cosine, cycles", 120, **{**TIMM_CURVE, "t_initial": 10}, cycle_mul=2, cycle_decay=0.5, cycle_limit=3)
def timm_cycles(t, lr, lr_min, t_initial, cycle_mul, cycle_decay, cycle_limit):
    start, length = 0, t_initial
    for i in range(cycle_limit):
        if t < start + length:
            return lr_min + (lr * cycle_decay**i - lr_min) * half_cosine((t - start) / length)
        start, length = start + length, length * cycle_mul
    return lr_min


@rival("timm", "cosine, k_decay", 80, **TIMM_CURVE, k_decay=1.5)
def timm_k_decay(t, lr, lr_min, t_initial, k_decay):
    return lr_min + (lr - lr_min) * half_cosine(min(t**k_decay / t_initial**k_decay, 1))


@rival("timm", "poly", 80, **TIMM_CURVE, power=0.5, k_decay=1.0)
@rival("timm", "poly, k_decay", 80, **TIMM_CURVE, power=0.5, k_decay=1.7)
def timm_poly(t, lr, lr_min, t_initial, power, k_decay):
    return lr_min + (lr - lr_min) * max(1 - t**k_decay / t_initial**k_decay, 0) ** power


@rival("timm", "tanh", 80, **TIMM_CURVE, lb=-7.0, ub=3.0)
def timm_tanh(t, lr, lr_min, t_initial, lb, ub):
    u = t / t_initial
    return lr_min if u >= 1 else lr_min + (lr - lr_min) / 2 * (1 - math.tanh(lb * (1 - u) + ub * u))


TIMM_STEPS = {"lr": 1e-3, "decay_rate": 0.3, "warmup_t": 5, "warmup_lr_init": 1e-6}


@rival("timm", "step", 60, **TIMM_STEPS, decay_t=13)
def timm_step(t, lr, decay_rate, warmup_t, warmup_lr_init, decay_t):
    if t < warmup_t:
        return warmup_lr_init + t * (lr - warmup_lr_init) / warmup_t
    return lr * decay_rate ** ((t - warmup_t) // decay_t)


@rival("timm", "multistep", 60, **TIMM_STEPS, decay_t=[10, 25, 40])
def timm_multistep(t, lr, decay_rate, warmup_t, warmup_lr_init, decay_t):
    if t < warmup_t:
        return warmup_lr_init + t * (lr - warmup_lr_init) / warmup_t
    return lr * decay_rate ** bisect_right(decay_t, t - warmup_t + 1)


@rival("timm", "wsd", 80, **TIMM, decay_t=15, decay_fn="1-sqrt")
@rival("timm", "wsd", 80, **TIMM, decay_t=15, decay_fn="linear")
@rival("timm", "wsd", 80, **TIMM, decay_t=15, decay_fn="cosine")
@rival("timm", "wsd, power", 80, **TIMM, decay_t=15, decay_fn="power", decay_power=1.3)
@rival("timm", "wsd, exp", 80, **TIMM, decay_t=15, decay_fn="exp", decay_ratio=0.05)
@rival(
    "timm", "wsd, rsqrt", 80, **{**TIMM, "lr_min": 0.0, "warmup_lr_init": 0.0}, decay_t=15, decay_fn="1-sqrt", rsqrt=1
)
def timm_wsd(
    t, lr, lr_min, t_initial, warmup_t, warmup_lr_init, decay_t, decay_fn, decay_power=0.5, decay_ratio=0.1, rsqrt=0
):
    if t < warmup_t:
        return warmup_lr_init + t * (lr - warmup_lr_init) / warmup_t
    stable = lr * (1 + (t - warmup_t) / warmup_t) ** (-0.5 * rsqrt)
    q = min(max((t - warmup_t - t_initial + decay_t) / decay_t, 0), 1)
    falls = {
        **FALL,
        "power": lambda q: 1 - q**decay_power,
        "exp": lambda q: (decay_ratio**q - decay_ratio) / (1 - decay_ratio),
    }
    return lr_min + (stable - lr_min) * falls[decay_fn](q)


# Keras


@rival("Keras", "ExponentialDecay", 60, lr=0.1, decay_rate=0.6, decay_steps=17, staircase=False)
@rival("Keras", "ExponentialDecay", 60, lr=0.1, decay_rate=0.6, decay_steps=17, staircase=True)
def keras_exponential(t, lr, decay_rate, decay_steps, staircase):
    return lr * decay_rate ** (t // decay_steps if staircase else t / decay_steps)


@rival("Keras", "InverseTimeDecay", 60, lr=0.1, decay_rate=0.6, decay_steps=17, staircase=False)
@rival("Keras", "InverseTimeDecay", 60, lr=0.1, decay_rate=0.6, decay_steps=17, staircase=True)
def keras_inverse_time(t, lr, decay_rate, decay_steps, staircase):
    return lr / (1 + decay_rate * (t // decay_steps if staircase else t / decay_steps))


@rival("Keras", "PolynomialDecay", 60, lr=0.1, end_learning_rate=1e-4, decay_steps=50, power=1.0)
@rival("Keras", "PolynomialDecay", 60, lr=0.1, end_learning_rate=1e-4, decay_steps=50, power=0.5)
def keras_polynomial(t, lr, end_learning_rate, decay_steps, power):
    return (lr - end_learning_rate) * (1 - min(t, decay_steps) / decay_steps) ** power + end_learning_rate


@rival("Keras", "PolynomialDecay, cycle", 70, lr=0.1, end_learning_rate=1e-4, decay_steps=20, power=2.0)
def keras_polynomial_cycle(t, lr, end_learning_rate, decay_steps, power):
    length = decay_steps * max(math.ceil(t / decay_steps), 1)
    return (lr - end_learning_rate) * (1 - t / length) ** power + end_learning_rate


@rival("Keras", "PiecewiseConstantDecay", 50, boundaries=[10, 30], values=[0.1, 0.03, 0.05])
def keras_piecewise(t, boundaries, values):
    return values[sum(t > boundary for boundary in boundaries)]


@rival("Keras", "CosineDecay", 60, lr=0.1, decay_steps=50, alpha=0.01)
def keras_cosine(t, lr, decay_steps, alpha):
    return lr * ((1 - alpha) * half_cosine(min(t, decay_steps) / decay_steps) + alpha)


@rival("Keras", "CosineDecay, warmup", 70, lr=0.01, warmup_target=0.1, decay_steps=50, warmup_steps=10, alpha=0.1)
def keras_cosine_warmup(t, lr, warmup_target, decay_steps, warmup_steps, alpha):
    if t < warmup_steps:
        return (warmup_target - lr) * t / warmup_steps + lr
    return keras_cosine(t - warmup_steps, warmup_target, decay_steps, alpha)


@rival("Keras", "CosineDecayRestarts", 100, lr=0.1, first_decay_steps=10, t_mul=2.0, m_mul=0.7, alpha=0.01)
@rival("Keras", "CosineDecayRestarts", 100, lr=0.1, first_decay_steps=15, t_mul=1.0, m_mul=1.0, alpha=0.0)
def keras_restarts(t, lr, first_decay_steps, t_mul, m_mul, alpha):
    start, length, height = 0, first_decay_steps, 1
    while t >= start + length:
        start, length, height = start + length, length * t_mul, height * m_mul
    return lr * ((1 - alpha) * height * half_cosine((t - start) / length) + alpha)


# optax: the installed one

FALLING = {"init_value": 0.1, "end_value": 0.01, "transition_steps": 40, "transition_begin": 15}
SCALES = {"init_value": 0.1, "boundaries_and_scales": {20: 0.3, 50: 1.5}}
PRODUCTS = {"boundaries": [20, 50], "values": [0.1, 0.03, 0.045]}
ONE_CYCLE = {"peak_value": 0.1, "transition_steps": 67, "pct_start": 0.3, "div_factor": 20.0, "final_div_factor": 1e4}
RISING = {"init_value": 0.01, "peak_value": 0.1, "warmup_steps": 13}


def rival_in_optax(row: str, also: dict[str, Any] | None = None, **arguments: Any) -> None:
    """Register an optax schedule; ``also`` has the numbers of its row that are not among its arguments."""

    def values() -> np.ndarray:
        schedule = getattr(optax, row.split(",")[0])(**arguments)
        # Vectors of steps give some of these wrong values.
        return np.asarray(jax.vmap(schedule)(np.arange(80)))

    RUNS.append(Run("optax", row, 80, {**arguments, **(also or {})}, values))


rival_in_optax("constant_schedule", value=0.1)
rival_in_optax("linear_schedule", **FALLING)
rival_in_optax("polynomial_schedule", **FALLING, power=2.5)
rival_in_optax("exponential_decay", **{**FALLING, "transition_steps": 10}, decay_rate=0.6, staircase=False)
rival_in_optax("exponential_decay", **{**FALLING, "transition_steps": 10}, decay_rate=0.6, staircase=True)
rival_in_optax("cosine_decay_schedule", init_value=0.1, decay_steps=60, alpha=0.03)
rival_in_optax("cosine_decay_schedule, exponent", init_value=0.1, decay_steps=60, alpha=0.03, exponent=1.7)
rival_in_optax("piecewise_constant_schedule", PRODUCTS, **SCALES)
rival_in_optax("piecewise_interpolate_schedule", PRODUCTS, **SCALES, interpolate_type="linear")
rival_in_optax("piecewise_interpolate_schedule", PRODUCTS, **SCALES, interpolate_type="cosine")
rival_in_optax("linear_onecycle_schedule", {"lr": 0.1, "N": 67}, **ONE_CYCLE, pct_final=0.8)
rival_in_optax("cosine_onecycle_schedule", {"lr": 0.1, "N": 67}, **ONE_CYCLE)
rival_in_optax("warmup_constant_schedule", **RISING)
rival_in_optax("warmup_cosine_decay_schedule", **RISING, decay_steps=65, end_value=1e-3)
rival_in_optax("warmup_exponential_decay_schedule", **RISING, transition_steps=20, decay_rate=0.5, end_value=0.03)
rival_in_optax(
    "sgdr_schedule",
    cosine_kwargs=[{**RISING, "warmup_steps": 5, "decay_steps": 30}, {**RISING, "warmup_steps": 9, "decay_steps": 40}],
)

# fastai


@rival("fastai", "fit_one_cycle", 90, lr=0.01, N=90, pct_start=0.25, div=25.0, div_final=1e5)
def fastai_one_cycle(t, lr, N, pct_start, div, div_final):
    u = t / N
    if u < pct_start:
        return lr / div + (lr - lr / div) * half_cosine(1 - u / pct_start)
    return lr / div_final + (lr - lr / div_final) * half_cosine((u - pct_start) / (1 - pct_start))


@rival("fastai", "fit_one_cycle, momentum", 90, N=90, pct_start=0.25)
def fastai_momentum(t, N, pct_start):
    u = t / N
    if u < pct_start:
        return 0.85 + 0.1 * half_cosine(u / pct_start)
    return 0.85 + 0.1 * half_cosine(1 - (u - pct_start) / (1 - pct_start))


@rival("fastai", "fit_flat_cos", 80, lr=0.01, N=80, pct_start=0.75, div_final=1e5)
def fastai_flat_cos(t, lr, N, pct_start, div_final):
    return lr / div_final + (lr - lr / div_final) * half_cosine(max(t / N - pct_start, 0) / (1 - pct_start))


@rival("fastai", "fit_sgdr", 70, lr=0.01, cycle_len=10, cycle_mult=2)
def fastai_sgdr(t, lr, cycle_len, cycle_mult):
    ends = list(itertools.accumulate(cycle_len * cycle_mult**i for i in range(3)))
    i = bisect_right(ends, t)
    return lr * half_cosine(1 - (ends[i] - t) / (cycle_len * cycle_mult**i))


# pytorch-scheduler


@rival("pytorch-scheduler", "RexScheduler", 60, lr=0.1, N=50)
def rex(t, lr, N):
    return 0 if t >= N else lr * (1 - t / N) / (1 - t / N / 2)


@rival("pytorch-scheduler", "HyperbolicLRScheduler", 100, lr=0.1, min_lr=1e-6, W=10, N=90, upper_bound=250, n=80 / 250)
def hyperbolic(t, lr, min_lr, W, N, upper_bound, n):
    def f(x):
        return math.sqrt((N - W - x) / upper_bound * (2 - (N - W + x) / upper_bound))

    if t <= W:
        return min_lr + (lr - min_lr) * t / W
    return lr + (lr - min_lr) * (f(min(t - W, N - W)) - f(0))


@rival("pytorch-scheduler", "KDecayScheduler", 60, lr=0.1, min_lr=1e-3, N=50, k=3.0)
def k_decay(t, lr, min_lr, N, k):
    return min_lr + (lr - min_lr) * half_cosine(min(t / N, 1) ** k)


@rival("pytorch-scheduler", "SlantedTriangularScheduler", 110, lr=0.1, N=97, cut_frac=0.1, ratio=32)
def slanted(t, lr, N, cut_frac, ratio):
    cut = math.floor(cut_frac * N)
    p = t / cut if t < cut else 1 - (min(t, N) - cut) / (N - cut)
    return lr * (1 + p * (ratio - 1)) / ratio


# A paper


@rival("Papers", "Attention Is All You Need", 200, d_model=512, W=40)
def noam(t, d_model, W):
    return d_model**-0.5 * min((t + 1) ** -0.5, (t + 1) * W**-1.5)
