"""What to do against each sign, in order, in the numbers of the run where it recorded its rates."""

from __future__ import annotations

import numpy as np

from lrjax.diagnosis.inputs import Run

CLIP = "Clip the gradient norm at 1: clip_gradients(1.0)."
BACKOFF = "Let backoff(optimizer) do so at every spike, and return to the last good parameters."
TWO_RATES = "Give each its own rate, the discriminator's twice the generator's: gan_optimizers(2e-4, 4e-4)."
GAN_TEST = "Find both rates by gan_range_test."
_HEIGHT = 0.99  # of the largest rate: no step of a smooth schedule need have all of it
CHECK_DATA = "Look for faults of the data or the labels: a model that can learn fits one batch of them."


def largest_rate(run: Run, step: int) -> float | None:
    """The largest learning rate up to a step, where it is known and not zero."""
    if run.learning_rates is None:
        return None
    rates = run.learning_rates[: step + 1]
    return float(np.max(rates, where=np.isfinite(rates), initial=0.0)) or None


def lower(rate: float | None, divisor: float = 10.0, subject: str = "Divide the learning rate") -> str:
    """Divide the rate, by name where it is known."""
    by = f"{subject} by {divisor:g}"
    return f"{by}." if rate is None else f"{by}, from {rate:.3g} to {rate / divisor:.3g}."


def warm_up(run: Run) -> str:
    """A warmup over the first 5%, or twice the one that the run had."""
    had = warmup_of(run)
    if had:
        return f"Warm the rate up for longer: over {2 * had} steps, where it took {had}."
    steps = max(1, round(0.05 * run.steps))
    return f"Warm the rate up from 0 over the first 5% of the run: with_warmup(schedule, {steps})."


def warmup_of(run: Run) -> int:
    """The steps in which the rate rose to its height from less than half of it, 0 where it did not or is not known."""
    height = largest_rate(run, run.steps)
    if run.learning_rates is None or height is None or not run.learning_rates[0] < height / 2:
        return 0
    return int(np.argmax(run.learning_rates >= _HEIGHT * height))


def against_divergence(run: Run, step: int) -> tuple[str, ...]:
    """What keeps a run from diverging, as it did at ``step``."""
    return (
        lower(largest_rate(run, step) or largest_rate(run, run.steps)),
        warm_up(run),
        CLIP,
        "Check mixed precision and its loss scale.",
        "Raise the weight decay.",
    )


def against_oscillation(run: Run) -> tuple[str, ...]:
    """What makes a bouncing loss fall."""
    return (
        lower(largest_rate(run, run.steps), 3.0, "Lower the momentum, or divide the learning rate"),
        CLIP,
        "Take a larger batch, the rate unchanged.",
        "Keep weight decay off norms and biases.",
    )


def against_plateau(run: Run) -> tuple[str, ...]:
    """What gets a flat loss moving."""
    rate = largest_rate(run, run.steps)
    to = "3 to 10 times" if rate is None else f"from {rate:.3g} to between {3 * rate:.3g} and {10 * rate:.3g}"
    return (
        f"Raise the learning rate {to}; range_test shows how far it may go.",
        "Keep the rate at its height for longer.",
        "Take a larger batch.",
        CHECK_DATA,
    )


def against_bad_batches(run: Run, places: str) -> tuple[str, ...]:
    """What to do about spikes that the schedule does not explain."""
    return (
        f"Look at the batches of {places} for bad or repeated examples.",
        CLIP,
        lower(largest_rate(run, run.steps), subject="Where spikes come back, divide the learning rate"),
        BACKOFF,
    )


def against_events(run: Run) -> tuple[str, ...]:
    """What to do about rises that come with a change of the rate."""
    return (
        "Nothing, as long as the loss comes back lower than before.",
        lower(largest_rate(run, run.steps), 3.0, "Where it does not, divide the peak"),
        CLIP,
    )


def against_short_warmup(run: Run, step: int) -> tuple[str, ...]:
    """What spares a run the burst of its first steps."""
    return (warm_up(run), CLIP, lower(largest_rate(run, step), 3.0))


def against_overfitting(best: int) -> tuple[str, ...]:
    """What narrows the gap to the validation loss; the learning rate is not among it."""
    return (
        "Raise the weight decay.",
        "Add dropout.",
        "Augment the data, or get more of it.",
        f"Stop early: validation was best at step {best}.",
    )


def against_large_gradients(run: Run, step: int) -> tuple[str, ...]:
    """What tames gradients."""
    return (
        lower(largest_rate(run, step), subject="Cut the learning rate at once"),
        CLIP,
        warm_up(run),
        "Check the scale of the inputs and of the initial weights.",
    )


def against_vanishing_gradients() -> tuple[str, ...]:
    """What lets gradients through."""
    return (
        "Check the activations and the initial weights: saturated or dead units pass no gradient.",
        "Add normalisation or residual connections.",
        "Check the scale of the loss.",
    )


def against_imbalance(winner: str) -> tuple[str, ...]:
    """What brings the players of a GAN together, by who has won."""
    steps = "take fewer of its steps" if winner == "discriminator" else "take more of the discriminator's steps"
    return (TWO_RATES, f"Lower the {winner}'s rate, or {steps}.", GAN_TEST)


def against_collapse() -> tuple[str, ...]:
    """What keeps a generator from chasing one mode after another."""
    return (
        TWO_RATES,
        "Lower the generator's rate, or take more of the discriminator's steps.",
        GAN_TEST,
        "Look at samples: alike ones mean that the generator has collapsed onto few modes.",
    )
