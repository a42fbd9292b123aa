"""The horseshoe with its local scales integrated out: density of a loading, draws of the global and the local scales.

w ~ N(0, l^2 / alpha) with l half-Cauchy has density (alpha / (2 pi^3))^(1/2) g(alpha w^2 / 2), g(x) = e^x E1(x) with
the exponential integral E1 (Carvalho, Polson and Scott 2010, Biometrika 97:465). It has a pole at 0, of log(1 / |w|).
"""

import functools
import math

import numpy as np
from scipy.special import exp1

from mofa_bayes.engines.gibbs.walk import HIGH_ALPHA, LOW_ALPHA
from mofa_bayes.engines.vi.kernels import compiled
from mofa_bayes.engines.vi.packed import Array

_GAMMA = 0.5772156649015329  # Euler's constant
_LOW, _PER_UNIT, _UNITS = -40.0, 64, 46
_HIGH = _LOW + _UNITS
# What is left of a precision that is not a number any more.
_LEAST, _MOST = 1e-50, 1e50


@functools.cache
def tabulate_log_g() -> Array:
    """Tabulate log g and its derivative by log x, times the step, on a grid of log x (n, 2); see `log_g`."""
    x = np.exp(_LOW + np.arange(_PER_UNIT * _UNITS + 1) / _PER_UNIT)
    g = np.exp(x) * exp1(x)
    table = np.column_stack([np.log(g), (x - 1 / g) / _PER_UNIT])
    table.setflags(write=False)
    return table


@compiled
def log_g(x: float, table: Array) -> float:  # pragma: no cover
    """Log of e^x E1(x), to 5e-12.

    Between e^-40 and e^6 by cubic Hermite interpolation in t = log x, whose error is at most h^4 / 384 times the
    largest fourth derivative, .03, with a step h of 1/64: a sum over 100,000 loadings is wrong by less than 1e-6, and
    what is drawn with it by as little. Beyond by the first terms of E1's series at 0 (what is left is of order x) and
    of its asymptotic one (720 / x^6).
    """
    t = math.log(max(x, 1e-300))
    if t < _LOW:
        return math.log(-_GAMMA - t)
    if t >= _HIGH:
        r = 1.0 / x
        return math.log1p(-r * (1.0 - r * (2.0 - r * (6.0 - r * (24.0 - r * 120.0))))) - t
    place = (t - _LOW) * _PER_UNIT
    i = min(int(place), table.shape[0] - 2)
    s = place - i
    rest = 1.0 - s
    value = rest * rest * ((1.0 + 2.0 * s) * table[i, 0] + s * table[i, 1])
    return float(value + s * s * ((3.0 - 2.0 * s) * table[i + 1, 0] - rest * table[i + 1, 1]))


@compiled
def sum_log_g(square: Array, half_alpha: float, table: Array) -> float:  # pragma: no cover
    """Sum of log g(half_alpha w_d^2) over squares of loadings (D,)."""
    total = 0.0
    for d in range(square.shape[0]):
        total += log_g(half_alpha * square[d], table)
    return total


@compiled
def draw_globals(
    square: Array, alpha: Array, shape: float, rate: float, table: Array, rng: np.random.Generator
) -> None:  # pragma: no cover
    """Draw each factor's alpha ~ Gamma(shape, rate) given its loadings, by one slice in log alpha.

    The log density of t = log alpha is (shape + D / 2) t - rate e^t + sum_d log g(e^t w_d^2 / 2). Stepping out and
    shrinking (Neal 2003, Ann Stat 31:705, section 4.1), from steps of the width that D loadings leave.

    Parameters
    ----------
    square
        Squares of loadings (K, D).
    alpha
        Updated (K,).
    table
        Of `tabulate_log_g`.
    """
    n_factors, n_features = square.shape
    power, width = shape + 0.5 * n_features, 4.0 / math.sqrt(1.0 + n_features)
    for k in range(n_factors):
        own, t = square[k], math.log(alpha[k])
        level = power * t - rate * alpha[k] + sum_log_g(own, 0.5 * alpha[k], table) - rng.standard_exponential()
        low = t - width * rng.random()
        high = low + width
        for sign in (-1.0, 1.0):
            edge = low if sign < 0.0 else high
            while power * edge - rate * math.exp(edge) + sum_log_g(own, 0.5 * math.exp(edge), table) > level:
                edge += sign * width
            low, high = (edge, high) if sign < 0.0 else (low, edge)
        while True:
            proposal = low + (high - low) * rng.random()
            value = math.exp(proposal)
            if power * proposal - rate * value + sum_log_g(own, 0.5 * value, table) >= level:
                break
            if proposal < t:
                low = proposal
            else:
                high = proposal
        alpha[k] = min(max(value, LOW_ALPHA), HIGH_ALPHA)


@compiled
def draw_locals(square: Array, alpha: Array, rng: np.random.Generator, out: Array) -> None:  # pragma: no cover
    """Fill out (D, K) with u = 1 / l^2 given squares of loadings (D, K) and alpha (K,).

    The density of u is proportional to e^(-c u) / (1 + u) with c = alpha w^2 / 2. With v = 1 + u, and where c < 1, it
    lies below e^-c / v up to v = 1 / c and below c e^(-c v) from there on: exact rejection, which accepts .6 or more.
    """
    for d in range(square.shape[0]):
        for k in range(square.shape[1]):
            c = min(max(0.5 * alpha[k] * square[d, k], 1e-200), 1e200)
            span = -math.log(c)
            below = span * math.exp(-c)
            while True:
                if span <= 0.0:
                    u = rng.standard_exponential() / c
                    is_accepted = rng.random() * (1.0 + u) < 1.0
                elif rng.random() * (below + math.exp(-1.0)) < below:
                    u = math.expm1(span * rng.random())
                    is_accepted = rng.random() < math.exp(-c * u)
                else:
                    v = (1.0 + rng.standard_exponential()) / c
                    u = v - 1.0
                    is_accepted = rng.random() * c * v < 1.0
                if is_accepted:
                    break
            out[d, k] = min(max(u, _LEAST), _MOST)
