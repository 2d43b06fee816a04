"""Megatron, torchtitan, MaxText, nanochat, lingua, EPFL's schedules-and-scaling and Levanter, by hand in float64."""
# ruff: noqa: N803 (W, N and D are the names of the table)

from __future__ import annotations

import math

from rivals import FALL, Run, half_cosine, into

RUNS: list[Run] = []
rival = into(RUNS)


def wsd(t, lr, W, N, D, decay, init, end):
    """Warmup, stable, decay, for those who define it alike."""
    if t < W:
        return init + (lr - init) * t / W
    return lr if t < N - D else end + (lr - end) * FALL[decay](min((t - N + D) / D, 1))


MEGATRON = {"lr": 3e-4, "min_lr": 3e-5, "init_lr": 1e-6, "W": 9}


@rival("Megatron", "constant", 80, **MEGATRON, N=70, decay="constant")
@rival("Megatron", "linear", 80, **MEGATRON, N=70, decay="linear")
@rival("Megatron", "cosine", 80, **MEGATRON, N=70, decay="cosine")
def megatron(t, lr, min_lr, init_lr, W, N, decay):
    if t <= W:
        return init_lr + (lr - init_lr) * t / W
    return lr if decay == "constant" else min_lr + (lr - min_lr) * FALL[decay](min((t - W) / (N - W), 1))


@rival("Megatron", "inverse-square-root", 80, **MEGATRON, N=70)
@rival("Megatron", "inverse-square-root", 400, **{**MEGATRON, "W": 2}, N=390)
def megatron_inverse_sqrt(t, lr, min_lr, init_lr, W, N):
    if t <= W:
        return init_lr + (lr - init_lr) * t / W
    return min_lr if t > N else max(min_lr, lr * math.sqrt(W / t))


@rival("Megatron", "WSD", 80, **MEGATRON, N=70, D=20, decay="linear")
@rival("Megatron", "WSD", 80, **MEGATRON, N=70, D=20, decay="cosine")
@rival("Megatron", "WSD", 80, **MEGATRON, N=70, D=20, decay="1-sqrt")
@rival("Megatron", "WSD, exponential", 80, **MEGATRON, N=70, D=20, decay="exponential")
def megatron_wsd(t, lr, min_lr, init_lr, W, N, D, decay):
    if decay == "exponential":
        q = min(max((t - N + D) / D, 0), 1)
        return init_lr + (lr - init_lr) * t / W if t < W else min_lr + (lr - min_lr) * (2 * 0.5**q - 1)
    return wsd(t, lr, W, N, D, decay, init_lr, min_lr)


@rival("Megatron", "weight decay, linear", 60, start_wd=0.03, end_wd=0.1, wd_incr_steps=50)
def megatron_weight_decay(t, start_wd, end_wd, wd_incr_steps):
    return start_wd + (end_wd - start_wd) * min(t / wd_incr_steps, 1)


@rival("Megatron", "weight decay, cosine", 60, start_wd=0.03, end_wd=0.1, wd_incr_steps=50)
def megatron_weight_decay_cosine(t, start_wd, end_wd, wd_incr_steps):
    return start_wd + (end_wd - start_wd) * half_cosine(1 - min(t / wd_incr_steps, 1))


@rival("torchtitan", "decay_type", 70, lr=3e-4, W=9, N=70, D=20, min_lr_factor=0.1, decay="linear")
@rival("torchtitan", "decay_type", 70, lr=3e-4, W=1, N=70, D=69, min_lr_factor=0.0, decay="1-sqrt")
@rival("torchtitan", "decay_type", 70, lr=3e-4, W=9, N=70, D=61, min_lr_factor=0.1, decay="cosine")
def torchtitan(t, lr, W, N, D, min_lr_factor, decay):
    stable_end = N + 1 - D
    if t < W:
        return lr * (t + 1) / W
    return lr if t < stable_end else lr * (min_lr_factor + (1 - min_lr_factor) * FALL[decay]((t + 1 - stable_end) / D))


@rival("MaxText", "cosine", 80, lr=3e-5, W=7, N=70, final_fraction=0.1)
def maxtext_cosine(t, lr, W, N, final_fraction):
    if t < W:
        return lr * t / (W - 1)
    a = half_cosine((t - W) / (N - W - 1)) if t < N else 0
    return lr * a + final_fraction * lr * (1 - a) if t < N else 0


@rival("MaxText", "wsd", 80, lr=3e-5, W=7, N=70, D=10, final_fraction=0.1, wsd_decay_style="linear")
@rival("MaxText", "wsd", 80, lr=3e-5, W=7, N=70, D=10, final_fraction=0.1, wsd_decay_style="cosine")
def maxtext_wsd(t, lr, W, N, D, final_fraction, wsd_decay_style):
    if t < W:
        return lr * t / (W - 1)
    if t < N - D:
        return lr
    return lr * (final_fraction + (1 - final_fraction) * FALL[wsd_decay_style]((t - N + D) / (D - 1))) if t < N else 0


