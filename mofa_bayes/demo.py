"""The demo: a real cohort from views to a risk score, with every result written to a folder."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mofa_bayes.atomic import make_folder
from mofa_bayes.data.cohorts import load_transbig
from mofa_bayes.explain import biomarkers, sharing, summarise, variance_explained
from mofa_bayes.export import write_csv
from mofa_bayes.fitting import fit
from mofa_bayes.plot import plot_factor, plot_risk, plot_variance, save_figure
from mofa_bayes.posterior import Posterior
from mofa_bayes.risk import RiskModel, Scores, Survival
from mofa_bayes.spec import FactorModel
from mofa_bayes.watch import is_watched

HORIZONS = (3.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DemoResult:
    """What the demo made: the posterior, the effects on risk, the scores, and the files it wrote."""

    post: Posterior
    effects: pd.DataFrame
    scores: Scores
    files: tuple[Path, ...]


def run_demo(out: str | Path, *, seed: int = 0, progress: bool = True) -> DemoResult:
    """Fit TRANSBIG, model time to distant metastasis, and write everything into a folder.

    Parameters
    ----------
    out
        Folder to write into; made when absent. Files of an earlier run are replaced.
    seed
        Seed of the fit and of the risk model.
    progress
        Show progress on a terminal.

    Raises
    ------
    FileError
        The folder cannot be made or written.
    MissingExtraError
        scikit-survival, which ships the cohort, is not installed.
    """
    folder = make_folder(Path(out))
    progress = progress and is_watched()
    views, clinical = load_transbig()
    post = fit(views, FactorModel(n_factors=8), seed=seed, progress=progress)
    risk = RiskModel(Survival("years", "metastasis")).fit(post, clinical, seed=seed, progress=progress)
    scores = risk.predict(post, times=HORIZONS)
    post.save(folder / "posterior.nc")
    scores.to_parquet(folder / "scores.parquet")
    write_csv(biomarkers(post, fdr=0.05), folder / "biomarkers.csv")
    shared = int(variance_explained(post)["by_factor"].mean(("chain", "draw")).min("view").argmax("factor"))
    save_figure(plot_variance(post), folder / "variance_explained.png")
    save_figure(plot_factor(post, post.factor_names[shared])[0], folder / "loadings.png")
    save_figure(plot_risk(scores, time=HORIZONS[1]), folder / "risk.png")
    names = ("posterior.nc", "scores.parquet", "biomarkers.csv", "variance_explained.png", "loadings.png", "risk.png")
    return DemoResult(post, risk.effects(), scores, tuple(folder / name for name in names))


def tabulate_factors(post: Posterior) -> pd.DataFrame:
    """Describe each factor in a row: what it explains in each view (%), where it is active, its surest feature."""
    shares = summarise(variance_explained(post)["by_factor"]).pivot_table(index="factor", columns="view", values="mean")
    table = (shares.loc[list(post.factor_names), list(post.views)] * 100).round(1)
    table["active in"] = sharing(post)["views"]
    surest = biomarkers(post).groupby("factor", sort=False).head(1).set_index("factor")
    table["strongest feature"] = surest["feature"]
    return table
