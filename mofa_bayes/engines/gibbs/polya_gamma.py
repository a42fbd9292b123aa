"""Polya-Gamma variables PG(b, c) (Polson, Scott and Windle 2013, JASA 108:1339), compiled.

PG(1, c) is exact, by Devroye's method for the Jacobi density (ibid., section 4). For other b the definition is used,

    PG(b, c) = 1 / (2 pi^2) sum_{k >= 1} g_k / ((k - 1/2)^2 + c^2 / (4 pi^2)),   g_k ~ Gamma(b, 1),

with its first terms as they are and the sum of all others replaced by one gamma variable of the same mean and variance.
These others carry less than 2e-5 of the variance, so what is left out, their skewness, changes the third cumulant by
less than one part in a million. Whole parts of small b are sums of exact PG(1, c).
"""

import math

import numpy as np

from mofa_bayes.engines.vi.kernels import compiled, log_normal_mass
from mofa_bayes.engines.vi.packed import Array

_SPLIT = 0.64  # where the two series for the Jacobi density change places
_MAX_WHOLE = 4.0  # sums of more PG(1, c) cost more than the series
_N_TERMS = 12


@compiled
def _truncated_inverse_gaussian(z: float, rng: np.random.Generator) -> float:  # pragma: no cover
    """Draw from the inverse Gaussian of mean 1/z and shape 1, given that it is below the split."""
    if z * _SPLIT < 1.0:
        while True:
            first = rng.standard_exponential()
            while first * first > 2.0 * rng.standard_exponential() / _SPLIT:
                first = rng.standard_exponential()
            below: float = _SPLIT / (1.0 + _SPLIT * first) ** 2
            if rng.random() <= math.exp(-0.5 * z * z * below):
                return below
    mean = 1.0 / z
    while True:
        normal = rng.standard_normal()
        y = mean * normal * normal
        # The smaller root, written so that it does not cancel.
        x = mean * 2.0 / (2.0 + y + math.sqrt(y * (4.0 + y)))
        if rng.random() > mean / (mean + x):
            x = mean * mean / x
        if x < _SPLIT:
            return x


@compiled
def _coefficient(n: int, x: float) -> float:  # pragma: no cover
    half = n + 0.5
    if x > _SPLIT:
        return math.pi * half * math.exp(-0.5 * half * half * math.pi * math.pi * x)
    ratio = 2.0 / (math.pi * x)
    return math.pi * half * ratio * math.sqrt(ratio) * math.exp(-2.0 * half * half / x)


@compiled
def draw_one(c: float, rng: np.random.Generator) -> float:  # pragma: no cover
    """Draw PG(1, c), exactly."""
    z = 0.5 * abs(c)
    rate = math.pi * math.pi / 8.0 + 0.5 * z * z
    root = math.sqrt(_SPLIT)
    right = math.pi / (2.0 * rate) * math.exp(-rate * _SPLIT)
    left = math.exp(-z + log_normal_mass((z * _SPLIT - 1.0) / root))
    left = 2.0 * (left + math.exp(z + log_normal_mass(-(z * _SPLIT + 1.0) / root)))
    while True:
        if rng.random() * (left + right) < right:
            x = _SPLIT + rng.standard_exponential() / rate
        else:
            x = _truncated_inverse_gaussian(z, rng)
        total = _coefficient(0, x)
        level = rng.random() * total
        n = 0
        while True:
            n += 1
            if n % 2 == 1:
                total -= _coefficient(n, x)
                if level <= total:
                    return 0.25 * x
            else:
                total += _coefficient(n, x)
                if level > total:
                    break


@compiled
def _draw_series(b: float, c: float, rng: np.random.Generator) -> float:  # pragma: no cover
    a = abs(c) / (2.0 * math.pi)
    square = a * a
    n_terms = _N_TERMS + int(3.0 * a)
    total = 0.0
    for k in range(n_terms):
        total += rng.standard_gamma(b) / ((k + 0.5) ** 2 + square)
    # Sums over the other k are integrals from n_terms on, by the midpoint rule with its first correction.
    end = n_terms * n_terms + square
    q = a / n_terms
    if q > 0.1:
        first = math.atan(q) / a
        second = (math.atan(q) - q / (1.0 + q * q)) / (2.0 * a * square)
    else:
        first = (1.0 - q * q / 3.0 + q**4 / 5.0) / n_terms
        second = (1.0 / 3.0 - 0.4 * q * q + 3.0 / 7.0 * q**4) / n_terms**3
    first -= n_terms / (12.0 * end * end)
    second -= n_terms / (6.0 * end**3)
    total += rng.standard_gamma(b * first * first / second) * second / first
    series: float = total / (2.0 * math.pi * math.pi)
    return series


@compiled
def draw_polya_gamma(b: float, c: float, rng: np.random.Generator) -> float:  # pragma: no cover
    """Draw PG(b, c) for any b > 0."""
    if b > _MAX_WHOLE:
        alone: float = _draw_series(b, c, rng)
        return alone
    total = 0.0
    whole = int(b)
    for _ in range(whole):
        total += draw_one(c, rng)
    if b > whole:
        total += _draw_series(b - whole, c, rng)
    return total


@compiled
def fill_polya_gamma(
    b: Array, c: Array, observed: Array, rng: np.random.Generator, out: Array
) -> None:  # pragma: no cover
    """Fill `out` (n, D) with PG(b, c), 0 where nothing was observed; b is (n, D), (n, 1) or (1, 1)."""
    for n in range(c.shape[0]):
        for d in range(c.shape[1]):
            out[n, d] = 0.0
            if observed[n, d] > 0.0:
                shape = b[n if b.shape[0] > 1 else 0, d if b.shape[1] > 1 else 0]
                out[n, d] = draw_polya_gamma(shape, c[n, d], rng)


@compiled
def fill_softplus_counts(
    y: Array, eta: Array, exposure: Array, observed: Array, rng: np.random.Generator, kappa: Array, omega: Array
) -> None:  # pragma: no cover
    """Fill kappa and omega (n, D) of the augmented Poisson likelihood; see `augment.augment_poisson`."""
    for n in range(eta.shape[0]):
        for d in range(eta.shape[1]):
            kappa[n, d] = 0.0
            omega[n, d] = 0.0
            if observed[n, d] == 0.0:
                continue
            x = eta[n, d]
            softplus = max(x, 0.0) + math.log1p(math.exp(-abs(x)))
            linear = -0.5 * exposure[n]
            square = draw_polya_gamma(exposure[n], x, rng)
            for _ in range(int(y[n, d])):
                share = max(rng.random(), 1e-300) * softplus
                # log t with t = (e^share - 1) / e^x, uniform share of log(1 + e^x)
                shift = share + math.log(-math.expm1(-share)) - x
                weight = draw_one(x + shift, rng)
                linear += 0.5 - weight * shift
                square += weight
            kappa[n, d] = linear
            omega[n, d] = square
