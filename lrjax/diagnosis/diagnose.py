"""Is the run healthy: from its curves to findings."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrjax.diagnosis.divergence import divergence
from lrjax.diagnosis.excursions import excursions
from lrjax.diagnosis.findings import KINDS, SEVERITIES, Diagnosis, Finding
from lrjax.diagnosis.gan import gan
from lrjax.diagnosis.gradients import large_gradients, vanishing_gradients
from lrjax.diagnosis.healthy import healthy
from lrjax.diagnosis.inputs import TOO_SHORT, Array, Run, checked_run
from lrjax.diagnosis.oscillation import oscillation
from lrjax.diagnosis.overfitting import overfitting
from lrjax.diagnosis.plateau import plateau, plateau_from_start
from lrjax.diagnosis.reading import reading
from lrjax.diagnosis.spikes import spikes
from lrjax.diagnosis.warmup import short_warmup


def diagnose(
    losses: Any,
    *,
    validation_losses: Any = None,
    gradient_norms: Any = None,
    learning_rates: Any = None,
    generator_losses: Any = None,
    discriminator_losses: Any = None,
) -> Diagnosis:
    """Reads from the curves of a run whether it is healthy, and else what is wrong and what to do.

    A pure function of what a run recorded. Non-finite values are data. Levels are medians of parts of the run, averages
    their means, and scatter is that from step to step, so that what is found of a loss is found of ``a * losses + b``
    too, for ``a > 0``, at the same steps. The norms of gradients and the losses of a GAN's players are read as they
    are. A finding that explains others stands for them: a run that diverged is not said to spike.

    - ``"divergence"``: the loss ends in NaN or infinity, above its start, or without half of what it had gained, in
      level or on average; or it is above its start on average, by jumps far up; or it jumped up again and again, and
      fell by next to nothing; or it rose above its start and came back, but hardly below it.
    - ``"gan_collapse"``: both players' losses swing slowly, the generator's by a fifth and more.
    - ``"oscillation"``: the second half swings by a quarter of what the run gained, without falling, and slower than
      the noise of batches does, which is harmless; or the loss gave up a quarter of what it had gained; or its
      level climbed and came back, without a batch that stands out; or it spikes again and again.
    - ``"plateau_from_start"``: the loss fell by no more than chance, or by less than 3 units of its noise and as fast
      later as at the start.
    - ``"plateau"``: the loss stands still since the rate went below 5% of its peak in the first half of the run. It
      needs ``learning_rates``: without them, a run that stands still has arrived.
    - ``"overfitting"``: the validation loss rose from its lowest by 3% of what it had gained, the training loss did
      not.
    - ``"gradient_norm"``: above 100 in a fifth of the run; or below 0.01 in most of it, where the loss does
      not move.
    - ``"gan_imbalance"``: a player's loss is below a tenth of the other's in the second half.
    - ``"short_warmup"``: the loss rose above its start in the first fifth of the run, at the full rate, and came back.
    - ``"spike"``: the loss rose later and came back, by 0.15 of what it had gained, or by 0.05 and to where it was at
      a quarter of the steps so far. A note where the rate had just changed by more than 1.3 times.
    - ``"healthy"``: none of these. So are noise, be it of batches of one example, and a loss at its floor.

    Under 10 steps only a loss that is lost is found. It takes ``O(S log S)`` time.

    Args:
        losses: ``[S]`` training loss of each step, before the step's update; None only where both GAN losses are given.
        validation_losses: ``[V]``, evenly spaced over the run, the first at step 0 and the last at the end; or a pair
            ``(steps, losses)``.
        gradient_norms: ``[S]`` norm of each step's gradient before clipping.
        learning_rates: ``[S]`` rate of each step. With it, remedies name rates.
        generator_losses: ``[S]`` loss of a GAN's generator.
        discriminator_losses: ``[S]`` loss of its discriminator.

    Returns:
        The diagnosis, whose findings come with the most severe first; ``print`` shows them with their remedies.

    Raises:
        TypeError: An argument is no array of real numbers, or no losses are given.
        ValueError: An array is empty or has more than one axis, lengths differ, a rate or a norm is below 0, the
            validation steps do not rise, or one GAN loss is given without the other.

    Example:
        >>> import numpy as np
        >>> from lrjax.diagnosis import diagnose
        >>> losses = np.concatenate([np.linspace(2.3, 0.4, 50), np.geomspace(0.4, 9.0, 50)])
        >>> diagnosis = diagnose(losses, learning_rates=np.full(100, 0.3))
        >>> diagnosis.kind, diagnosis.findings[0].remedy[0]
        ('divergence', 'Divide the learning rate by 10, from 0.3 to 0.03.')

    Source:
        Signs and remedies as practitioners name them. Scatter from differences: von Neumann, "Distribution of the
        ratio of the mean square successive difference to the variance" (1941), with medians for means.
    """
    run = checked_run(losses, validation_losses, gradient_norms, learning_rates, generator_losses, discriminator_losses)
    found = _of_losses(run, run.losses) if run.losses is not None else []
    found += gan(run)
    found.sort(key=lambda finding: (SEVERITIES.index(finding.severity), KINDS.index(finding.kind)))
    return Diagnosis(tuple(found) or (healthy(run),))


def _of_losses(run: Run, losses: Array) -> list[Finding]:
    """What the losses, the validation losses and the gradient norms show."""
    read = reading(losses) if np.isfinite(losses).any() else None
    if read is None or run.steps < TOO_SHORT:
        return [finding for finding in [divergence(run, losses, None)] if finding]
    rises = excursions(read, losses)
    diverged = divergence(run, losses, read, rises)
    if diverged:
        return [diverged]
    course = plateau(run, read) or oscillation(run, read, rises) or plateau_from_start(run, read)
    if course and course.kind == "plateau_from_start":
        course = vanishing_gradients(run) or large_gradients(run) or course
    course = course or large_gradients(run)
    found = [finding for finding in (course, overfitting(run, read)) if finding]
    if course:
        return found
    early = short_warmup(run, read, rises)
    settled = early.steps[1] if early else read.curve.blocks[0].last
    rises = tuple(rise for rise in rises if rise.first > settled)
    return [*found, *([early] if early else []), *spikes(run, rises)]
