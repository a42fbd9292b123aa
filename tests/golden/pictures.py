"""Every figure at small size. `PYTHONPATH=.:tests python -m golden.pictures` draws the stored ones anew: look at them.

The draws behind them are made by numpy and not by an engine, and text is not drawn, so that a picture changes only when
the way it is drawn does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from golden.risk_pictures import RISK_PICTURES, draw_fusion
from matplotlib import pyplot as plt
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

import mofa_bayes as mb
from mofa_bayes import plot
from mofa_bayes.checking import Calibration
from mofa_bayes.choosing import Choice
from mofa_bayes.data.simulate import Cohort, Design
from mofa_bayes.explain import associate, enrichment, information

FOLDER = Path(__file__).parent / "images"
DESIGN = Design(
    n_subjects=60,
    n_features={"rna": 30, "meth": 24, "ehr": 8},
    sharing=[("rna", "meth", "ehr"), ("rna", "meth"), ("rna",)],
    density=0.6,
    bernoulli={"ehr": 3},
    absent_view=0.3,
    missing=0.05,
)
N_DRAWS = 60
Subject = tuple[mb.Posterior, mb.MultiView]


def make_subject() -> Subject:
    """A cohort of two groups, and a posterior whose draws are its truth with noise."""
    cohort = mb.simulate_cohort(DESIGN, seed=5)
    groups = pd.Series(["north", "south"] * 30, index=sorted(cohort.views.subjects))
    names = cohort.views.names
    frames = {view: cohort.views[view].to_pandas().dropna(how="all") for view in names}
    likelihoods = {view: cohort.views.likelihoods(view).to_series().to_dict() for view in names}
    views = mb.MultiView.from_frames(frames, groups=groups, likelihoods=likelihoods)
    spec = mb.FactorModel(n_factors=3, min_variance=0.0, loadings=mb.SpikeSlab())
    post = mb.fit(views, spec, seed=0, n_draws=N_DRAWS, progress=False)
    return _settle(post, cohort), views


def _settle(post: mb.Posterior, cohort: Cohort) -> mb.Posterior:
    """Put draws of numpy's in the place of the engine's."""
    rng = np.random.default_rng(1)
    groups = {name: node.to_dataset() for name, node in post.tree.children.items()}
    draws, moments = groups["posterior"], groups["moments"]
    factors = cohort.factors.loc[list(post.subjects)].to_numpy()
    made = {"factors": factors + 0.25 * rng.standard_normal(draws["factors"].shape)}
    inclusion = {}
    for view in post.views:
        truth = cohort.loadings[view] / np.maximum(groups["preprocessing"][f"scale_{view}"].values, 1e-9)[:, None]
        truth = pd.DataFrame(truth, index=cohort.complete[view].columns).loc[list(post.features(view))].to_numpy()
        shape = draws[f"loadings_{view}"].shape
        active = (rng.random(shape) < np.where(truth != 0, 0.97, 0.05)).astype(np.int8)
        made[f"active_{view}"] = active
        made[f"loadings_{view}"] = active * (truth + 0.12 * rng.standard_normal(shape))
        made[f"intercept_{view}"] = 0.1 * rng.standard_normal(draws[f"intercept_{view}"].shape)
        made[f"noise_sd_{view}"] = 0.6 + 0.05 * rng.random(draws[f"noise_sd_{view}"].shape)
        inclusion[f"inclusion_{view}"] = active.mean(axis=(0, 1))
    covariance = np.broadcast_to(0.06 * np.array([[1, 0.4, 0], [0.4, 1, 0], [0, 0, 1]]), moments["factors_cov"].shape)
    inclusion |= {"factors_mean": factors, "factors_cov": covariance}
    groups["posterior"] = draws.assign({name: draws[name].copy(data=own) for name, own in made.items()})
    groups["moments"] = moments.assign({name: moments[name].copy(data=own) for name, own in inclusion.items()})
    steps = np.arange(1, 41)
    groups["fit"] = xr.Dataset(
        {"bound": ("iteration", -900 - 300 * np.exp(-steps / 6)), "n_factors": ("iteration", 4 - (steps > 25))},
        coords={"iteration": steps},
    )
    groups["starts"] = xr.Dataset(
        {
            "start_bound": ("start", [-905.0, -900.0, -931.5]),
            "start_n_factors": ("start", [3, 3, 4]),
            "start_match": (("start", "factor"), [[0.99, 0.97, 0.62], [1.0, 1.0, 1.0], [0.98, 0.4, 0.1]]),
        },
        coords={"factor": list(post.factor_names)},
    )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = dict(post.tree.attrs)
    return mb.Posterior(tree)


def make_clinical(post: mb.Posterior) -> pd.DataFrame:
    """Covariates that go with the first factor, with values missing."""
    rng = np.random.default_rng(2)
    first = post.factors().mean(("chain", "draw")).sel(factor="F1").to_series()
    age = (60 + 8 * first + 4 * rng.standard_normal(len(first))).where(rng.random(len(first)) > 0.1)
    stage = pd.Series(np.array(["I", "II", "III"])[np.digitize(first, [-0.5, 0.6])], index=first.index)
    return pd.DataFrame({"age": age, "stage": stage.where(rng.random(len(first)) > 0.1)})


def _draw_image(post: mb.Posterior, ax: Axes) -> Axes:
    mask = np.zeros((5, 7, 4), dtype=bool)
    mask[1:4, 1:6, 1:3] = True
    return plot.plot_loadings_image(post, "rna", "F1", mask, ax=ax)


def _draw_against(post: mb.Posterior, views: mb.MultiView, ax: Axes) -> Axes:
    strongest = mb.biomarkers(post, "rna", factors=["F1"])["feature"].iloc[0]
    return plot.plot_data_scatter(post, views, "rna", strongest, "F1", ax=ax)


def _draw_sets(post: mb.Posterior, factor: str | None, ax: Axes) -> Axes:
    names = post.features("rna")
    strong = mb.biomarkers(post, "rna", factors=["F1"])["feature"]
    sets = {"strong": list(strong[:10]), "some": list(names[:12]), "weak": list(strong[-8:])}
    return plot.plot_enrichment(enrichment(post, "rna", sets, min_size=5), factor, ax=ax)


def _make_calibration() -> Calibration:
    rng = np.random.default_rng(3)
    rows = [
        (q, level, level + shift, 0.02, 500)
        for q, shift in (("loadings", -0.04), ("noise", 0.01))
        for level in (0.5, 0.8, 0.95)
    ]
    ranks = pd.DataFrame(
        [(r, q, 0, int(rank), 99) for q in ("loadings", "noise") for r, rank in enumerate(rng.integers(0, 100, 40))],
        columns=["replicate", "quantity", "which", "rank", "n_draws"],
    )
    table = pd.DataFrame(rows, columns=["quantity", "level", "coverage", "se", "n"])
    return Calibration("vi", "", table, ranks, pd.DataFrame(), 40, 0, 0, 1.0, ())


def _make_choice() -> Choice:
    table = pd.DataFrame(
        {"n_factors": [1, 2, 3, 4], "behind": [0.4, 0.1, 0.0, 0.02], "behind_se": [0.05, 0.04, 0, 0.01]}
    )
    return Choice(table, 3, 3)


def _apart(draw: Callable[[Axes], Axes]) -> Callable[[mb.Posterior, mb.MultiView, Axes], Axes]:
    """Return the same drawing as one that is handed a posterior and views, which it does not need."""
    return lambda post, views, ax: draw(ax)


PICTURES: Mapping[str, Callable[[mb.Posterior, mb.MultiView, Axes], Axes]] = {
    "views": lambda post, views, ax: plot.plot_views(views, ax=ax),
    "variance_heatmap": lambda post, views, ax: plot.plot_variance(post, ax=ax),
    "variance_bars": lambda post, views, ax: plot.plot_variance(post, kind="bars", ax=ax),
    "variance_totals_by_group": lambda post, views, ax: plot.plot_variance(post, kind="totals", by_group=True, ax=ax),
    "factor_values": lambda post, views, ax: plot.plot_factor_values(
        post, ["F1", "F2"], by=make_clinical(post)["stage"], intervals=True, ax=ax
    ),
    "factor_values_by_number": lambda post, views, ax: plot.plot_factor_values(
        post, by=make_clinical(post)["age"], ax=ax
    ),
    "factor_violins": lambda post, views, ax: plot.plot_factor_values(
        post, ["F1"], by=post.groups().to_series(), kind="violin", ax=ax
    ),
    "factor_scatter": lambda post, views, ax: plot.plot_factor_scatter(
        post, "F1", "F2", by=make_clinical(post)["stage"], ax=ax
    ),
    "factor_correlation": lambda post, views, ax: plot.plot_factor_correlation(post, ax=ax),
    "loadings": lambda post, views, ax: plot.plot_loadings(post, "rna", "F1", n_features=8, ax=ax),
    "loadings_ranked": lambda post, views, ax: plot.plot_loadings_ranked(post, "rna", "F1", ax=ax),
    "top_features": lambda post, views, ax: plot.plot_top_features(post, "F1", n_features=10, ax=ax),
    "loadings_heatmap": lambda post, views, ax: plot.plot_loadings_heatmap(post, "meth", n_features=4, ax=ax),
    "loadings_scatter": lambda post, views, ax: plot.plot_loadings_scatter(post, "rna", "F1", "F2", ax=ax),
    "loadings_image": lambda post, views, ax: _draw_image(post, ax),
    "data_heatmap": lambda post, views, ax: plot.plot_data_heatmap(post, views, "rna", "F1", n_features=8, ax=ax),
    "data_scatter": lambda post, views, ax: _draw_against(post, views, ax),
    "data_scatter_binary": lambda post, views, ax: plot.plot_data_scatter(post, views, "ehr", "ehr_6", "F1", ax=ax),
    "sharing": lambda post, views, ax: plot.plot_sharing(post, ax=ax),
    "bound": lambda post, views, ax: plot.plot_bound(post, ax=ax),
    "starts": lambda post, views, ax: plot.plot_starts(post, ax=ax),
    "associations": lambda post, views, ax: plot.plot_associations(associate(post, make_clinical(post)), ax=ax),
    "enrichment": lambda post, views, ax: _draw_sets(post, "F1", ax),
    "enrichment_heatmap": lambda post, views, ax: _draw_sets(post, None, ax),
    "feature_profile": lambda post, views, ax: plot.plot_feature_profile(post, "rna", "rna_4", ax=ax),
    "information": lambda post, views, ax: plot.plot_information(information(post), ax=ax),
    "ranks": lambda post, views, ax: plot.plot_ranks(_make_calibration(), ax=ax),
    "coverage": lambda post, views, ax: plot.plot_coverage(_make_calibration(), ax=ax),
    "chain_ranks": lambda post, views, ax: plot.plot_chain_ranks(post, "rna", ax=ax),
    "choice": lambda post, views, ax: plot.plot_choice(_make_choice(), ax=ax),
    **{name: _apart(draw) for name, draw in RISK_PICTURES.items()},
}
PANELS: Mapping[str, Callable[[mb.Posterior], list[Axes]]] = {
    "factor": lambda post: plot.plot_factor(post, "F1", n_features=8),
    "fusion": lambda post: draw_fusion(),
}
"""Figures that make their own panels."""


def render(name: str, subject: Subject, path: Path) -> list[str]:
    """Draw one picture without text, whose look is the font's and not ours, and return the text."""
    with style.context("default"):
        if name in PANELS:
            figure = PANELS[name](subject[0])[0].figure
            plt.close(figure)
        else:
            figure = Figure(figsize=(3.2, 2.4))
            ax = figure.add_axes((0.15, 0.1, 0.75, 0.7))
            assert PICTURES[name](*subject, ax) is ax
        texts = [own.get_text() for own in figure.findobj(Text)]
        for artist in figure.findobj(lambda own: isinstance(own, Text | Legend)):
            artist.set_visible(False)
        figure.savefig(path, format="png", dpi=60, metadata={"Software": None})
    return texts


if __name__ == "__main__":
    mpl.use("Agg")
    FOLDER.mkdir(exist_ok=True)
    made = make_subject()
    for picture in (*PICTURES, *PANELS):
        render(picture, made, FOLDER / f"{picture}.png")
