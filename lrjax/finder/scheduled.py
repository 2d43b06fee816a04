"""Which schedule the rate of a test belongs to, in words, where lrjax made it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lrjax import _checks
from lrjax.schedules._curve import Made, noting
from lrjax.typing import OptimizerFactory

_MULTIPLES = (1, 1.5, 2, 3, 5, 10, 100, 1e4)
"""Of the steps of a test, where a schedule that does not say how long it is is read to see whether it goes on."""


class Scheduled(NamedTuple):
    """The schedules that the optimizers of a test are made with.

    Attributes:
        roles: For each rate, for each schedule that depends on it, ``the peak of warmup_cosine(0.01, ...)``.
        made: Those of the first rate.
        rate: The first rate, as the optimizer got it.
    """

    roles: list[list[str]]
    made: list[Made]
    rate: float

    def words(self, steps: int) -> tuple[str, ...]:
        """What each rate is, ``[K]``, and whether a run of so many steps sees all of it; empty where there is none."""
        if not self.made:
            return ()
        unseen = [_unseen(made, steps) for made in self.made]
        return tuple(_joined([role + part for role, part in zip(roles, unseen, strict=True)]) for roles in self.roles)

    def multipliers(self, steps: int) -> np.ndarray:
        """What the first schedule makes of the rate at each step, as a part of it; of ``steps`` where it has no end."""
        if not self.made:
            return np.zeros(0)
        values = np.asarray(self.made[0].curve(np.arange(self.total or steps)), np.float64)
        return values / self.rate

    @property
    def total(self) -> int | None:
        """The steps of the first schedule, None where it does not say."""
        total = self.made[0].arguments.get("total_steps") if self.made else None
        return None if total is None else int(total)


def scheduled(optimizer: OptimizerFactory, rates: np.ndarray) -> Scheduled:
    """The schedules of lrjax that the optimizer makes of each rate, ``[K]``.

    Those of other libraries do not say how they were made. ``optimizer`` is called with each rate, since a traced
    number cannot be written down.
    """
    first, other = _made(optimizer, rates[0])[1], _made(optimizer, rates[0] / 2)[1]
    pairs = zip(first, other, strict=True)
    places = [place for place, (one, two) in enumerate(pairs) if repr(one.curve) != repr(two.curve)]
    roles = []
    for rate in rates if places else []:
        number, made = _made(optimizer, rate)
        roles.append([_role(number, made[place]) for place in places])
    return Scheduled(roles, [first[place] for place in places], float(f"{rates[0]:.3g}"))


def _made(optimizer: OptimizerFactory, rate: float) -> tuple[jax.Array, list[Made]]:
    """The rate as the optimizer gets it, to the digits that are shown, and the schedules that it makes of it."""
    number = jnp.asarray(float(f"{rate:.3g}"), jax.dtypes.canonicalize_dtype(np.float64))
    with noting() as made:
        optimizer(number)
    return number, made


def _role(rate: jax.Array, made: Made) -> str:
    """What the rate is in the call that made a schedule."""
    names = [name for name, value in made.arguments.items() if value is rate]
    role = names[0].replace("peak_value", "peak") if names else "rate"
    return f"the {role} of {made.curve}"


def _unseen(made: Made, steps: int) -> str:
    """That a test of so many steps sees a part of the schedule, empty where it sees all of it."""
    total = made.arguments.get("total_steps")
    if total is not None:
        return f", of whose {total} steps the test saw only the first {steps}" if total > steps else ""
    values = made.curve(np.minimum(steps * np.array(_MULTIPLES), _checks.MAX_STEPS))
    return f", of which the test saw only the first {steps} steps" if jnp.any(values != values[0]) else ""


def _joined(texts: list[str]) -> str:
    """The first of some schedules, and how many others there are."""
    others = len(set(texts)) - 1
    if not others:
        return texts[0]
    return f"{texts[0]} ({f'{others} other schedules depend' if others > 1 else 'another schedule depends'} on it too)"


def about_schedule(result: Any, rate: float) -> str:
    """What a rate is, as a sentence; of a rate that was not tested to the end, what the nearest is that was."""
    schedules = getattr(result, "schedules", ())
    if not schedules:
        return ""
    is_dropped = (result.status == "dropped").all(axis=1)
    distances = np.abs(np.log(result.learning_rates / rate))
    place = int(np.where(is_dropped & ~is_dropped.all(), np.inf, distances).argmin())
    if not schedules[place]:
        return ""
    is_tested = result.learning_rates[place] == rate
    return f" {'The rate is' if is_tested else 'The rate tested nearest to it is'} {schedules[place]}."
