"""How sure a number is: intervals over test items, differences of two models, spread over seeds.

Metrics come in as functions of an index array, so every metric of the benchmark can be resampled without
this room knowing any of them. The same indices are drawn for the same seed, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from foundation.errors import CheckError
from foundation.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    FloatArray = NDArray[np.float64]

Z_95 = 1.959964
"""Standard normal quantile of a two-sided 95 % interval."""

_ENDS = (0.025, 0.975)
_DRAWS_AT_ONCE = 200


class Interval(NamedTuple):
    """A 95 % interval in the unit of the metric."""

    low: float
    high: float


class Difference(NamedTuple):
    """How much better the first of two models is on the same test items."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided p-value of "no difference" from the resamples; never 0."""


class OverSeeds(NamedTuple):
    """A metric over repeated runs."""

    mean: float
    std: float | None
    """Sample standard deviation; None for a single run."""
    n: int


def wilson(successes: int, n: int, z: float = Z_95) -> Interval:
    """Wilson's score interval of a share, in percent; without trials nothing is known: 0 to 100."""
    if not 0 <= successes <= n:
        raise CheckError(f"{successes} successes of {n} trials", way_out="count the successes again")
    if n == 0:
        return Interval(0.0, 100.0)
    share = successes / n
    centre = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 100 / (1 + z * z / n)
    # At the ends the closed form is exactly 0 or 100; rounding must not step over.
    low = 0.0 if successes == 0 else max(0.0, (centre - reach) * scale)
    high = 100.0 if successes == n else min(100.0, (centre + reach) * scale)
    return Interval(low, high)


@runtime_checkable
class OfManyDraws(Protocol):
    """A metric that is quicker over many draws at once than over one after the other, and says the same."""

    def many(self, draws: IntArray) -> FloatArray:
        """The metric [R] of draws [R, n]."""


def bootstrap(metric: Callable[[IntArray], float], n_items: int, *, resamples: int = 1000, seed: int | str) -> Interval:
    """Percentile interval of `metric` over test items drawn with replacement.

    A resample in which the metric is undefined (NaN) does not count.
    """
    values = _resampled([metric], n_items, resamples, seed)[0]
    return _percentiles(values)


def paired_bootstrap(
    metric_a: Callable[[IntArray], float],
    metric_b: Callable[[IntArray], float],
    n_items: int,
    *,
    resamples: int = 1000,
    seed: int | str,
) -> Difference:
    """Difference a - b with both metrics on the same draws, so that what is hard for both cancels."""
    import numpy as np

    a, b = _resampled([metric_a, metric_b], n_items, resamples, seed)
    differences = a - b
    everything = np.arange(n_items, dtype=np.int64)
    low, high = _percentiles(differences)
    defined = differences[~np.isnan(differences)]
    # One is added because the observed sample is a possible draw too: no p-value of 0 from finitely many.
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum())) + 1
    p = min(1.0, 2 * tail / (len(defined) + 1))
    return Difference(float(metric_a(everything)) - float(metric_b(everything)), low, high, p)


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean and sample standard deviation over runs."""
    if not values:
        raise CheckError("no values to average", way_out="run at least one seed")
    mean = math.fsum(values) / len(values)
    # The mean of equal numbers is that number, whatever the summation says.
    mean = min(max(mean, min(values)), max(values))
    if len(values) == 1:
        return OverSeeds(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return OverSeeds(mean, math.sqrt(squares / (len(values) - 1)), len(values))


def _resampled(
    metrics: Sequence[Callable[[IntArray], float]], n_items: int, resamples: int, seed: int | str
) -> list[FloatArray]:
    import numpy as np

    if n_items < 1 or resamples < 1:
        raise CheckError(
            f"cannot draw {resamples} resamples of {n_items} items", way_out="give at least one item and one resample"
        )
    generator = np.random.default_rng(derive_seed("bootstrap", seed, n_items))
    values = np.empty((len(metrics), resamples))
    for first in range(0, resamples, _DRAWS_AT_ONCE):
        count = min(_DRAWS_AT_ONCE, resamples - first)
        draws = generator.integers(0, n_items, size=(count, n_items), dtype=np.int64)
        for row, metric in enumerate(metrics):
            found = metric.many(draws) if isinstance(metric, OfManyDraws) else [metric(indices) for indices in draws]
            values[row, first : first + count] = found
    return list(values)


def _percentiles(values: FloatArray) -> Interval:
    import numpy as np

    defined = values[~np.isnan(values)]
    if not len(defined):
        raise CheckError(
            "the metric is undefined in every resample", way_out="report the metric as null with its reason"
        )
    low, high = np.quantile(defined, _ENDS)
    return Interval(float(low), float(high))
