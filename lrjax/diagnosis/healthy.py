"""Nothing is wrong, or too little was recorded to tell."""

from __future__ import annotations

from lrjax.diagnosis.findings import Finding
from lrjax.diagnosis.inputs import TOO_SHORT, Run
from lrjax.diagnosis.plateau import STRAIGHT, later_share
from lrjax.diagnosis.reading import reading
from lrjax.diagnosis.wording import level_text


def healthy(run: Run) -> Finding:
    """The finding of a run without any other."""
    if run.steps < TOO_SHORT:
        evidence = f"{run.steps} steps are too few to tell: the last of the losses is neither NaN nor infinite."
    elif run.losses is None:
        evidence = "Neither player's loss fell far below its start."
    else:
        read = reading(run.losses)
        evidence = f"The loss went from {level_text(read.start)} to {level_text(read.end)}."
        if later_share(run, read) > STRAIGHT:
            evidence += " It still falls much as it did at first: a longer run or a higher rate would gain more."
    return Finding("healthy", (0, run.steps - 1), evidence, "note", ())
