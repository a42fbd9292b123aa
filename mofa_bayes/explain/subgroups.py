"""Subgroups of patients: clusters of their factors, with the uncertainty of factors in every assignment."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mofa_bayes.errors import DataError
from mofa_bayes.explain.mixture import SHAPES, Evidence, Mixture, Shape, climb, expect, scatter_starts
from mofa_bayes.explain.summarise import require_aligned, require_choice, require_factors
from mofa_bayes.posterior import Posterior
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.seeds import make_rng

Array = NDArray[np.float64]
_SAME = 0.01
"""Nats within which two starts have found the same height."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Subgroups:
    """Subgroups of a cohort, the largest first.

    Attributes
    ----------
    assignments
        Per subject: `subgroup`, the most probable one; `probability` of it; and one column per subgroup.
    centres
        Per subgroup: its `weight`, and the mean of each factor.
    covariances
        Spread of the factors within each subgroup, (C, K, K), without the uncertainty of patients' factors.
    criterion
        Per number of subgroups tried: `log_evidence` up to a constant, `n_parameters`, `bic` (the smaller the better),
        and `agreeing`, how many starts found the best height.
    factors
        Names of the factors used.
    prior
        Precision of each factor in the fit's own prior, mean over subjects (K,).
    """

    assignments: pd.DataFrame
    centres: pd.DataFrame
    covariances: Array
    criterion: pd.DataFrame
    factors: tuple[str, ...]
    prior: Array

    @property
    def n_subgroups(self) -> int:
        """How many subgroups there are."""
        return len(self.centres)

    def assign(self, moments: FactorMoments) -> pd.DataFrame:
        """Assign patients, such as `post.project(new_views)`, to the subgroups; a table like `assignments`.

        Raises
        ------
        DataError
            The moments lack a factor.
        """
        lacking = [name for name in self.factors if name not in moments.factors]
        if lacking:
            raise DataError(
                "factors of the patients",
                got=f"none named {', '.join(lacking)}",
                expected=", ".join(self.factors),
                do="Pass moments of the same posterior.",
            )
        place = [moments.factors.index(name) for name in self.factors]
        means = self.centres[list(self.factors)].to_numpy()
        mixture = Mixture(self.centres["weight"].to_numpy(), means, self.covariances)
        evidence = read_evidence(moments, place, np.tile(self.prior, (len(moments.subjects), 1)))
        return _tabulate(expect(mixture, evidence).share, list(self.centres.index), moments.subjects)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {weight:.0%}" for name, weight in self.centres["weight"].items())
        return f"<Subgroups: {self.n_subgroups} of {len(self.assignments)} subjects ({sizes})>"

    def _repr_html_(self) -> str:
        return f"<div><strong>{html.escape(repr(self)[1:-1])}</strong>{self.centres.round(2).to_html(border=0)}</div>"


