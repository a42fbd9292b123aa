"""diagnose: one call that says whether to believe a fit, with a table of checks and the reasons."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError, SpecError
from mofa_bayes.posterior.convergence import tabulate_convergence
from mofa_bayes.posterior.diagnose.draws import ModelDraws, read_draws
from mofa_bayes.posterior.diagnose.loo import LeaveOneOut, leave_one_out
from mofa_bayes.posterior.diagnose.measured import expected_coverage
from mofa_bayes.posterior.diagnose.pointwise import log_scales, subject_log_likelihood
from mofa_bayes.posterior.diagnose.predictive import Predictive, check_predictive
from mofa_bayes.posterior.diagnose.variational import log_ratios, pareto_k, why_not
from mofa_bayes.posterior.diagnose.verdict import Check, Diagnosis, Weight
from mofa_bayes.posterior.likelihoods import SUPPORTED
from mofa_bayes.posterior.matching import covariance_of
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.posterior.trace import read_trace
from mofa_bayes.seeds import make_rng


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What checks are held to.

    Parameters
    ----------
    rhat
        99 % of R-hats stay below it.
    ess_per_chain
        Effective draws of the worst rotation-free quantity, per chain (Vehtari et al. 2021 ask for 100).
    congruence
        Of draws with the reference: below, a factor is hardly determined (Lorenzo-Seva and ten Berge 2006, Methodology
        2:57).
    start_match
        Correlation of a factor with the nearest of another start.
    coverage
        What 95 % intervals of loadings have been measured to cover, under vi, in fits like this one.
    pareto_k
        Of q of vi against the joint; above .7 the ratio has no usable variance.
    outside
        Share of features whose observed statistic may lie outside the central 95 % of its replications.
    bad_subjects
        Share of subjects whose Pareto k may be too large.
    """

    rhat: float = 1.05
    ess_per_chain: float = 100.0
    congruence: float = 0.85
    start_match: float = 0.9
    coverage: float = 0.93
    pareto_k: float = 0.7
    outside: float = 0.1
    bad_subjects: float = 0.05


_LIMITS = Limits()
_LEAST_DRAWS = 25
"""A Pareto tail is fitted to a fifth of the draws, and needs five."""


def diagnose(
    post: Posterior,
    views: MultiView | None = None,
    *,
    seed: int | np.random.Generator = 0,
    n_draws: int = 500,
    limits: Limits = _LIMITS,
) -> Diagnosis:
    """Say whether to believe a fit.

    Parameters
    ----------
    post
        A posterior of any engine.
    views
        The data of the fit: without them nothing is held against data.
    seed
        Seed of replications.
    n_draws
        About how many draws to compute likelihoods and replications for, evenly from all chains.
    limits
        What checks are held to.

    Returns
    -------
    Diagnosis
        By engine: of sampling engines whether they ran to their end, R-hat, effective sample sizes, divergences and
        alignment; of vi convergence, the coverage that its intervals of loadings were measured to have in such fits, if
        it was, the agreement of its starts and, with views, Pareto k of q against the exact joint. With views, for
        every engine: posterior predictive checks per view, and pointwise leave-one-out over subjects with the factors
        integrated out (exactly where all features are gaussian, by Laplace's method otherwise).

    Raises
    ------
    DataError
        `views` are not those of the fit.
    SpecError
        `n_draws` is not a whole number above 0.
    """
    if not isinstance(post, Posterior):
        raise DataError("posterior", got=type(post).__name__, expected="a Posterior", do="Pass what mb.fit returned.")
    if isinstance(n_draws, bool) or not isinstance(n_draws, int | np.integer) or n_draws < 1:
        raise SpecError("n_draws", got=repr(n_draws)[:80], expected="a whole number from 1 up", do="500 is usual.")
    post.require_uncertainty("diagnosis")
    rng = make_rng(seed)
    engine = str(post.provenance["engine"])
    checks = [
        Check(
            "draws are aligned", float(post.is_aligned), 1, post.is_aligned, "align them: mb.align(post.tree)", "grave"
        )
    ]
    convergence: pd.DataFrame | None = None
    notes: list[str] = []
    if engine == "vi":
        found, note = _check_ascent(post, limits)
        checks += found
        notes += note
    elif engine != "spectral":
        convergence = _tabulate(post)
        checks.append(_check_end(post))
        checks += _check_chains(post, convergence, limits)
    predictive: Predictive | None = None
    loo: LeaveOneOut | None = None
    if views is None:
        notes.append("no views were given: nothing was held against data")
        if engine == "spectral":
            advice = "pass the views of the fit, without which nothing of it was checked: mb.diagnose(post, views)"
            checks.append(Check("held against data", 0, 1, False, advice))
    else:
        model = read_draws(post, views, n_draws)
        notes += _name_left_out(model)
        predictive = check_predictive(model, {view: tuple(views.features(view)) for view in views.names}, rng)
        checks += _check_predictive(predictive, limits)
        if model.is_sparse:
            notes.append("factors may be zero: no closed form integrates them out, so there is no LOO and no Pareto k")
        elif model.n_draws < _LEAST_DRAWS:
            notes.append(f"{model.n_draws} draws are too few for LOO and Pareto k, which take {_LEAST_DRAWS} at least")
        else:
            likelihood = subject_log_likelihood(model)
            if engine == "vi":
                found, note = _check_q(post, model, views, likelihood, limits)
                checks += found
                notes += note
            loo = leave_one_out(likelihood - log_scales(model), model.n_chains)
            checks += _check_loo(loo, limits)
    return Diagnosis(engine, tuple(checks), convergence, predictive, loo, tuple(notes))


