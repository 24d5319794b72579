"""Queues in steady state: how long a request waits for one of several equal servers, and quantiles of its time.

Arrivals are Poisson, service times exponential (M/M/c). Source: Gross, Shortle, Thompson and Harris, Fundamentals of
Queueing Theory, 4th ed. (2008), section 2.3. Times are in any one unit, the unit of the result.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

SOURCE = "Gross et al., Fundamentals of Queueing Theory, 4th ed., section 2.3; tested against ciw"
POINTS = 400
"""Of the midpoint rule over the uniform wait: its error is far below one per cent of a quantile."""
Floats = NDArray[np.float64]


def erlang_c(servers: int, utilisation: float) -> float:
    """Probability that an arrival has to wait (Erlang C); 1 from a utilisation of 1 on."""
    if utilisation >= 1:
        return 1.0
    offered, blocked = servers * utilisation, 1.0
    for count in range(1, servers + 1):  # Erlang B, by its recursion
        blocked = offered * blocked / (count + offered * blocked)
    return blocked / (1 - utilisation * (1 - blocked))


def mean_wait(service: float, servers: int, utilisation: float) -> float:
    """Mean time until a server is free, for jobs of mean length `service`; infinite from a utilisation of 1 on."""
    if utilisation >= 1:
        return math.inf
    return service * erlang_c(servers, utilisation) / (servers * (1 - utilisation))


def waits_longer(times: Floats, service: float, servers: int, utilisation: float) -> Floats:
    """Probability that it takes longer than each of `times` until a server is free; 1 for times below 0."""
    if service <= 0:
        return (times < 0).astype(float)
    tail = np.exp(-servers * (1 - utilisation) * np.maximum(times, 0.0) / service)
    return np.where(times < 0, 1.0, erlang_c(servers, utilisation) * tail)


def stop_quantile(
    share: float, *, wait: float, fixed: float, service: float, servers: int, utilisation: float
) -> float:
    """Quantile of a stop: a uniform wait of 0 to `wait`, a `fixed` time, and the wait for a server, in sequence.

    The three are independent. Infinite from a utilisation of 1 on.
    """
    if utilisation >= 1:
        return math.inf
    waits = wait * (np.arange(POINTS) + 0.5) / POINTS if wait > 0 else np.zeros(1)

    def too_long(time: float) -> float:
        return float(waits_longer(time - fixed - waits, service, servers, utilisation).mean()) - (1 - share)

    # Beyond this the queue alone is slower with a probability below 1e-9.
    slowest = fixed + wait + 21 * service / (servers * (1 - utilisation)) + 1e-9
    return float(brentq(too_long, fixed - 1e-9, slowest, xtol=1e-9))


def wakeups(utilisation: float) -> float:
    """How often an event loop wakes up per event, which it serves in one go with all that came while it was busy.

    1 for an idle loop, 0 for one that is never idle. With R wake-ups for the rate L of events, each wake-up is busy for
    utilisation / R, and another one follows at once unless no event came in that time:
    R = L (1 - utilisation) + R (1 - exp(-L utilisation / R)); Poisson arrivals, busy times replaced by their mean.
    """
    if utilisation <= 0 or utilisation >= 1:
        return float(utilisation < 0.5)
    return float(brentq(lambda x: x * math.exp(-utilisation / x) - (1 - utilisation), 1e-3, 1.0))
