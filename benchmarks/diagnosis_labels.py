"""The rules by which a run is labelled, from what ``diagnose`` does not see: see diagnosis_runs.py."""

from __future__ import annotations

import functools

import numpy as np
from diagnosis_tasks import task
from diagnosis_training import Run, Trained


class Facts:
    """What a run did on its whole training data, measured by what its twin achieved."""

    def __init__(self, run: Run, trained: Trained, twin: Trained) -> None:
        """Losses at the checkpoints: ``full`` of the run, ``twin`` of the run without the fault."""
        self.run = run
        self.full, self.twin = trained.full.astype(np.float64), twin.full.astype(np.float64)
        self.validation = trained.validation.astype(np.float64)
        self.norms, self.twin_norms = trained.gradient_norms, twin.gradient_norms
        self.losses = trained.losses.astype(np.float64)
        self.start = self.full[0]
        self.constant = min(self.start, task(run.task).constant_loss)
        self.gain = self.constant - self.twin.min()
        self.end = self.full[-5:].mean()
        self.twin_end = self.twin[-5:].mean()
        self.finite = bool(np.isfinite(self.full).all())

    @property
    def behind(self) -> float:
        """By how much the run ends above its twin, as a part of the gain."""
        return float((self.end - self.twin_end) / self.gain)

    @property
    def fall(self) -> float:
        """From the run's own start to its lowest loss."""
        return float(self.start - self.full.min())

    @functools.cached_property
    def noise(self) -> np.ndarray:
        """By how much the shown losses of the batches lie above the loss on all data, of a finite run."""
        steps = np.arange(len(self.losses))
        return self.losses - np.interp(steps, np.arange(len(self.full)) * self.run.every, self.full)

    def scatter(self, first: int = 0) -> float:
        """Robust standard deviation of the batch noise from a step on."""
        noise = self.noise[first:]
        return float(1.4826 * np.median(np.abs(noise - np.median(noise))))

    def at(self, step: int) -> int:
        """The last checkpoint at or before a step."""
        return step // self.run.every


def diverged(f: Facts) -> bool:
    if not np.isfinite(f.end):
        return True
    excursion = f.full.max() > f.start + f.gain
    if f.run.cause == "high" and f.fall >= 0.2 * f.gain and f.end > f.start - f.fall / 2:
        return True
    return f.end > f.start + 0.1 * f.gain or (excursion and f.end > f.start - 0.1 * f.gain)


def oscillates(f: Facts) -> bool:
    late = f.full[len(f.full) // 2 :]
    moves = np.diff(late)
    restless = np.mean(moves > 0) >= 0.3 and np.abs(moves).sum() >= 5 * abs(late[-1] - late[0])
    bounded = f.full.max() <= f.start + 0.5 * f.gain
    wide = np.abs(moves).mean() >= 0.03 * (f.start - f.twin.min())
    held = f.end - f.full.min() <= 0.5 * f.gain
    if not (restless and bounded and held and wide and f.behind >= 0.15):
        return False
    return bool(late.std() >= 0.5 * f.scatter(len(f.losses) // 2))


def never_started(f: Facts) -> bool:
    moved = f.start - f.full.min() < 0.1 * (f.start - f.twin.min())
    return bool(f.finite and moved and f.full.max() < f.start + 0.1 * f.gain)


def stopped(f: Facts) -> bool:
    at = f.at(f.run.event) + 1
    held = abs(f.full[at] - f.end) < 0.05 * f.gain
    return bool(held and f.start - f.full[at] >= 0.2 * f.gain and f.full[at] - f.twin_end >= 0.2 * f.gain)


def warmed_too_shortly(f: Facts) -> bool:
    early = f.full[: len(f.full) // 5]
    rise = (early - np.minimum.accumulate(early)).max()
    recovered = f.end <= early.max() - 0.5 * f.gain and f.end < f.constant
    rose = early.max() == f.full.max() and rise >= 0.25 * f.gain
    return bool(f.finite and rose and recovered and f.behind >= 0.05 and _shown_hump(f) >= 3 * f.scatter())


def _shown_hump(f: Facts) -> float:
    """How far the shown losses rise in the first fifth: means of a hundredth of the run over what came before."""
    width = max(3, len(f.losses) // 100)
    means = np.convolve(f.losses[: len(f.losses) // 5], np.full(width, 1 / width), mode="valid")
    levels = np.concatenate([f.losses[:1], means])
    return float((levels - np.minimum.accumulate(levels)).max())


def spiked(f: Facts) -> bool:
    before = f.full[f.at(f.run.event)]
    rise = np.max(f.losses[f.run.event : f.run.event + f.run.bad[1] + 1]) - before
    recovered = f.end <= before + 0.1 * f.gain
    large = rise >= 0.3 * f.gain and rise >= abs(before) and rise >= 0.1 * f.fall
    return bool(f.finite and large and recovered and rise >= 6 * f.scatter())


def _validation_rise(f: Facts) -> float:
    """From the best validation loss to the last ones, as a part of what was gained over a constant prediction."""
    best = f.validation.min()
    return float((f.validation[-5:].mean() - best) / max(min(f.validation[0], f.constant) - best, 1e-9))


def overfits(f: Facts) -> bool:
    best = int(f.validation.argmin())
    learned = min(f.validation[0], f.constant) - f.validation[best] > 0.05 * f.gain
    went_on = f.end < f.full[best] and best < 0.7 * len(f.full)
    return bool(f.finite and learned and went_on and _validation_rise(f) >= 0.15)


def unhealthy_norms(f: Facts) -> bool:
    half = len(f.norms) // 2
    typical = np.median(f.norms[:half])
    vanishing = typical < 0.01 and typical < 0.1 * np.median(f.twin_norms[:half])
    exploding = typical > 100 or np.mean(f.norms > 100) > 0.2
    bounded = f.finite and f.full.max() <= 1.5 * f.start
    return bool(bounded and (vanishing or exploding) and f.behind >= 0.1)


def healthy(f: Facts) -> bool:
    settled = f.end - f.full.min() <= 0.05 * f.gain
    never_rose = (f.full - np.minimum.accumulate(f.full)).max() <= 0.1 * f.gain
    if not (f.finite and settled and never_rose and f.gain >= 0.1 * abs(f.constant)):
        return False
    return bool(f.run.batch == 1 or f.noise[len(f.noise) // 10 :].max() <= 12 * f.scatter())


def validation_tells(kind: str, f: Facts) -> bool:
    """Whether the validation losses may be shown: always of overfitting, else only where they do not overfit too."""
    return kind == "overfitting" or not f.finite or _validation_rise(f) <= 0.03


RULES = {
    "none": (("healthy", healthy),),
    "high": (("divergence", diverged), ("oscillation", oscillates)),
    "low": (("plateau_from_start", never_started),),
    "labels": (("plateau_from_start", never_started),),
    "warmup": (("divergence", diverged), ("short_warmup", warmed_too_shortly)),
    "bad": (("divergence", diverged), ("spike", spiked)),
    "decay": (("plateau", stopped),),
    "data": (("overfitting", overfits),),
    "architecture": (
        ("divergence", diverged),
        ("gradient_norm", unhealthy_norms),
        ("plateau_from_start", never_started),
    ),
}
"""The kinds that a fault may lead to, in their precedence; a run that fits none of them is dropped."""


def label(run: Run, trained: Trained, twin: Trained) -> str | None:
    facts = Facts(run, trained, twin)
    return next((kind for kind, rule in RULES[run.cause] if rule(facts)), None)
