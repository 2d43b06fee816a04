"""One picture of every schedule: each panel is titled with the call that made its curve.

python examples/schedule_gallery.py [--smoke] [--output output/]
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image

import lrjax.plot
from lrjax.schedules import (
    clamp,
    constant,
    cosine,
    cosine_restarts,
    cyclic,
    exponential,
    in_units,
    infinite,
    interpolate,
    inverse_sqrt,
    inverse_time,
    join,
    linear,
    multistep,
    one_cycle,
    one_cycle_momentum,
    per_epoch,
    polynomial,
    power,
    scale_by,
    slanted_triangular,
    step_decay,
    warmup_cosine,
    warmup_linear,
    with_cooldown,
    with_warmup,
    wsd,
    wsd_cycles,
)
from lrjax.typing import Schedule

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

STEPS = 1000
LINE, GHOST, INK, FAINT = "#1f5fa8", "#c3c9d2", "#20262e", "#6d7580"
SHAPES = ("inverse", "exponential", "1-sqrt", "linear", "cosine", "mirror_cosine", "square")
SHAPE_COLORS = ("#7a0177", "#c51b8a", "#e8590c", "#f2a900", "#2b8a3e", "#1098ad", "#1f5fa8")
COOLDOWNS = {shape: wsd(1, 1000, warmup_steps=100, decay_steps=600, decay=shape) for shape in SHAPES}

GALLERY: dict[str, list[Schedule | dict[str, Schedule]]] = {
    "One phase": [
        constant(1),
        linear(1, 0, 1000),
        cosine(1, 1000),
        polynomial(1, 0, 1000, power=2),
    ],
    "Factors and points": [
        exponential(1, decay_rate=0.1, steps=600),
        step_decay(1, 200, decay_rate=0.5),
        multistep(1, [400, 700], decay_rate=0.3),
        interpolate([0, 150, 400, 1000], [0.2, 1, 0.5, 0]),
    ],
    "Slow decays": [
        inverse_time(1, decay_rate=1, steps=200),
        inverse_sqrt(1, warmup_steps=100),
        infinite(1, 0.2, warmup_steps=100, cosine_steps=500),
        power(1000, batch_size=1024, warmup_steps=100, decay_steps=200, a=40, max_value=1),
    ],
    "Warmup, then down": [
        warmup_cosine(1, 1000, warmup_steps=100),
        warmup_linear(1, 1000, warmup_steps=100),
        wsd(1, 1000, warmup_steps=100, decay_steps=200),
        COOLDOWNS,
    ],
    "One cycle": [
        one_cycle(1, 1000),
        one_cycle(1, 1000, three_phase=True),
        one_cycle_momentum(1000),
        slanted_triangular(1, 1000),
    ],
    "Many cycles": [
        cosine_restarts(1, 143, cycle_factor=2, peak_factor=0.8),
        cyclic(0.1, 1, 125),
        cyclic(0.1, 1, 125, mode="triangular2"),
        cyclic(0.1, 1, 125, mode="exp_range", decay_rate=0.998),
    ],
    "A beginning, an end, a sequel": [
        with_warmup(cosine(1, 800), 200),
        with_cooldown(inverse_sqrt(1, warmup_steps=100), 700, 200),
        wsd_cycles(1, [400, 1000], warmup_steps=100, decay_steps=150, end_value=0.1),
        join([linear(0, 1, 300), constant(0.5), cosine(0.5, 400)], [300, 600]),
    ],
    "A schedule of a schedule": [
        scale_by(warmup_cosine(1, 1000, warmup_steps=100), 0.5),
        clamp(cosine(1, 1000), 0.15, 0.8),
        per_epoch(cosine(1, 10), 100, staircase=True),
        in_units(warmup_cosine(1, 4000, warmup_steps=400), 4.194304),
    ],
}
"""Rows of the picture; a dict is several curves in one panel."""


def draw(ax: Axes, schedule: Schedule | dict[str, Schedule]) -> None:
    """One panel, on the axes that all share."""
    title = repr(schedule)
    if isinstance(schedule, dict):
        title = "wsd(1, 1000, warmup_steps=100, decay_steps=600, decay=...)"
        ax.set_prop_cycle(color=SHAPE_COLORS)
    lrjax.plot.schedule(schedule, STEPS, ax=ax)
    if isinstance(schedule, dict):
        ax.legend(fontsize=6.4, frameon=False, loc="lower left", bbox_to_anchor=(0.1, -0.02), labelspacing=0.2)
    elif title.startswith("one_cycle_momentum"):
        steps = np.arange(STEPS + 1)  # the rate that this momentum goes with, in grey
        ax.plot(steps, one_cycle(1, STEPS)(steps), color=GHOST, linewidth=1.4, zorder=1)
    else:
        ax.fill_between(*ax.get_lines()[0].get_data(), color=LINE, alpha=0.08, linewidth=0)
    ax.set_title("\n".join(textwrap.wrap(title, 50, break_on_hyphens=False)), loc="left", pad=5)
    ax.set(xlabel="", ylabel="", ylim=(0, 1.06), xticks=[0, 500, 1000], yticks=[0, 0.5, 1])
    ax.yaxis.set_major_formatter("{x:g}")
    ax.label_outer()
    ax.tick_params(length=2)


def picture(gallery: dict[str, list[Schedule | dict[str, Schedule]]]) -> plt.Figure:
    """A row of panels for every family, under its name."""
    rows, columns = len(gallery), max(map(len, gallery.values()))
    width, height, left, top, bottom = 3.1 * columns, 1.93 * rows + 0.3, 0.35, 0.66, 0.42
    place = {"left": left / width, "right": 1 - 0.2 / width, "top": 1 - top / height, "bottom": bottom / height}
    figure, panels = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, gridspec_kw={**place, "wspace": 0.06, "hspace": 0.56}
    )
    for row, (family, members) in zip(panels, gallery.items(), strict=True):
        above = {"xycoords": "axes fraction", "xytext": (-21, 29), "textcoords": "offset points"}
        row[0].annotate(family, (0, 1), **above, fontsize=11, fontweight="bold", color=INK)
        for ax, schedule in zip(row, members, strict=True):
            draw(ax, schedule)
    for ax in panels[-1]:
        ax.set_xlabel("step", color=FAINT)
        for label, side in zip(ax.get_xticklabels(), ("left", "center", "right"), strict=True):
            label.set_horizontalalignment(side)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two families only")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the picture")
    arguments = parser.parse_args()

    style = {
        "axes.prop_cycle": mpl.cycler(color=[LINE]),
        "axes.edgecolor": FAINT,
        "axes.titlecolor": INK,
        "axes.titlesize": 7.2,
        "axes.titleweight": "normal",
        "font.size": 8,
        "grid.color": FAINT,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
    families = list(GALLERY)[:2] if arguments.smoke else list(GALLERY)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "schedules.png"
    with mpl.rc_context(style):
        picture({family: GALLERY[family] for family in families}).savefig(path, dpi=130)
    # A palette takes a third of the space.
    Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    print(f"{sum(len(GALLERY[family]) for family in families)} panels in {path}")


if __name__ == "__main__":
    main()