def _check_ascent(post: Posterior, limits: Limits) -> tuple[list[Check], list[str]]:
    done = bool(post.provenance["converged"])
    checks = [Check("vi converged", float(done), 1, done, "raise max_iterations: settings=mb.Ascent(...)", "grave")]
    covered, notes = expected_coverage(post), []
    if covered is None:
        notes.append(
            "what intervals of loadings cover under vi has not been measured for fits of such priors, likelihoods and "
            "sizes: hold them against gibbs, or run mb.check_calibration"
        )
    else:
        narrow = "intervals of loadings are too narrow under mean-field vi in fits like this one: hold them to gibbs"
        fine = covered >= limits.coverage
        checks.append(Check("measured coverage of loadings (95 %)", covered, limits.coverage, fine, narrow))
    starts = post.starts
    if len(starts) > 1:
        worst = float(starts.iloc[1:][list(post.factor_names)].median().min())
        advice = "some starts find other factors: trust those that all of post.starts find"
        checks.append(Check("agreement of starts", worst, limits.start_match, worst >= limits.start_match, advice))
    return checks, notes


def _check_end(post: Posterior) -> Check:
    """Say whether a sampler came to its end and was content, which nuts is not of many divergences or cut trees."""
    done = bool(post.provenance.get("converged", True))
    if post.provenance["engine"] == "nuts":
        advice = "draws diverged or trees were cut short: raise target_accept, or use engine gibbs"
        return Check("sampler is content", float(done), 1, done, advice)
    return Check("ran to its end", float(done), 1, done, "chains were stopped early: draw on, or raise max_seconds")


def _tabulate(post: Posterior) -> pd.DataFrame:
    dataset = post.tree.children["posterior"].to_dataset()
    trace = read_trace(dataset, "factors", [f"loadings_{view}" for view in post.views])
    assert trace.factors is not None
    covariance = np.stack([covariance_of(own) for own in trace.factors])
    return tabulate_convergence(dataset, trace, covariance, {"after": trace.loadings})


