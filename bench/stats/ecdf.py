"""The curve of stops with a band: which share of the aborts had stopped the upstream by a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv  # scipy.stats takes a second to import

Floats = NDArray[np.float64]


def ecdf_band(samples: Sequence[float], missed: int, confidence: float = 0.95) -> tuple[Floats, Floats, Floats, Floats]:
    """Corners of the curve and its band: `x` (distinct samples, ascending), share `p`, `low` and `high` from there on.

    A missed abort never stopped, so it stays in the denominator and the curve ends below 1. All of that mass lies
    beyond every sample: Kaplan-Meier is then the plain share, and the number stopped by a time is binomial. So the
    band is Clopper-Pearson's, pointwise: exact, and there also at the ends, where Greenwood's has no width.
    """
    x, counts = np.unique(np.asarray(samples, dtype=np.float64), return_counts=True)
    stopped = np.cumsum(counts)
    aborts = len(samples) + missed
    tail = (1 - confidence) / 2
    low = betaincinv(stopped, aborts - stopped + 1, tail)
    # All stopped: nothing above 1 is possible, and beta has no parameter 0.
    high = np.where(stopped < aborts, betaincinv(stopped + 1, np.maximum(aborts - stopped, 1), 1 - tail), 1.0)
    return x, stopped / max(aborts, 1), np.asarray(low), high