@rival("nanochat", "learning rate", 100, lr=0.02, W=8, N=100, D=65, final_lr_frac=0.05)
def nanochat(t, lr, W, N, D, final_lr_frac):
    if t < W:
        return lr * (t + 1) / W
    if t <= N - D:
        return lr
    progress = (N - t) / D
    return lr * (progress + (1 - progress) * final_lr_frac)


@rival("nanochat", "Muon momentum", 1000, N=1000, D=400)
def nanochat_momentum(t, N, D):
    if t < 400:
        return 0.85 + 0.12 * t / 400
    return 0.97 if t < N - D else 0.97 - 0.07 * (t - N + D) / D


LINGUA = {"lr": 3e-4, "W": 10, "N": 100, "r": 1e-3}


@rival("lingua", "linear", 120, **LINGUA)
def lingua_linear(t, lr, W, N, r):
    if t < W:
        return lr * t / W
    s = (t - W) / (N - W)
    return lr * (s * r + 1 - s) if t <= N else lr * r


@rival("lingua", "cosine", 100, **LINGUA, cosine_theta=1.0)
@rival("lingua", "cosine, cosine_theta", 100, **LINGUA, cosine_theta=1.5)
def lingua_cosine(t, lr, W, N, r, cosine_theta):
    return lr * t / W if t < W else lr * (r + (1 - r) * half_cosine(((t - W) / (N - W)) ** cosine_theta))


@rival("lingua", "inv_sqrt", 120, lr=3e-4, W=10, r=0.4)
def lingua_inverse_sqrt(t, lr, W, r):
    return lr * t / W if t < W else lr * max(math.sqrt(W / t), r)


@rival("lingua", "wsd", 100, **LINGUA, D=20, cycles=1)
@rival("lingua", "wsd, two cycles", 100, **LINGUA, D=20, cycles=2)
def lingua_wsd(t, lr, W, N, r, D, cycles):
    so_far = N // cycles * (t // (N // cycles) + 1)
    cooldown = so_far * D // N
    if t < W:
        return lr * t / W
    if t <= so_far - cooldown:
        return lr
    s = (t - so_far + cooldown) / so_far
    return lr / (s / r + 1 - s)


@rival("EPFL", "cos_inf", 100, lr=1e-3, W=10, N=90, n_inf=20, div_factor=100, final_div_factor=0.1)
def epfl_cos_inf(t, lr, W, N, n_inf, div_factor, final_div_factor):
    end = 1 / div_factor / final_div_factor
    if t < W:
        return lr * (t / W + (1 - t / W) / div_factor)
    return lr * (end + (1 - end) * half_cosine(min((t - W) / (N - n_inf - W), 1)))


EPFL = {"lr": 1e-3, "W": 10, "N": 90, "D": 18, "init_div_factor": 100}


@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.0, decay="linear")
@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.0, decay="1-sqrt")
@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.05, decay="cosine")
@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.05, decay="mirror_cosine")
@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.05, decay="square")
@rival("EPFL", "wsd", 100, **EPFL, final_lr_factor=0.05, decay="exponential")
def epfl_wsd(t, lr, W, N, D, init_div_factor, final_lr_factor, decay):
    if decay == "exponential" and N - D <= t < N:
        return lr * final_lr_factor ** ((t - N + D) / D)
    fall = "linear" if decay == "exponential" else decay
    return wsd(t, lr, W, N, D, fall, lr / init_div_factor, lr * final_lr_factor)


LEVANTER = {"lr": 6e-4, "min_lr": 6e-5, "W": 10, "N": 100}


@rival("Levanter", "linear", 110, **LEVANTER, decay="linear")
@rival("Levanter", "cosine", 110, **LEVANTER, decay="cosine")
def levanter(t, lr, min_lr, W, N, decay):
    return wsd(t, lr, W, N, N - W, decay, 0, min_lr)


@rival("Levanter", "cosine, cycles", 110, **LEVANTER, rewarmup=5)
def levanter_cycles(t, lr, min_lr, W, N, rewarmup):
    half = N // 2
    first = wsd(t, lr, W, half, half - W, "cosine", 0, min_lr)
    return first if t < half else wsd(t - half, lr, rewarmup, half, half - rewarmup, "cosine", min_lr, min_lr)


@rival("Levanter", "inv_sqrt", 2000, **{**LEVANTER, "min_lr": 1.5e-4}, timescale=100)
def levanter_inverse_sqrt(t, lr, min_lr, W, N, timescale):
    return lr * t / W if t < W else max(lr * min(1, 1 / math.sqrt(max(t, 1) / timescale)), min_lr)


@rival("Levanter", "inv", 110, **LEVANTER)
def levanter_inverse(t, lr, min_lr, W, N):
    if t < W:
        return lr * t / W
    return max(lr * min(1, 1 / ((lr / min_lr - 1) * max(t - W, 1) / (N - W) + 1)), min_lr)


@rival("Levanter", "power", 100, lr=0.02, W=5, N=100, batch_size=1024, seq_length=10_000_000, a=4.6, b=-0.51)
def levanter_power(t, lr, W, N, batch_size, seq_length, a, b):
    if t < W:
        return lr * t / W
    tokens = (t - W) * batch_size * seq_length
    return min(lr, batch_size * a * tokens**b) if tokens else lr