def _check_chains(post: Posterior, table: pd.DataFrame, limits: Limits) -> list[Check]:
    n_chains = post.factors().sizes["chain"]
    is_loadings = table["quantity"].str.startswith("loadings_")
    longer = "draw longer chains; look at diagnosis.convergence"
    checks = []
    for name, own in (("loadings", table[is_loadings]), ("rotation-free quantities", table[~is_loadings])):
        rhat, least = float(own["rhat_99"].max()), limits.ess_per_chain * n_chains
        # A rotation-free quantity on which chains disagree is a matter of fact and not of naming.
        weight: Weight = "care" if name == "loadings" else "grave"
        checks.append(Check(f"R-hat of {name} (99 %)", rhat, limits.rhat, rhat <= limits.rhat, longer, weight))
        for kind in ("bulk", "tail"):
            ess = float(own[f"ess_{kind}_min"].min())
            checks.append(Check(f"ESS of {name} ({kind}, least)", ess, least, ess >= least, longer))
    if "sample_stats" in post.tree.children:
        stats = post.tree.children["sample_stats"].to_dataset()
        if "diverging" in stats:
            count = float(stats["diverging"].sum())
            checks.append(Check("divergences", count, 0, count == 0, "raise target_accept, or use engine gibbs"))
    if "alignment" in post.tree.children:
        checks += _check_alignment(post.tree.children["alignment"].to_dataset(), limits)
    return checks


def _check_alignment(alignment: xr.Dataset, limits: Limits) -> list[Check]:
    count = float(np.size(alignment.attrs["other_mode"]) + np.size(alignment.attrs["wandering"]))
    advice = "chains found different factors: look at tree['alignment'], fit fewer factors or a sparser prior"
    worst = float(alignment["congruence"].mean(("chain", "draw")).min())
    vague = "a factor hardly keeps its direction from draw to draw: read it with its intervals, or fit fewer factors"
    return [
        Check("chains in other modes", count, 0, count == 0, advice, "grave"),
        Check("congruence of draws (worst factor)", worst, limits.congruence, worst >= limits.congruence, vague),
    ]


def _name_left_out(model: ModelDraws) -> list[str]:
    kinds = sorted({str(kind) for view in model.views for kind in view.likelihoods} - set(SUPPORTED))
    return [f"features of likelihood {', '.join(kinds)} were not looked at"] if kinds else []


def _check_q(
    post: Posterior, model: ModelDraws, views: MultiView, likelihood: np.ndarray, limits: Limits
) -> tuple[list[Check], list[str]]:
    reason = "subjects have weights" if views.weights is not None else why_not(post)
    if reason is not None:
        return [], [f"Pareto k of q was not computed: {reason}"]
    k = pareto_k(log_ratios(post, model, likelihood))
    # Of all globals at once, which hundreds of well-covered margins do not prevent from being large.
    advice = (
        "q as a whole is far from the posterior: importance weights cannot mend it; single intervals may still hold"
    )
    return [Check("Pareto k of q", k, limits.pareto_k, k <= limits.pareto_k, advice, "aside")], []


def _check_predictive(predictive: Predictive, limits: Limits) -> list[Check]:
    advice = "another likelihood or transformation may fit these features: sort diagnosis.predictive.table by p"
    checks = []
    for (view, statistic), p in predictive.by_statistic():
        # Of few features one may be outside by chance.
        threshold = max(limits.outside, 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(p)))
        share = float(((p < 0.025) | (p > 0.975)).mean())
        name = f"{view}: features whose {statistic} is unlike its replications"
        checks.append(Check(name, share, threshold, share <= threshold, advice))
    return checks


def _check_loo(loo: LeaveOneOut, limits: Limits) -> list[Check]:
    share = 1 - loo.counts["good"] / len(loo.pareto_k)
    advice = "the fit hangs on these subjects, and elpd is not to be relied upon: compare models by held-out subjects"
    return [
        Check("LOO: elpd", loo.elpd, np.nan, True),
        Check("LOO: effective parameters", loo.p, np.nan, True),
        Check(
            "LOO: share of subjects with a large Pareto k",
            share,
            limits.bad_subjects,
            share <= limits.bad_subjects,
            advice,
            "aside",
        ),
    ]
