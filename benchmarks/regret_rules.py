"""The rules of other finders on one ramp's losses, as their libraries define them."""

from __future__ import annotations

import numpy as np


def smoothed(losses: np.ndarray, keep: float = 0.98) -> np.ndarray:
    """Fastai's exponential average, corrected for its start."""
    average, out = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = keep * average + (1 - keep) * loss
        out.append(average / (1 - keep**step))
    return np.array(out)


def stopped(rates: np.ndarray, losses: np.ndarray, factor: float = 4.0, keep: float = 0.98) -> tuple[np.ndarray, ...]:
    """The ramp as fastai records it: smoothed, up to where the loss exceeds ``factor`` times the best or is lost."""
    lost = np.flatnonzero(~np.isfinite(losses))
    end = lost[0] if len(lost) else len(losses)
    curve = smoothed(losses[:end], keep)
    over = np.flatnonzero(curve > factor * np.minimum.accumulate(curve)) if end else np.zeros(0, int)
    end = min(end, over[0] + 1) if len(over) else end
    return rates[:end], curve[:end]


def fastai_trim(rates: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = len(curve) // 10
    return rates[first:-5], curve[first:-5]


def valley(rates: np.ndarray, curve: np.ndarray) -> float:
    count = len(curve)
    lengths = [1] * count
    for i in range(1, count):
        for j in range(i):
            if curve[i] < curve[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
    end = int(np.argmax(lengths))
    start = end - lengths[end]
    third = (end - start) // 3
    return float(rates[start + third + third // 2])


def slide(rates: np.ndarray, curve: np.ndarray, difference: int = 15, threshold: float = 0.005) -> float:
    gradients = np.gradient(curve)
    right, left, answer = -1, -1 - difference, rates[0]
    while left >= -len(curve) and abs(gradients[right] - gradients[left]) > threshold:
        answer = rates[left]
        right, left = right - 1, left - 1
    return float(answer)


def minimum(rates: np.ndarray, curve: np.ndarray) -> float:
    return float(rates[np.argmin(curve)] / 10)


def steep(rates: np.ndarray, curve: np.ndarray) -> float:
    return float(rates[np.argmin((curve[1:] - curve[:-1]) / (np.log(rates[1:]) - np.log(rates[:-1])))])


def torch_lr_finder(rates: np.ndarray, losses: np.ndarray) -> float:
    """Its own smoothing and stop, then the steepest step."""
    curve = [losses[0]]
    for loss in losses[1:]:
        curve.append(0.05 * loss + 0.95 * curve[-1])
        if not np.isfinite(loss) or curve[-1] > 5 * min(curve):
            break
    kept = np.array(curve)[10:-5]
    return float(rates[10:-5][np.argmin(np.gradient(kept))]) if len(kept) > 1 else float(rates[0])


def lightning(rates: np.ndarray, curve: np.ndarray) -> float:
    """The steepest slope over the raw rate."""
    rates, curve = rates[10:-1], curve[10:-1]
    return float(rates[np.argmin(np.gradient(curve, rates))]) if len(curve) > 1 else float("nan")


def third_of_edge(rates: np.ndarray, curve: np.ndarray) -> float:
    """0.3 of the last rate whose smoothed loss is below the first."""
    return float(0.3 * rates[np.flatnonzero(curve <= curve[0]).max()])


def answers(rates: np.ndarray, losses: np.ndarray) -> dict[str, float]:
    """What every rule makes of a ramp."""
    ramp = stopped(rates, losses)
    trimmed = fastai_trim(*ramp)
    if len(trimmed[0]) < 2:
        trimmed = ramp
    fastai = {rule.__name__: rule(*trimmed) for rule in (valley, slide, minimum, steep)}
    return {f"fastai {name}": value for name, value in fastai.items()} | {
        "torch-lr-finder": torch_lr_finder(rates, losses),
        "Lightning": lightning(*ramp),
        "0.3 x edge": third_of_edge(*ramp),
    }
