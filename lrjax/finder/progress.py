"""The progress bar of a test: steps done, the best loss so far and the lanes that are still finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

Watch = Callable[[dict[str, np.ndarray]], None]
"""Is told the metrics of every segment, ``[its steps, lanes]`` each."""


@contextmanager
def progress_bar(steps: int, rates: np.ndarray, *, shown: bool) -> Iterator[Watch]:
    """What watches the segments of a run over ``rates`` (seeds side by side within each), and shows them if asked."""
    if not shown:
        yield lambda _: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("`range_test(progress=True)` needs tqdm: pip install 'lrjax[progress]'") from error

    with tqdm(total=steps, unit="step", desc="range test") as bar:

        def watch(metrics: dict[str, np.ndarray]) -> None:
            losses = metrics["loss"].reshape(len(metrics["loss"]), len(rates), -1).mean(axis=(0, 2))
            finite = np.isfinite(losses)
            best = np.where(finite, losses, np.inf).argmin()
            bar.set_postfix_str(
                f"loss {losses[best]:.3g} at {rates[best]:.3g}, {finite.sum()}/{len(rates)} rates finite"
            )
            bar.update(len(metrics["loss"]))

        yield watch
