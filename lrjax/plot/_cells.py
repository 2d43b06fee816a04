"""What heat maps share: the borders of their cells, and how values become colours."""

from __future__ import annotations

from typing import Any

import numpy as np

LOG_RATIO = 5
"""Values that differ by more than this factor get a logarithmic scale of colours."""


def edges(values: np.ndarray) -> np.ndarray:
    """The borders of the cells of rising positive values, ``[K + 1]``: half way between them in the logarithm."""
    powers = np.log10(values)
    gaps = np.diff(powers) if len(powers) > 1 else np.ones(1)
    borders: np.ndarray = 10 ** np.concatenate(
        [powers[:1] - gaps[0] / 2, (powers[1:] + powers[:-1]) / 2, powers[-1:] + gaps[-1] / 2]
    )
    return borders


def norm(values: np.ndarray) -> Any:
    """How values become colours: by their logarithm where they are far apart."""
    from matplotlib.colors import LogNorm, Normalize

    known = values[np.isfinite(values)]
    is_wide = known.size and known.min() > 0 and known.max() > LOG_RATIO * known.min()
    return LogNorm() if is_wide else Normalize()