def find_subgroups(
    post: Posterior,
    n_subgroups: int | Sequence[int] = (1, 2, 3, 4, 5, 6),
    *,
    factors: Sequence[str] | None = None,
    shape: Shape = "full",
    n_starts: int = 10,
    max_iterations: int = 500,
    seed: int | np.random.Generator = 0,
) -> Subgroups:
    """Find subgroups of patients among uncertain factors.

    Factors are taken to come from sum_c p_c N(u_c, S_c) in place of the fit's own prior, which is divided out of each
    patient's posterior N(m, V): what data say of z is exp(h'z - z'L z / 2), h = V^-1 m, L = V^-1 - L_0. A patient whose
    factors are vague thus says little about the subgroups, is not drawn to the middle between them, and is assigned
    with the doubt that is due. Fitted by EM from several starts (extreme deconvolution; see
    `mofa_bayes.explain.mixture`).

    Parameters
    ----------
    post
        A posterior.
    n_subgroups
        How many, or the numbers to choose from by BIC, -2 log evidence + (number of parameters) log N.
    factors
        Factors to look at; all when left out. Few are better: every full covariance has K (K + 1) / 2 parameters.
    shape
        `full` covariances, `diagonal` ones, or one that is `shared` by all subgroups.
    n_starts
        Starts of the search, of which the highest is kept; `criterion` says how many agree.
    max_iterations
        Limit to the passes of each start.
    seed
        Seed of the starts.

    Notes
    -----
    Mixtures describe the shape of a distribution: a skewed one also takes two components. BIC says whether more
    components describe it better, not that patients fall into kinds.

    Raises
    ------
    DataError
        A name is unknown, or a number is not acceptable.
    FitError
        The posterior's draws are not aligned.
    """
    require_aligned(post)
    require_choice("shape", shape, SHAPES)
    chosen = require_factors(post, factors)
    numbers = _require_numbers(n_subgroups, len(post.subjects))
    for name, value in (("n_starts", n_starts), ("max_iterations", max_iterations)):
        _require_whole(name, value)
    rng = make_rng(seed)
    place = [post.factor_names.index(name) for name in chosen]
    moments = post.factor_moments()
    prior = _prior_precision(post)[:, place]
    evidence = read_evidence(moments, place, prior)
    points = moments.mean[:, place]
    rows, best = [], {}
    for number, own in zip(numbers, rng.spawn(len(numbers)), strict=True):
        found = [
            climb(
                scatter_starts(points, number, start),
                evidence,
                shape=shape,
                floor=1e-3,
                max_iterations=max_iterations,
                tolerance=1e-6,
            )
            for start in own.spawn(1 if number == 1 else n_starts)
        ]
        heights = np.array([height for _, height, _ in found])
        best[number] = found[int(heights.argmax())][0]
        n_parameters = best[number].n_parameters(shape)
        bic = -2 * heights.max() + n_parameters * np.log(len(points))
        agreeing = int((heights > heights.max() - _SAME).sum())
        rows.append((number, heights.max(), n_parameters, bic, agreeing, len(found)))
    columns = ["n_subgroups", "log_evidence", "n_parameters", "bic", "agreeing", "n_starts"]
    criterion = pd.DataFrame(rows, columns=columns).set_index("n_subgroups")
    mixture = _by_size(best[numbers[int(criterion["bic"].to_numpy().argmin())]])
    names = [f"S{c + 1}" for c in range(len(mixture.weights))]
    centres = pd.DataFrame(mixture.means, columns=chosen, index=pd.Index(names, name="subgroup"))
    centres.insert(0, "weight", mixture.weights)
    shares = expect(mixture, evidence).share
    return Subgroups(
        assignments=_tabulate(shares, names, moments.subjects),
        centres=centres,
        covariances=mixture.covariances,
        criterion=criterion,
        factors=tuple(chosen),
        prior=prior.mean(axis=0),
    )


def read_evidence(moments: FactorMoments, place: Sequence[int], prior: Array) -> Evidence:
    """Divide the prior, of precisions (N, K), out of the posterior of each subject's factors.

    Where a posterior is as wide as the prior or wider, by the error of its draws, data say nothing: no precision of the
    evidence is below 0.
    """
    means = moments.mean[:, place]
    covariance = moments.covariance[:, place][:, :, place]
    keys = np.concatenate([moments.pattern[:, None], prior], axis=1)
    _, first, pattern = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    precision = np.linalg.inv(covariance[moments.pattern[first]])
    values, vectors = np.linalg.eigh(precision - prior[first][:, :, None] * np.eye(len(place)))
    kept = np.maximum(values, 0.0)
    evidence = (vectors * kept[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    linear = (precision[pattern] @ means[:, :, None])[:, :, 0]
    # Along a direction of which data say nothing there is no linear term either.
    inside = (vectors * (kept > 0)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    return Evidence((inside[pattern] @ linear[:, :, None])[:, :, 0], evidence, pattern.ravel())


def _prior_precision(post: Posterior) -> Array:
    """Prior precision of each subject's factors (N, K): 1, or what the fit learned of the subject's group."""
    own = post.tree.children["moments"].to_dataset().get("factor_precision")
    if own is None:
        return np.ones((len(post.subjects), len(post.factor_names)))
    place = {str(name): g for g, name in enumerate(own["group"].values)}
    rows = [place[str(name)] for name in post.groups().values]
    return own.transpose("group", "factor").values.astype(np.float64)[rows]


def _by_size(mixture: Mixture) -> Mixture:
    order = np.argsort(-mixture.weights, kind="stable")
    return Mixture(mixture.weights[order], mixture.means[order], mixture.covariances[order])


def _tabulate(shares: Array, names: list[str], subjects: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(shares, columns=names, index=pd.Index(subjects, name="subject"))
    best = shares.argmax(axis=1)
    table.insert(0, "subgroup", np.asarray(names, dtype=object)[best])
    table.insert(1, "probability", shares.max(axis=1))
    return table


def _require_numbers(value: object, n_subjects: int) -> list[int]:
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    counts = [_require_whole("n_subgroups", number) for number in numbers]
    if not counts or max(counts) > n_subjects // 2:
        raise DataError(
            "n_subgroups",
            got=repr(value)[:80],
            expected=f"numbers from 1 to {n_subjects // 2}, half as many as there are subjects",
            do="Write n_subgroups=3, or (1, 2, 3) to choose by BIC.",
        )
    return sorted(set(counts))


def _require_whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise DataError(name, got=repr(value)[:80], expected="a whole number from 1 up", do="Correct it.")
    return int(value)
