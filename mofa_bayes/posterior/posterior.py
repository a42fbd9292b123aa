"""Posterior: draws and moments of a fitted factor model, with where they came from; never the raw data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from mofa_bayes.card import render_card
from mofa_bayes.data.likelihoods import REAL
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.data.preprocess import Preprocessing
from mofa_bayes.errors import DataError
from mofa_bayes.posterior.drawn_moments import DrawnMoments
from mofa_bayes.posterior.factor_draws import FactorDraws, draw_new, take_draws
from mofa_bayes.posterior.files import read_tree, write_tree
from mofa_bayes.posterior.impute import impute_views, undo_preparation
from mofa_bayes.posterior.lacking import require_bound, require_cross_fits, require_draws, require_patients
from mofa_bayes.posterior.moments import FactorMoments
from mofa_bayes.posterior.project import as_views, prepare_new, project_each, project_views
from mofa_bayes.posterior.project_draws import is_of_draws
from mofa_bayes.posterior.share import forget_patients
from mofa_bayes.seeds import make_rng
from mofa_bayes.spec import FactorModel
from mofa_bayes.spec.model import is_whole

_LEAST_DRAWS = 2


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Posterior:
    """What was learned. Made by `mofa_bayes.fit`, read back by `mofa_bayes.load`.

    Attributes
    ----------
    tree
        DataTree with groups `posterior` (draws: `factors` (chain, draw, subject, factor), and by view `loadings_`,
        `intercept_`, `ard_`; `noise_sd_` where there is noise, `active_` under a spike-slab prior, `effects_` where
        there are covariates; `factor_precision`, or `factors_active` and `factor_inclusion`, where the prior on factors
        has them), `moments`, `preprocessing`, `fit` and, of
        engine vi, `starts`; its attributes are the provenance. Intercepts and noise have the dim `group` where the
        cohort has groups. Works with ArviZ: `az.summary(post.tree, var_names=["ard_rna"])`.

    Notes
    -----
    Loadings, intercepts and noise are on the model's scale: each real-valued feature is centred and divided by the
    scale stored in `preprocessing`, so a loading is in standard deviations of the feature (with `scale="feature"`) per
    standard deviation of the factor. Those of other features are on the scale of eta: log-odds (bernoulli), log rates
    (negative_binomial), softplus units (poisson), probits (ordinal).
    """

    tree: xr.DataTree

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(json.loads(self.tree.attrs["views"]))

    @property
    def spec(self) -> FactorModel:
        """The model that was fitted."""
        return FactorModel.from_toml(self.tree.attrs["spec"])

    @property
    def subjects(self) -> tuple[str, ...]:
        """Identifiers of the subjects of the fit; none in a posterior that was saved to be shared."""
        if self.is_shareable:
            return ()
        return tuple(str(subject) for subject in self._group("posterior")["subject"].values)

    @property
    def is_shareable(self) -> bool:
        """Whether nothing in it belongs to a patient: `save(..., shareable=True)` wrote it."""
        return bool(self.tree.attrs.get("shareable", 0))

    @property
    def n_subjects(self) -> int:
        """Number of subjects of the fit."""
        return int(self.tree.attrs["n_subjects"]) if self.is_shareable else len(self.subjects)

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors, by the variance they explain."""
        return tuple(str(factor) for factor in self._group("posterior")["factor"].values)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the data and the model: ties scores to what they were computed from."""
        return str(self.tree.attrs["fingerprint"])

    @property
    def provenance(self) -> dict[str, object]:
        """Engine, seed, versions, data fingerprint, time: everything the tree's attributes say."""
        return {str(name): value for name, value in self.tree.attrs.items()}

    @property
    def is_aligned(self) -> bool:
        """Whether draws of factors and loadings can be averaged."""
        return bool(self.tree.attrs["aligned"])

    @property
    def has_uncertainty(self) -> bool:
        """Whether draws say how sure anything is; a file of another package may hold means alone."""
        return bool(self.tree.attrs.get("has_uncertainty", 1))

    @property
    def bound(self) -> xr.DataArray:
        """Evidence lower bound after each iteration, in nats, constants included (engine vi).

        Raises
        ------
        FitError
            The engine has no bound.
        """
        require_bound(self.tree, "bound")
        return self._group("fit")["bound"]

    @property
    def preprocessing(self) -> Preprocessing:
        """Centres and scales of the fit."""
        return Preprocessing(dataset=self._group("preprocessing"))

    @property
    def starts(self) -> pd.DataFrame:
        """How far the starts agree (engine vi): one row per start, the highest first.

        `bound`; `n_factors`; and for each factor of the start that was kept its largest |correlation| with a factor of
        this one: a factor that only some starts find is not to be trusted.
        """
        require_bound(self.tree, "starts")
        own = self._group("starts")
        match = own["start_match"]
        table = pd.DataFrame(match.values, columns=[str(name) for name in match["factor"].values])
        table.insert(0, "bound", own["start_bound"].values)
        table.insert(1, "n_factors", own["start_n_factors"].values)
        return table.sort_values("bound", ascending=False)

    @property
    def inflation(self) -> pd.DataFrame:
        """How much wider `mb.cross_fit` makes intervals of new patients' factors: views seen x factors, ratios of sd.

        Raises
        ------
        FitError
            The posterior has not been cross-fitted.
        """
        require_cross_fits(self.tree)
        table = self._group("cross_fits")["inflation"].to_pandas()
        return pd.DataFrame(table)

    def factors(self) -> xr.DataArray:
        """Draws of the factors, dims (chain, draw, subject, factor).

        Raises
        ------
        FitError
            The posterior was saved to be shared, without its patients; so do all methods that tell of them.
        """
        require_patients(self.tree)
        return self._group("posterior")["factors"]

    def loadings(self, view: str) -> xr.DataArray:
        """Draws of a view's loadings, dims (chain, draw, feature_<view>, factor), on the model's scale."""
        return self._group("posterior")[f"loadings_{self._require(view)}"]

    def intercepts(self, view: str) -> xr.DataArray:
        """Draws of a view's intercepts, dims (chain, draw, [group,] feature_<view>), on the model's scale."""
        return self._group("posterior")[f"intercept_{self._require(view)}"]

    def noise_sd(self, view: str) -> xr.DataArray | None:
        """Draws of the noise of a view's gaussian and student_t features, on the model's scale, or None."""
        return self._group("posterior").get(f"noise_sd_{self._require(view)}")

    def active(self, view: str) -> xr.DataArray | None:
        """Draws of which loadings are not zero, dims (chain, draw, feature_<view>, factor); None for dense priors."""
        return self._group("posterior").get(f"active_{self._require(view)}")

    def features(self, view: str) -> tuple[str, ...]:
        """Names of a view's features."""
        return tuple(str(name) for name in self._group("posterior")[f"feature_{self._require(view)}"].values)

    def likelihoods(self, view: str) -> xr.DataArray:
        """Likelihood of each feature of a view."""
        return self._group("moments")[f"likelihood_{self._require(view)}"]

    def effects(self, view: str) -> xr.DataArray | None:
        """Draws of the effects of covariates, dims (chain, draw, covariate, feature_<view>), per standard deviation."""
        return self._group("posterior").get(f"effects_{self._require(view)}")

    def groups(self) -> xr.DataArray:
        """Group of each subject of the fit, dims (subject,); all the same where there were none."""
        require_patients(self.tree)
        moments = self._group("moments")
        if "group_of" in moments:
            return moments["group_of"]
        return xr.full_like(moments["pattern_of"], moments["group"].values[0], dtype=object)

    def latent_variance(self, view: str) -> tuple[np.ndarray, np.ndarray]:
        """Variance of each feature's likelihood on the scale of eta, of unit noise where there is noise; and where."""
        kinds = self.likelihoods(view).values
        return self._group("moments")[f"latent_variance_{view}"].values, np.isin(kinds, REAL)

    def has_view(self, view: str) -> xr.DataArray:
        """Say which subjects of the fit had a view, dims (subject,)."""
        require_patients(self.tree)
        return self._group("moments")[f"observed_{self._require(view)}"]

    def factor_moments(self) -> FactorMoments:
        """Mean and covariance of each subject's factors."""
        self.require_uncertainty("moments of factors")
        require_patients(self.tree)
        return FactorMoments.from_dataset(self._group("moments"))

    def project(self, new: MultiView | Mapping[str, pd.DataFrame]) -> FactorMoments:
        """Infer the factors of new subjects, whatever views and entries they miss.

        Parameters
        ----------
        new
            Views, or one table per view, on the scale of the data: the fit's centres and scales are applied. Features
            are matched by name; absent ones count as missing.

        Returns
        -------
        FactorMoments
            Gaussian factors per subject. Under vi and spectral their covariance takes loadings as the fit found them,
            and is too small where features outnumber the subjects of the fit, unless `mb.cross_fit` has looked at
            the posterior. Draws of gibbs and nuts hold that error already.

        Raises
        ------
        DataError
            No view, or no feature of a view, is one the model knows.
        """
        self.require_uncertainty("projection")
        return project_views(self.tree, new)

    def project_draws(self, new: MultiView | Mapping[str, pd.DataFrame], *, n_draws: int = 100) -> DrawnMoments:
        """Infer the factors of subjects, of the fit or new ones, under each of some joint draws of everything else.

        For `RiskModel.fit`, which then weighs the draws by how well the outcome goes with them, and for predictions
        from that fit.

        Parameters
        ----------
        new
            As in `project`.
        n_draws
            How many draws, evenly spaced over chains.

        Returns
        -------
        DrawnMoments
            Exact given the draw where features are gaussian, by the bounds of vi otherwise.

        Raises
        ------
        DataError
            No view, or no feature of a view, is one the model knows; or fewer than two draws are asked for.
        """
        if not is_whole(n_draws) or n_draws < _LEAST_DRAWS:
            raise DataError("n_draws", got=repr(n_draws), expected="a whole number from 2 up", do="100 is usual.")
        return project_each(self.tree, new, int(n_draws))

    def impute(
        self,
        views: MultiView | Mapping[str, pd.DataFrame],
        *,
        level: float = 0.95,
        seed: int | np.random.Generator = 0,
    ) -> xr.Dataset:
        """Fill the missing entries of views, with intervals.

        Parameters
        ----------
        views
            The views of the fit, or of new subjects.
        level
            Probability that each interval holds.
        seed
            Seed of the draws of factors.

        Returns
        -------
        Dataset with `mean_<view>`, `lower_<view>` and `upper_<view>` (subject, feature_<view>) on the scale of the
        data. A bernoulli entry gets its probability of 1. Observed entries are returned as they are. Where views were
        prepared (`mb.prepare`) the steps are undone: bounds of intervals keep their meaning, and `mean_<view>` is
        the value whose prepared value is the mean, for a bent scale nearer to the median.
        """
        self.require_uncertainty("imputation")
        measured = as_views(self.tree, views)
        views = prepare_new(self.tree, measured)
        is_same = views.fingerprint == self.tree.attrs["data_fingerprint"] and not self.is_shareable
        rng = make_rng(seed)
        factors: FactorMoments | FactorDraws
        if is_of_draws(self.tree):
            factors = take_draws(self.tree, views) if is_same else draw_new(self.tree, views, rng)
        else:
            moments = self.factor_moments().sel(views.subjects) if is_same else self.project(views)
            factors = moments.given_loadings or moments  # what turns factors turns loadings back, and no entry changes
        filled = impute_views(self.tree, views, factors, level=level, rng=rng)
        return filled if views.preparation is None else undo_preparation(filled, views, measured)

    def with_log_likelihood(self, views: MultiView) -> "Posterior":
        """Return the posterior with a group `log_likelihood` in its tree, for `az.loo(post.tree)`.

        Parameters
        ----------
        views
            The data of the fit.

        Returns
        -------
        Posterior
            `tree["log_likelihood"]` holds `subject_density` (chain, draw, subject): the log density of each subject's
            observed entries on the data's own scale, the factors integrated out (exactly where all features are
            gaussian, by Laplace's method otherwise; see `posterior/diagnose/pointwise.py`). Leaving out a subject
            predicts it as a new one. It is patient-level data.

        Raises
        ------
        DataError
            `views` are not those of the fit.
        FitError
            Factors may be zero, so that no closed form integrates them out, or there are means alone.
        """
        from mofa_bayes.posterior.diagnose.pointwise import add_log_likelihood

        self.require_uncertainty("log likelihood")
        return Posterior(add_log_likelihood(self, views))

    def save(self, path: str | Path, *, shareable: bool = False) -> None:
        """Write to a NetCDF file, atomically.

        Parameters
        ----------
        path
            Where to.
        shareable
            Leave out all that belongs to a patient: identifiers, groups, and factors with their moments. What is left
            projects and imputes new patients as before, and tells of loadings, but not of the cohort's factors.
            Otherwise these are in the file; values of views never are.

        Raises
        ------
        FileError
            The place cannot be written; what was there before is untouched.
        FitError
            It cannot be shared: a feature was seen in fewer than five patients, who would show through.
        """
        tree = forget_patients(self.tree) if shareable and not self.is_shareable else self.tree
        write_tree(tree, Path(path))

    def summary(self) -> pd.DataFrame:
        """Describe the fit: one row per view. Holds no patient's data."""
        rows = []
        counts = json.loads(self.tree.attrs["n_subjects_of_views"]) if self.is_shareable else {}
        counts = counts or {view: int(self.has_view(view).sum()) for view in self.views}
        for view in self.views:
            kinds = pd.Series(self.likelihoods(view).values).value_counts()
            text = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
            rows.append((view, len(self.features(view)), text, counts[view]))
        return pd.DataFrame(rows, columns=["view", "n_features", "likelihoods", "n_subjects"]).set_index("view")

    def __repr__(self) -> str:
        sizes = self._group("posterior").sizes
        return (
            f"<Posterior ({self.tree.attrs['engine']}): {sizes['factor']} factors, {self.n_subjects} subjects, "
            f"{sizes['chain'] * sizes['draw']} draws; views: {', '.join(self.views)}>"
        )

    def _repr_html_(self) -> str:
        return render_card(repr(self), self.summary())

    def require_uncertainty(self, what: str) -> None:
        """Raise FitError where the posterior holds means alone, which `what` cannot be computed from."""
        require_draws(self.tree, what, has_uncertainty=self.has_uncertainty)

    def _group(self, name: str) -> xr.Dataset:
        return self.tree.children[name].to_dataset()

    def _require(self, view: str) -> str:
        if view not in self.views:
            raise DataError("view", got=repr(view), expected=f"one of {', '.join(self.views)}", do="Use one of these.")
        return view


def load(path: str | Path) -> Posterior:
    """Read a posterior that `Posterior.save` wrote.

    Raises
    ------
    FileError
        The file is absent, damaged, foreign, or from a later version of this package.
    """
    return Posterior(read_tree(Path(path)))
