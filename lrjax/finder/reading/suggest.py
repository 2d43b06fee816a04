"""Which learning rate a test of many rates speaks for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from lrjax import _checks
from lrjax.finder.reading.answers import Answer, no_answer, none_fell
from lrjax.finder.reading.auto import auto
from lrjax.finder.reading.curves import Curves, Ramp, by_rate, checked_objective, is_ramp
from lrjax.finder.reading.grid_answers import Grid, chosen_value, is_grid
from lrjax.finder.reading.ramp_answers import ramp_answer
from lrjax.finder.reading.range_answers import range_answer
from lrjax.finder.reading.rules import AUTO_OF_RAMPS, RULES
from lrjax.finder.reading.surface import run_of, surface
from lrjax.finder.reading.transfer import transferred
from lrjax.finder.scheduled import about_schedule


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, and how far to trust it.

    Attributes:
        learning_rate: The answer.
        low: The smallest answer of the seeds taken one by one (and of all together).
        high: The largest.
        rule: The rule that answered.
        objective: The loss that it makes small, ``"validation"`` or ``"training"``.
        at_boundary: Whether the answer, or the best rate, is at the edge of the rates tested.
        reason: Why this rate, and of which schedule; or what to do where the test carries no answer.
        hyperparams: The value that goes with the rate, by its name, where a test was of rates and values.
    """

    learning_rate: float
    low: float
    high: float
    rule: str
    objective: str
    at_boundary: bool
    reason: str
    hyperparams: dict[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The answer, its interval and the reason."""
        values = "".join(f", {name} {value:.3g}" for name, value in self.hyperparams.items())
        return f"{self.learning_rate:.3g} ({self.low:.3g} to {self.high:.3g}){values}. {self.reason}"


def suggest(
    result: Curves | Ramp | Grid,
    rule: str = "auto",
    objective: str | None = None,
    *,
    fraction: float | None = None,
    horizon: int | None = None,
) -> Suggestion:
    """The learning rate that a test speaks for, by a rule of its own or by one known from other finders.

    Of a range test, a rule reads ``L(rate)``, the mean over the seeds of the final loss: the last validation loss, or
    the mean of the last tenth of the training losses; a lane that was lost, or that ended above its start, counts as
    ended at its start. The interval comes from the same rule on each seed alone. Of a ramp test, a rule reads each
    seed's curve, the training loss smoothed, up to where the ramp was stopped; the answer is the geometric mean of the
    seeds', and the interval holds them all.

    - ``"auto"``: of a range test, for a run as long as the test, the smallest rate that is nearly as good as the best,
      ``min {rate : (L(rate) - L_best) / (L_start - L_best) <= 0.01}``. For a longer run, the rate that makes in it the
      progress at which the loss was lowest in the test, ``rate * sum(multiplier(step))``, with ``multiplier`` the part
      that a schedule makes of the rate: five times the steps overfit, or arrive, at a fifth of the rate. Of a ramp test
      ``"valley"``, from where the loss has fallen by 1% of its whole fall.
    - ``"steepest"``: where the loss falls steepest over the logarithm of the rate (in a linear ramp, over its steps),
      on the way to its minimum.
    - ``"valley"``: halfway down the longest descent, counted in points, fastai's default. Without noise a loss falls a
      little at every rate, and the answer then depends on where the rates begin.
    - ``"slide"``: where fastai's window of 15 points, slid down from the largest rate, finds slopes alike to 0.005.
    - ``"minimum"``: a tenth of the rate of the lowest loss.
    - ``"one_decade_below"``: a tenth of the rate at which the loss, past its minimum, has risen by 5% of its fall.
    - ``"edge"``: ``fraction`` of the largest rate up to which the loss stays below its start. It says where training
      breaks, which for a ReLU network under cross-entropy can be far from where it is best.

    The first tenth of the steps of an exponential ramp is left out, and so are the last 5 by the rules that look for a
    descent, as those finders do, wherever at least half of the points remain.

    Args:
        result: What ``range_test``, ``ramp_test`` or ``grid_test`` returned; of a grid, the value of the other
            hyperparameter is chosen first, then the rate that goes with it.
        rule: One of the above.
        objective: ``"validation"`` or ``"training"``; by default validation where the result has it.
        fraction: For ``"edge"`` only, more than 0 and at most 1, usually 0.3 to 1; by default 0.5.
        horizon: For ``"auto"`` of a range test only, the steps of the run that the rate is for; by default those that
            the test was told, else those of the schedule that the optimizer was made with, else the test's own. A
            schedule of another length is taken to keep its shape.

    Returns:
        The suggestion. A test that carries no answer gives one too, the smallest rate, whose reason says what to do.

    Raises:
        TypeError: Where an argument is of the wrong kind.
        ValueError: Where the rule or the objective is unknown, validation is asked for and was not measured, or
            ``fraction`` is out of range or goes with another rule.

    Example:
        >>> import jax.numpy as jnp, numpy as np, optax
        >>> from lrjax.finder import range_test, suggest
        >>> def loss_fn(params, batch):
        ...     return jnp.mean((batch @ params - 1.0) ** 2)
        >>> batches = np.ones((20, 4, 2), np.float32)
        >>> result = range_test(loss_fn, jnp.zeros(2), batches, optax.sgd, [0.001, 0.01, 0.1, 1.0])
        >>> print(suggest(result).learning_rate, suggest(result, "edge", fraction=0.3).learning_rate)
        0.1 0.03

    Source:
        "auto": of those measured for lrjax on short parallel tests, the rule of the lowest regret. The others:
        Smith, arXiv:1506.01186; fastai's ``lr_find``; torch-lr-finder; ignite's ``FastaiLRFinder``.
    """
    objective = checked_objective(
        "suggest", result, objective, "a RangeTest, a RampTest or a GridTest (gan_suggest reads tests of GANs)"
    )
    _checks.choice("suggest", "rule", rule, ("auto", *RULES))
    if fraction is not None:
        if rule != "edge":
            _checks.refuse("suggest", "fraction", "left out where the rule is not 'edge'", f"{fraction} with {rule!r}")
        fraction = _checks.number("suggest", "fraction", fraction, above=0, high=1)
    if horizon is not None:
        if rule != "auto" or is_ramp(result):
            what = "a ramp" if is_ramp(result) else repr(rule)
            _checks.refuse(
                "suggest", "horizon", "left out where the rule is not a range test's 'auto'", f"it with {what}"
            )
        horizon = _checks.count("suggest", "horizon", horizon, low=1)
    if is_grid(result):
        choice = chosen_value(result, objective)
        row = suggest(result.at(choice.value), rule, objective, fraction=fraction, horizon=horizon)
        return replace(
            row,
            at_boundary=row.at_boundary or choice.at_boundary,
            reason=f"{row.reason} {choice.reason}",
            hyperparams={result.name: choice.value},
        )
    answer = _answer(result, rule, objective, fraction, horizon)
    return Suggestion(
        learning_rate=answer.learning_rate,
        low=answer.low,
        high=answer.high,
        rule=rule,
        objective=objective,
        at_boundary=answer.at_boundary,
        reason=answer.reason + about_schedule(result, answer.learning_rate),
    )


def _answer(
    result: Curves | Ramp | Grid, rule: str, objective: str, fraction: float | None, horizon: int | None
) -> Answer:
    """What a rule of this name answers."""
    known = AUTO_OF_RAMPS if rule == "auto" else RULES[rule]
    if fraction is not None:
        known = known._replace(factor=fraction)
    if is_ramp(result):
        return ramp_answer(known, result, objective)
    rates, start, final = by_rate(result, objective)
    if not (final < start).any():
        return no_answer(float(rates[0]), none_fell(rates, start, final))
    if rule != "auto":
        return range_answer(known, rates, start, final, objective)
    run = run_of(result, horizon)
    if not run.is_as_tested:
        readings = surface(result, objective, start)
        if (readings.mean < 0).any():
            return transferred(readings, run, objective)
    return auto(rates, start, final, objective)
