"""The answer of a ramp test of a GAN: a part of the scale at which samples become worse."""

from __future__ import annotations

import numpy as np

from lrjax.finder.gan.answers import GanRamp, GanSuggestion

RISE = 0.5
"""The edge is where the metric stands above its minimum by this part of its size."""

FRACTION = 0.1
"""The part of the edge that is the answer."""


def edge_answer(ramp: GanRamp) -> GanSuggestion:
    """A tenth of the edge, as a geometric mean over the seeds."""
    at = ramp.validation_steps
    is_of_ramp = at >= ramp.warmup_steps
    curves = ramp.validation_losses[:, is_of_ramp].astype(np.float64)
    scales = ramp.scales[np.maximum(at[is_of_ramp] - 1, 0)]
    found = [_edge(curve, scales) for curve in curves]
    edges = [edge for edge, _ in found if edge is not None]
    lowest = float(ramp.scales[0])
    if not edges:
        reason = (
            "The metric is not finite where the ramp begins, so lower min_scale, or look for the fault in the data."
        )
        return _pair(ramp, [lowest], lowest, reason, at_boundary=True)
    answers = [FRACTION * edge for edge in edges]
    scale = float(np.exp(np.mean(np.log(answers))))
    advice = _about_ramp(ramp, [text for edge, text in found if edge is not None], scale)
    seeds = "one seed gives no interval, so give seeds= for one"
    if len(curves) > 1:
        span = f"{min(answers):.3g} to {max(answers):.3g}"
        seeds = f"the geometric mean of {len(edges)} of {len(curves)} seeds, which answer {span}"
    is_open = 2 * sum(edge >= ramp.scales[-1] for edge in edges) > len(edges)
    where = "the largest of the ramp" if is_open else "that at which the metric, past its minimum, stands half above it"
    limits = f"The test says nothing of ratios other than {ramp.ratio:.3g}."
    reason = f"Scale {scale:.3g} is a tenth of {where}; {seeds}{advice}. {limits}"
    return _pair(ramp, answers, scale, reason, at_boundary=bool(advice))


def _edge(curve: np.ndarray, scales: np.ndarray) -> tuple[float | None, str]:
    """Where a seed's metric has risen from its minimum or was lost, and what is wrong with that."""
    is_lost = ~np.isfinite(curve)
    end = int(is_lost.argmax()) if is_lost.any() else len(curve)
    if end == 0:
        return None, ""
    lowest = int(curve[:end].argmin())
    rise = RISE * abs(curve[lowest])
    risen = np.flatnonzero(curve[lowest:end] > curve[lowest] + rise)
    place = lowest + int(risen[0]) if len(risen) else end
    text = "never fell" if lowest == 0 else "never rose" if place == len(curve) else ""
    return float(scales[min(place, len(curve) - 1)]), text


def _about_ramp(ramp: GanRamp, texts: list[str], scale: float) -> str:
    """What to change where most seeds show no minimum inside the ramp, or the answer lies before it."""
    advices = {
        "never fell": "the metric does not fall along the ramp, so lower min_scale or warm up for longer",
        "never rose": "the metric has not risen at the largest scale, so raise max_scale",
    }
    for text, advice in advices.items():
        if 2 * texts.count(text) > len(texts):
            return f"; {advice}"
    return "; that is below the ramp, so lower min_scale" if scale < ramp.scales[0] else ""


def _pair(ramp: GanRamp, answers: list[float], scale: float, reason: str, *, at_boundary: bool) -> GanSuggestion:
    """The suggestion at the ramp's ratio."""
    return GanSuggestion(
        generator_learning_rate=scale / ramp.ratio**0.5,
        discriminator_learning_rate=scale * ramp.ratio**0.5,
        scale_low=min(answers),
        scale_high=max(answers),
        ratio_low=ramp.ratio,
        ratio_high=ramp.ratio,
        objective="metric",
        at_boundary=at_boundary,
        reason=reason,
    )
