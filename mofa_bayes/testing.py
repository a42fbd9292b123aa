"""How well a fit recovers a simulated cohort: for our tests, benchmarks and cards, and for users' own designs."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mofa_bayes.data.simulate import Cohort
from mofa_bayes.posterior import Posterior


@dataclass(frozen=True, slots=True, eq=False)
class Recovery:
    """A fit beside the truth.

    Attributes
    ----------
    factors
        One row per true factor: `found`, the fitted factor that matches it best; `r`, their absolute correlation over
        subjects who have a view that carries the true factor (nothing can recover it in the others); `r_all`, the same
        over all subjects.
    coverage
        Share of the hidden entries, of subjects who have the view, whose true value lies in its interval.
    n_hidden
        How many entries that is.
    """

    factors: pd.DataFrame
    coverage: float
    n_hidden: int


def recover(cohort: Cohort, post: Posterior, *, level: float = 0.95, seed: int | np.random.Generator = 0) -> Recovery:
    """Compare a posterior with the truth of the cohort it was fitted to.

    Parameters
    ----------
    cohort
        A simulated cohort.
    post
        A posterior of `cohort.views`.
    level
        Probability that intervals of hidden entries should hold.
    seed
        Seed of the imputation's draws.
    """
    truth = cohort.factors.to_numpy()
    found = post.factor_moments().sel(cohort.views.subjects).mean
    rows = []
    for k, name in enumerate(cohort.factors.columns):
        carriers = [view for view, loadings in cohort.loadings.items() if np.any(loadings[:, k])]
        informed = np.any([cohort.views.has_view(view).values for view in carriers], axis=0)
        r, r_all = (np.abs(np.corrcoef(truth[own, k], found[own].T)[0, 1:]) for own in (informed, slice(None)))
        best = int(r.argmax())
        rows.append((name, post.factor_names[best], float(r[best]), float(r_all[best])))
    table = pd.DataFrame(rows, columns=["factor", "found", "r", "r_all"]).set_index("factor")
    inside = _cover(cohort, post, level, np.random.default_rng(seed))
    return Recovery(table, float(inside.mean()) if len(inside) else np.nan, len(inside))


def _cover(cohort: Cohort, post: Posterior, level: float, rng: np.random.Generator) -> np.ndarray:
    """Whether each hidden gaussian entry lies in its interval."""
    imputed = post.impute(cohort.views, level=level, seed=rng)
    inside = []
    for view in cohort.views.names:
        is_real = cohort.views.likelihoods(view).values == "gaussian"
        hidden = cohort.views[view].isnull().values & cohort.views.has_view(view).values[:, None] & is_real
        truth = cohort.complete[view].to_numpy()
        lower, upper = imputed[f"lower_{view}"].values, imputed[f"upper_{view}"].values
        inside.append(((truth >= lower) & (truth <= upper))[hidden])
    return np.concatenate(inside)
