"""The graph's density against scipy's, likelihood by likelihood; and without its factors against the whole normal."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import expit, log_softmax

import mofa_bayes as mb
from mofa_bayes.data.preprocess import fit_preprocessing
from mofa_bayes.errors import FitError
from mofa_bayes.graph import draw_factors_given, score_subjects

N = 24
SUBJECTS = [f"p{n:02d}" for n in range(N)]
KINDS = ("gaussian", "student_t", "bernoulli", "poisson", "negative_binomial", "ordinal", "categorical")
PRIORS = {
    "gaussian": mb.ARD(),
    "student_t": mb.ARD(positive=True),
    "bernoulli": mb.Normal(positive=True),
    "poisson": mb.Laplace(),
    "negative_binomial": mb.Horseshoe(),
    "ordinal": mb.Horseshoe(positive=True),
    "categorical": mb.Laplace(positive=True),
    "mixed": mb.SpikeSlab(),
}
MODE = "NUMBA"


def draw_column(kind, rng):
    match kind:
        case "gaussian" | "student_t":
            return rng.standard_normal(N)
        case "bernoulli":
            return rng.permutation(np.arange(N) % 2)
        case "ordinal":
            return rng.permutation(np.arange(N) % 4)
        case _:
            return rng.poisson(3.0, N)


def indicators(rng):
    """Two variables of three and two levels as indicator columns; some rows of each are missing."""
    pieces, variable = [], []
    for name, n_levels in (("stage", 3), ("sex", 2)):
        piece = np.eye(n_levels)[rng.integers(0, n_levels, N)]
        piece[rng.random(N) < 0.1] = np.nan
        pieces.append(piece)
        variable += [name] * n_levels
    return np.column_stack(pieces), variable


def make_views(*, groups=False, covariates=False, missing=0.1):
    """One view per likelihood, and one that mixes real values of both kinds with categories."""
    rng = np.random.default_rng(4)
    frames, likelihoods = {}, {}
    for kind in KINDS[:-1]:
        table = np.column_stack([draw_column(kind, rng) for _ in range(3)]).astype(float)
        table[rng.random(table.shape) < missing] = np.nan
        frames[kind] = pd.DataFrame(table, SUBJECTS, [f"{kind[:3]}{d}" for d in range(3)])
        likelihoods[kind] = kind
    frames["gaussian"] = frames["gaussian"].iloc[4:]
    columns, variable = indicators(rng)
    names = [f"c{d}" for d in range(columns.shape[1])]
    frames["categorical"] = pd.DataFrame(columns, SUBJECTS, names)
    real = rng.standard_normal((N, 2))
    frames["mixed"] = pd.DataFrame(np.column_stack([real, columns]), SUBJECTS, ["g", "t", *names])
    likelihoods |= {"categorical": "bernoulli", "mixed": {"t": "student_t"} | dict.fromkeys(names, "bernoulli")}
    views = mb.MultiView.from_frames(
        frames,
        likelihoods=likelihoods,
        groups=pd.Series(np.where(np.arange(N) % 3, "A", "B"), SUBJECTS) if groups else None,
        covariates=pd.DataFrame({"age": rng.normal(50, 9, N)}, SUBJECTS) if covariates else None,
        exposures={view: pd.Series(rng.uniform(0.5, 2, N), SUBJECTS) for view in ("poisson", "negative_binomial")},
    )
    dataset = views.dataset.copy()
    for view, own in (("categorical", variable), ("mixed", ["", "", *variable])):
        kinds = dataset[f"likelihood_{view}"].astype(object)
        kinds[np.array(own) != ""] = "categorical"
        dataset[f"likelihood_{view}"] = kinds
        dataset[f"variable_{view}"] = (f"feature_{view}", own)
    return mb.MultiView(dataset)


def model(**more):
    views = {view: mb.ViewModel(loadings=prior) for view, prior in PRIORS.items()}
    return mb.FactorModel(n_factors=2, views=views, intercept_scale=2.0, **more)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "groups"])
def built(request):
    """A model of every likelihood and prior, a point in it and the parts of its density there."""
    views = make_views(groups=request.param, covariates=request.param)
    spec = model(factors=mb.ARDFactors() if request.param else mb.StandardFactors())
    graph = mb.graph(views, spec)
    rng = np.random.default_rng(0)
    point = graph.initial_point()
    for name, value in point.items():
        if value.dtype.kind == "f":
            point[name] = value + 0.3 * rng.standard_normal(value.shape)
    return views, graph, point


def test_density_and_gradient_are_finite_for_every_likelihood_and_prior(built):
    _, graph, point = built
    gradient = graph.compile_dlogp(mode=MODE)(point)
    assert np.isfinite(gradient).all()
    assert np.isfinite(graph.compile_logp(mode=MODE)(point))
    assert np.isfinite(graph.compile_logp(mode=MODE)(graph.initial_point()))
