"""The progress bar of a test: steps done, steps a second, time left, the lanes that are alive and the best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lrjax.finder.history import History

Watch = Callable[[History, int, float], None]
"""Is told the history, the updates that the wave of lanes has done, and the part of the whole that is done."""


@contextmanager
def progress_bar(call: str, steps: int, lanes: int, label: Callable[[int], str], *, shown: bool) -> Iterator[Watch]:
    """What watches a sweep, and shows it if asked, on a terminal or in a notebook.

    Where lanes run in several waves, a step counts as the part of the lanes that has done it.
    """
    if not shown:
        yield lambda *_: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(f"`{call}(progress=True)` needs tqdm: pip install 'lrjax[progress]'") from error

    with tqdm(total=steps, unit="step", desc=call.replace("_", " ")) as bar:

        def watch(history: History, done: int, part: float) -> None:
            best = history.best(done)
            of_best = (
                ""
                if best is None
                else f"{history.metric} {history.metrics[history.metric][best, done - 1]:.3g} at {label(best)}, "
            )
            bar.set_postfix_str(f"{of_best}{history.alive.sum()}/{lanes} lanes alive", refresh=False)
            bar.update(round(steps * part) - bar.n)

        yield watch
