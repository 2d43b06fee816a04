"""Whole recipes: the optimizer and the schedule that practitioners use for a kind of training."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from lrjax import _checks
from lrjax.optimizers import _arguments
from lrjax.optimizers.adam import adam
from lrjax.optimizers.adamw import adamw
from lrjax.optimizers.clipping import clip_gradients
from lrjax.optimizers.decay_mask import compiled
from lrjax.optimizers.gan import gan_optimizers
from lrjax.optimizers.groups import param_groups
from lrjax.optimizers.sgd import sgd
from lrjax.schedules import multistep, scale_by, warmup_cosine, with_warmup, wsd
from lrjax.typing import Schedule

_LEAST_WARMUP = 100  # steps, where the run has ten times as many


class Recipe(NamedTuple):
    """An optimizer and its schedule. Prints as the program that builds both.

    Attributes:
        name: Of the recipe.
        optimizer: An optax transformation; for ``"gan"``, a ``GanOptimizers``.
        schedule: The rate at each step that the optimizer follows; for ``"gan"``, the generator's.
        code: Python that makes the same ``optimizer`` and ``schedule``.
        note: What else belongs to the recipe.
        source: Papers and official code.
    """

    name: str
    optimizer: Any
    schedule: Schedule
    code: str
    note: str
    source: str

    def __str__(self) -> str:
        """The program, with note and source as comments."""
        comments = textwrap.wrap(self.note, 100) + textwrap.wrap(f"Source: {self.source}", 100)
        return "\n".join([f"# {self.name}", self.code, *(f"# {line}" for line in comments)])


@dataclass(frozen=True)
class _Call:
    """A value that prints as the call that made it."""

    value: Any
    text: str
    functions: frozenset[Callable[..., Any]]

    def __repr__(self) -> str:
        return self.text


def _is_call(part: Any) -> bool:
    return isinstance(part, _Call)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> _Call:
    """``function(*args, **kwargs)``, where arguments may be, or hold, calls themselves."""
    inner = [part.functions for part in jax.tree.leaves((args, kwargs), is_leaf=_is_call) if _is_call(part)]
    shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    args, kwargs = jax.tree.map(lambda part: part.value if _is_call(part) else part, (args, kwargs), is_leaf=_is_call)
    name = f"optax.{function.__name__}" if _package(function) == "optax" else function.__name__
    return _Call(function(*args, **kwargs), f"{name}({', '.join(shown)})", frozenset({function}).union(*inner))


def _package(function: Callable[..., Any]) -> str:
    """``optax``, ``lrjax.optimizers`` or ``lrjax.schedules``."""
    root, room = function.__module__.split(".")[:2]
    return root if root == "optax" else f"{root}.{room}"


def _program(schedule: _Call, optimizer: _Call) -> str:
    """Imports and assignments."""
    names: dict[str, list[str]] = {}
    for function in sorted(schedule.functions | optimizer.functions, key=lambda function: function.__name__):
        names.setdefault(_package(function), []).append(function.__name__)
    imports = ["import optax"] * ("optax" in names)
    imports += [f"from {package} import {', '.join(names[package])}" for package in sorted(set(names) - {"optax"})]
    return "\n".join([*imports, "", f"schedule = {schedule}", f"optimizer = {optimizer}"])


class _Run(NamedTuple):
    """What a recipe is built for: its own numbers, or those given in their place."""

    total_steps: int
    learning_rate: Any
    warmup_steps: int
    end_value: Any
    weight_decay: Any
    max_norm: Any
    b2: float
    head: str | None


def _cosine(run: _Run) -> _Call:
    steps = {"warmup_steps": run.warmup_steps, "end_value": run.end_value}
    return _call(warmup_cosine, run.learning_rate, run.total_steps, **steps)


def _wsd(run: _Run) -> _Call:
    decay_steps = min(run.total_steps // 5, run.total_steps - run.warmup_steps)
    steps = {"warmup_steps": run.warmup_steps, "decay_steps": decay_steps, "decay": "1-sqrt"}
    return _call(wsd, run.learning_rate, run.total_steps, **steps, end_value=run.end_value)


def _thirds(run: _Run) -> _Call:
    cuts = [-(-run.total_steps * thirds // 3) for thirds in (1, 2)]
    if run.warmup_steps >= cuts[0]:
        got = f"{run.warmup_steps} with {run.total_steps}"
        _checks.refuse("recipe", "warmup_steps", "less than total_steps / 3, where the rate of 'resnet' falls", got)
    after = [cut - run.warmup_steps for cut in cuts]
    schedule = _call(multistep, run.learning_rate, after, decay_rate=0.1)
    return _call(with_warmup, schedule, run.warmup_steps) if run.warmup_steps else schedule


def _adamw(run: _Run, schedule: _Call) -> _Call:
    decay = {"b1": 0.9, "b2": run.b2, "weight_decay": run.weight_decay}
    if run.head is None:
        return _call(adamw, schedule, **decay, max_norm=run.max_norm)
    groups = {
        label: _call(adamw, _call(scale_by, schedule, factor), **decay, max_norm=None)
        for label, factor in [("backbone", 0.1), ("head", 10.0)]
    }
    return _call(param_groups, groups, {"head": run.head}, default="backbone", max_norm=run.max_norm)


def _adam(run: _Run, schedule: _Call) -> _Call:
    return _call(adam, schedule, b1=0.9, b2=run.b2, max_norm=run.max_norm)


def _sgd(run: _Run, schedule: _Call) -> _Call:
    """SGD as in torch: the decay is part of the gradient, behind the clipping and before the momentum."""
    clip = [] if run.max_norm is None else [_call(clip_gradients, run.max_norm, skip_nonfinite=False)]
    decay = _call(optax.add_decayed_weights, run.weight_decay)
    return _call(optax.chain, *clip, decay, _call(sgd, schedule, momentum=0.9, max_norm=None))


def _gan(run: _Run, schedule: _Call) -> _Call:
    discriminator = _cosine(run._replace(learning_rate=_share(run.learning_rate, 2.0)))
    return _call(gan_optimizers, schedule, discriminator, b1=0.5, b2=run.b2, max_norm=run.max_norm)


class _Plan(NamedTuple):
    """A recipe: how it is built, and its numbers: ``warmup`` in shares of the run, ``floor`` of the peak."""

    schedule: Callable[[_Run], _Call]
    optimizer: Callable[[_Run, _Call], _Call]
    learning_rate: float
    warmup: float
    floor: float
    weight_decay: float | None
    note: str
    source: str
    max_norm: float | None = 1.0
    b2: float = 0.999


_PLANS = {
    "vit": _Plan(
        *(_cosine, _adamw, 1e-3, 1 / 60, 1e-3, 0.05),
        note="At a batch of 1024. DeiT itself does not clip and ends at 1e-5.",
        source="DeiT, arXiv:2012.12877; floor: BEiT, arXiv:2106.08254; clipping: Dosovitskiy et al., arXiv:2010.11929",
    ),
    "resnet": _Plan(
        *(_thirds, _sgd, 0.1, 0.0, 0.0, 1e-4),
        note="At a batch of 256. As in torch, all parameters decay, biases and norms too, and the decay is coupled.",
        source="He et al., arXiv:1512.03385; torchvision references/classification (90 epochs, cut at 30 and 60)",
        max_norm=None,
    ),
    "llm-pretraining": _Plan(
        *(_cosine, _adamw, 3e-4, 0.05, 0.1, 0.1),
        note="The larger the model, the lower the rate: LLaMA takes 1.5e-4 from 33 billion parameters on.",
        source="LLaMA, arXiv:2302.13971; nanoGPT (weight_decay, b2, max_norm, end_value)",
        b2=0.95,
    ),
    "llm-pretraining-wsd": _Plan(
        *(_wsd, _adamw, 3e-4, 0.05, 0.0, 0.1),
        note="The best peak is about half of cosine's. To go on, leave out the cooldown. 10% for it suffices, too.",
        source="Hägele et al., arXiv:2405.18392 (1-sqrt over 20%); MiniCPM, arXiv:2404.06395 (10%)",
        b2=0.95,
    ),
    "llm-finetuning": _Plan(
        *(_cosine, _adamw, 2e-5, 0.03, 0.0, 0.0),
        note="All parameters train, for 1 to 3 epochs.",
        source="Stanford Alpaca and Vicuna (rate, warmup, no decay); Transformers' Trainer (max_norm)",
    ),
    "lora": _Plan(
        *(_cosine, _adamw, 2e-4, 0.03, 0.0, 0.0),
        note="Give it the adapters alone. 1e-4 above 13 billion parameters; QLoRA holds the rate and clips at 0.3.",
        source="Hu et al., arXiv:2106.09685 (rate); QLoRA, arXiv:2305.14314; LLaVA finetune_lora.sh (cosine, warmup)",
    ),
    "cnn-finetuning": _Plan(
        *(_cosine, _adamw, 1e-4, 0.05, 0.0, 0.01),
        note="With head=: the backbone at a tenth of the rate, the new head at ten times the rate.",
        source="Howard and Ruder, arXiv:1801.06146 (rates by layer); DETR, arXiv:2005.12872 (1e-4, backbone 1e-5)",
    ),
    "diffusion": _Plan(
        *(_cosine, _adamw, 1e-4, 0.01, 0.0, 0.0),
        note="Sample from an average: optax.incremental_update(params, average, 1e-4). DiT holds the rate.",
        source="DiT, arXiv:2212.09748; diffusers train_unconditional.py (cosine, 500 steps of warmup, max_norm)",
    ),
    "gan": _Plan(
        *(_cosine, _gan, 2e-4, 0.0, 0.005, None),
        note="The discriminator's rate is twice the generator's. total_steps counts GAN steps.",
        source="DCGAN, arXiv:1511.06434 (2e-4, b1); TTUR, arXiv:1706.08500 (two rates)",
    ),
    "rnn": _Plan(
        *(_cosine, _adam, 1e-3, 0.0, 0.1, None),
        note="Clipping is essential: gradients through time explode.",
        source="Pascanu et al., arXiv:1211.5063; Kingma and Ba, arXiv:1412.6980",
    ),
}

RECIPES = tuple(_PLANS)
"""What ``recipe`` knows."""


def recipe(
    name: str,
    total_steps: int,
    *,
    learning_rate: ArrayLike | None = None,
    warmup_steps: int | None = None,
    weight_decay: ArrayLike | None = None,
    max_norm: ArrayLike | Literal["recipe"] | None = "recipe",
    head: str | None = None,
) -> Recipe:
    """A documented optimizer and schedule for a kind of training, sized to the run.

    =====================  ==============================================================================
    vit                    AdamW 1e-3, decay 0.05; cosine to peak / 1000
    resnet                 SGD 0.1, momentum 0.9, coupled decay 1e-4, unclipped; a tenth at each third
    llm-pretraining        AdamW 3e-4, b2 0.95, decay 0.1; cosine to peak / 10
    llm-pretraining-wsd    the same; constant, then 1-sqrt to 0 over the last fifth
    llm-finetuning         AdamW 2e-5, no decay; cosine to 0
    lora                   AdamW 2e-4, no decay; cosine to 0
    cnn-finetuning         AdamW 1e-4, decay 0.01; cosine to 0; with ``head``, 1e-5 and 1e-3 for the head
    diffusion              AdamW 1e-4, no decay; cosine to 0
    gan                    Adam 2e-4 and 4e-4, b1 0.5; cosine to 1e-6 (a 200th of the generator's peak)
    rnn                    Adam 1e-3; cosine to peak / 10
    =====================  ==============================================================================

    All but resnet clip gradients at a norm of 1. resnet, gan and rnn do not warm up. The others do, for
    ``warmup_steps = min(max(round(share * total_steps), 100), total_steps // 10)``: a transformer's warmup has
    at least 100 steps in a run of 1000 or more, and in a shorter one a tenth of it. ``share`` is 1/60 for vit
    (5 of 300 epochs), 0.05 for llm-pretraining and cnn-finetuning, 0.03 for llm-finetuning and lora, and 0.01
    for diffusion. Floors are shares of the peak, so that a range test over peaks moves the whole curve.

    Args:
        name: One of ``RECIPES``, the first column of the table.
        total_steps: Optimizer steps of the whole run, warmup included.
        learning_rate: The peak, a number or a traced scalar, in place of the recipe's; for ``"gan"``, the
            generator's, the discriminator's is twice as large.
        warmup_steps: Steps of the warmup in place of the rule's; 0 starts at the peak.
        weight_decay: Decay per step in units of the learning rate, a number or a traced scalar, in place of
            the recipe's; not for gan and rnn, whose optimizers have none.
        max_norm: Largest global norm of the gradient, a number or a traced scalar, in place of the recipe's;
            None disables clipping.
        head: For ``"cnn-finetuning"``: regular expression of the new layers' paths, such as ``"head|fc"``.
            They train at ten times ``learning_rate``, all others at a tenth of it.

    Returns:
        A ``Recipe``; ``print`` shows the program that builds its ``optimizer`` and ``schedule``.

    Raises:
        TypeError: An argument is of the wrong kind, or a step count is traced.
        ValueError: There is no such recipe; an argument is out of its range, or not for this recipe.

    Example:
        >>> from lrjax.optimizers import recipe
        >>> print(recipe("llm-pretraining", 100_000, learning_rate=6e-4))
        # llm-pretraining
        from lrjax.optimizers import adamw
        from lrjax.schedules import warmup_cosine
        <BLANKLINE>
        schedule = warmup_cosine(0.0006, 100000, warmup_steps=5000, end_value=6e-05)
        optimizer = adamw(schedule, b1=0.9, b2=0.95, weight_decay=0.1, max_norm=1.0)
        # The larger the model, the lower the rate: LLaMA takes 1.5e-4 from 33 billion parameters on.
        # Source: LLaMA, arXiv:2302.13971; nanoGPT (weight_decay, b2, max_norm, end_value)

    Source:
        Named in each recipe; ``scenario_defaults`` has the usual ranges.
    """
    call = "recipe"
    plan = _PLANS[_checks.choice(call, "name", name, _PLANS)]
    total = _known_count("total_steps", total_steps, low=1)
    rate = plan.learning_rate
    if learning_rate is not None:
        rate = _arguments.number(call, "learning_rate", learning_rate, low=0.0)
    warmup = _warmup(total, plan.warmup)
    if warmup_steps is not None:
        warmup = _known_count("warmup_steps", warmup_steps, low=0)
        _checks.at_most(call, "warmup_steps", warmup, "total_steps", total)
    decay: Any = plan.weight_decay
    if weight_decay is not None:
        if decay is None:
            _checks.refuse(call, "weight_decay", f"None for {name!r}, whose optimizer has none", str(weight_decay))
        decay = _arguments.number(call, "weight_decay", weight_decay, low=0.0)
    norm: Any = plan.max_norm
    if not isinstance(max_norm, str):
        norm = None if max_norm is None else _arguments.number(call, "max_norm", max_norm, above=0.0)
    elif max_norm != "recipe":
        _checks.refuse(call, "max_norm", "a number, None or 'recipe'", repr(max_norm))
    if head is not None:
        compiled(call, "head", head)
        if name != "cnn-finetuning":
            _checks.refuse(call, "head", f"None for {name!r}: only 'cnn-finetuning' tells a head apart", repr(head))
    run = _Run(total, rate, warmup, _share(rate, plan.floor), decay, norm, plan.b2, head)
    schedule = plan.schedule(run)
    optimizer = plan.optimizer(run, _Call(schedule.value, "schedule", frozenset()))
    return Recipe(name, optimizer.value, schedule.value, _program(schedule, optimizer), plan.note, plan.source)


def _known_count(argument: str, value: Any, *, low: int) -> int:
    """A whole number that is not traced."""
    if _checks.is_traced(value):
        _checks.refuse_type("recipe", argument, "a number known before tracing", value)
    return int(_checks.count("recipe", argument, value, low=low))


def _warmup(total_steps: int, share: float) -> int:
    """The steps of a warmup: a share of the run, at least ``_LEAST_WARMUP``, at most a tenth of the run."""
    return min(max(round(share * total_steps), _LEAST_WARMUP), total_steps // 10) if share else 0


def _share(rate: Any, factor: float) -> Any:
    """``factor * rate``, of a known rate in the digits that people would write."""
    return rate * factor if _checks.is_traced(rate) else float(f"{rate * factor:.12g}")
