"""Where to look first: a mixture of t distributions that resembles a density nobody has drawn from yet."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtri
from scipy.stats import qmc

from mofa_bayes.risk.density import Density, Fall, Index, Scale
from mofa_bayes.risk.modes import climb, find_cross, find_root
from mofa_bayes.risk.proposals import Array, Mixture

_WIDER = 1.5
_EVEN = 0.2
_SCALE_SD = 0.6
_LEVELS = np.array([0.92, 0.72, 0.48, 0.25, 0.1, 0.03, 0.008])[:, None]
"""Quantiles of a single scale's prior, from the largest on. The small ones are for the long tail of its log where data
ask for none of it, as Poisson counts do of a dispersion: without them the largest weights lie there."""
_N_NODES = {1: 7, 2: 12}
_MOST_NODES = 16
_MOST_FAINT = 2
_DROP = 6.0
"""How far a faint effect is followed: to where the log density, at its highest over the rest, is so much lower."""
_FIRST_STEP = 0.25
_MOST_STEPS = 12
_CLOSE = 0.3
_OVERLAP = 0.7
_TOWARDS_END = 0.8


class _Component(NamedTuple):
    """Centre (P,) and root (P, P) of a component, and Laplace's approximation of the log mass around it."""

    centre: Array
    root: Array
    log_mass: float


class _Reach(NamedTuple):
    """Where a coordinate may lie."""

    low: float
    high: float


def explore(density: Density) -> Mixture:
    """Make the first proposal of a density.

    Where nothing stands in the way: the mode, once as wide as curvature says and once 1.5 times as wide. Two kinds of
    coordinates do, and are held at several points, each a component with the conditional mode and curvature of the
    rest:

    - scales, standard deviations that are themselves parameters, at quantiles of their priors. The rest is wide where
      the roughness of a hazard is large and narrow where it is small, a funnel;
    - effects of factors that the views hardly show, evenly over where they may lie. Such a factor is a frailty: its
      effect may have either sign, and the larger it is the larger are the effects of the others. The noise that it
      explains is then less, so scales are held in turn too, with the effect free on either side.
    """
    start, faint = density.start(), density.faint()[:_MOST_FAINT]
    everything: Index = np.arange(len(start), dtype=np.intp)
    if not density.scales and not len(faint):
        mode, _ = climb(density.fall, start, everything)
        root = find_root(density.fall, mode, everything)
        root = np.linalg.cholesky(root @ root.T)
        return Mixture(np.array([0.5, 0.5]), np.stack([mode, mode]), np.stack([root, _WIDER * root]))
    starts = [start]
    components: list[_Component] = []
    if len(faint):
        mode, reaches = _follow(density.fall, start, density.scales, faint)
        components += _hold(density.fall, mode, _places(density.scales, faint), *_nodes(density.scales, reaches))
        starts = list(_find_ends(mode, faint, reaches))
    if density.scales:
        for own in starts:
            components += _hold(density.fall, own, _places(density.scales), *_nodes(density.scales))
    log_masses = np.array([component.log_mass for component in components])
    shares = np.exp(log_masses - logsumexp(log_masses))
    return Mixture(
        (1 - _EVEN) * shares + _EVEN / len(shares),
        np.stack([component.centre for component in components]),
        np.stack([component.root for component in components]),
    )


def _hold(fall: Fall, start: Array, held: Index, nodes: Array, sds: Array) -> Iterator[_Component]:
    """Yield a component for each of `nodes`, (node, held), as wide as `sds` say along the held coordinates."""
    free = np.setdiff1d(np.arange(len(start), dtype=np.intp), held)
    for node in nodes:
        start = start.copy()
        start[held] = node
        start, value = climb(fall, start, free)
        root = find_root(fall, start, free)
        follow = -root @ root.T @ find_cross(fall, start, free, held)
        covariance = np.zeros((len(start), len(start)))
        covariance[np.ix_(free, free)] = root @ root.T + (follow * sds**2) @ follow.T
        covariance[np.ix_(free, held)] = follow * sds**2
        covariance[np.ix_(held, free)] = (follow * sds**2).T
        covariance[held, held] = sds**2
        yield _Component(start, np.linalg.cholesky(covariance), float(np.linalg.slogdet(root)[1] - value))


def _places(scales: Sequence[Scale], effects: Sequence[int] | Index = ()) -> Index:
    return np.array([*(scale.place for scale in scales), *effects], dtype=np.intp)


def _nodes(scales: Sequence[Scale], reaches: Sequence[_Reach] = ()) -> tuple[Array, Array]:
    """Place held coordinates, scales before effects: points (node, held), and the sd of a component along each."""
    n_held = len(scales) + len(reaches)
    n_nodes = _N_NODES.get(n_held, _MOST_NODES)
    if n_held > 1:
        levels = np.clip(qmc.Halton(n_held, scramble=False).random(n_nodes + 1)[1:], 0.05, 0.95)
    else:
        levels = _LEVELS if scales else (np.arange(n_nodes) + 0.5)[:, None] / n_nodes
    low, high = np.reshape(reaches, (-1, 2)).T
    width = high - low
    nodes = np.hstack([_logs_at(scales, levels[:, : len(scales)]), low + width * levels[:, len(scales) :]])
    return nodes, np.append(np.full(len(scales), _SCALE_SD), _OVERLAP * width * n_nodes ** (-1 / n_held))


def _logs_at(scales: Sequence[Scale], levels: Array) -> Array:
    """Place logs of scales, (..., scale), at quantiles of their half-normal priors."""
    logs: Array = np.log(np.array([scale.prior for scale in scales]) * ndtri(0.5 + levels / 2))
    return logs


def _follow(fall: Fall, start: Array, scales: Sequence[Scale], effects: Index) -> tuple[Array, list[_Reach]]:
    """Find the mode, scales at their prior medians, and where around it each effect may lie."""
    start = start.copy()
    start[_places(scales)] = _logs_at(scales, np.full(len(scales), 0.5))
    free = np.setdiff1d(np.arange(len(start), dtype=np.intp), _places(scales))
    mode, lowest = climb(fall, start, free)
    reaches = []
    for effect in effects:
        rest = np.setdiff1d(free, [effect])
        reaches.append(_Reach(*(_walk(fall, mode, lowest + _DROP, rest, effect, sign) for sign in (-1.0, 1.0))))
    return mode, reaches


def _walk(fall: Fall, mode: Array, limit: float, rest: Index, place: int, sign: float) -> float:
    """Find about where a coordinate is when `fall` reaches `limit`, on one side of the mode: double, then halve."""
    near, far, step, point = 0.0, np.inf, _FIRST_STEP, mode
    for _ in range(_MOST_STEPS):
        trial = point.copy()
        trial[place] = mode[place] + sign * step
        trial, value = climb(fall, trial, rest)
        if value < limit:
            near, point = step, trial
        else:
            far = step
        if far - near < _CLOSE * far:
            break
        step = min(2 * step, (near + far) / 2)
    return float(mode[place] + sign * min(far, step))


def _find_ends(mode: Array, effects: Index, reaches: Sequence[_Reach]) -> Iterator[Array]:
    """Yield points most of the way from the mode to either end of each effect's reach."""
    for effect, reach in zip(effects, reaches, strict=True):
        for end in reach:
            point = mode.copy()
            point[effect] += _TOWARDS_END * (end - mode[effect])
            yield point
