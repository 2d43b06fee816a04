"""The pair of rates that a test of a GAN speaks for."""

from __future__ import annotations

from lrjax import _checks
from lrjax.finder.gan.answers import GanCurves, GanRamp, GanSuggestion, is_ramp, is_range
from lrjax.finder.gan.edge import edge_answer
from lrjax.finder.gan.surface import surface_answer


def gan_suggest(result: GanCurves | GanRamp) -> GanSuggestion:
    """The pair of rates that a test of a GAN speaks for.

    Of a ``gan_range_test`` it is the pair with the lowest ``surface``: the mean over the seeds of the metric's last
    reading (of its logarithm where it is positive), smoothed by a quadratic in the logarithms of both rates that is
    fitted around each pair in a window of a decade. On four grids that were trained to the end, its answers after a
    fifth of the steps ended at 1.1 times the distance of the best pair, those of the raw minimum at 1.6 times, and 2e-4
    and 4e-4 at 2.7 times; after a tenth of the steps neither was worth more than the latter.

    Without a metric the surface is the distance from balance, ``|log(loss_ratio)| + 2 * |accuracy - 0.75| + |1 -
    spread_ratio|`` of those signals that the losses gave, each over the last tenth of the steps. It tells much less:
    its answers ended at 2.4 times the best distance.

    Of a ``gan_ramp_test`` it is a tenth of the edge, the scale at which the metric, past its minimum, stands half above
    it, as a geometric mean over the seeds.

    Args:
        result: What ``gan_range_test`` or ``gan_ramp_test`` returned.

    Returns:
        The suggestion. A test that carries no answer gives one too, whose reason says what to do.

    Raises:
        TypeError: Where ``result`` is of another test.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from lrjax.finder import gan_range_test, gan_suggest
        >>> def sample(generator, rng):
        ...     return generator["shift"] + jax.random.normal(rng, (64,))
        >>> def score(discriminator, x):
        ...     return discriminator["a"] * x + discriminator["b"]
        >>> def generator_loss(generator, discriminator, batch, rng):
        ...     return jnp.mean(jax.nn.softplus(-score(discriminator, sample(generator, rng))))
        >>> def discriminator_loss(discriminator, generator, batch, rng):
        ...     real, fake = score(discriminator, batch), score(discriminator, sample(generator, rng))
        ...     return jnp.mean(jax.nn.softplus(fake) + jax.nn.softplus(-real))
        >>> params = {"shift": jnp.array(0.0)}, {"a": jnp.array(0.0), "b": jnp.array(0.0)}
        >>> result = gan_range_test(
        ...     generator_loss, discriminator_loss, params, 1.0 + jax.random.normal(jax.random.key(0), (100, 64)),
        ...     scales=[1e-4, 1e-3, 1e-2, 1e-1], ratios=[1.0, 4.0], ema=0.9,
        ...     evaluate=lambda generator, target: jnp.abs(generator["shift"] - target), validation=jnp.array(1.0))
        >>> suggestion = gan_suggest(result)
        >>> f"{suggestion.scale:.2g}, {suggestion.objective}"
        '0.1, metric'

    Source: the answer of the lowest regret among those measured for lrjax (raw, by ranks, kernels, local lines and
        quadratics of several widths) on the grids of ``benchmarks/gan_answers.py``, with other seeds.
    """
    if is_ramp(result):
        return edge_answer(result)
    if not is_range(result):
        _checks.refuse_type("gan_suggest", "result", "a GanRangeTest or a GanRampTest", result)
    return surface_answer(result)
