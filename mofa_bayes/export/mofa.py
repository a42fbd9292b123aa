"""The MOFA HDF5 file: a posterior's means in the form that mofax and MOFA2 read."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mofa_bayes.atomic import replacing
from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import DataError
from mofa_bayes.export.means import Array, ViewMeans, read_factors, read_view
from mofa_bayes.export.mofa_names import MofaView, rename_groups, split_views
from mofa_bayes.posterior import Posterior
from mofa_bayes.spec import ARD, ARDFactors, FactorModel, SpikeSlab, SpikeSlabFactors

if TYPE_CHECKING:
    import h5py

PRIVATE = "mofa_bayes"
"""Top-level group of what the format has no place for; readers of MOFA pass over it."""

_COMPRESSED = {"compression": "gzip", "compression_opts": 4}


def export_mofa(
    post: Posterior, path: str | Path, views: MultiView, *, rename: Mapping[str, str] | None = None
) -> None:
    """Write the file of a trained MOFA model, which mofax (Python) and MOFA2 (R) open.

    Parameters
    ----------
    post
        A posterior of any engine. The format holds means; standard deviations go to a group of our own.
    path
        Usually ends in `.hdf5`.
    views
        The data of the fit, which the file holds too: without them mofax reports wrong shapes, and nothing could say
        what variance is explained. The file is patient-level data.
    rename
        Names of views and groups in the file, for those with "/" or letters that are not ASCII, which R and HDF5 cannot
        read.

    Notes
    -----
    Real-valued data are on the model's scale (centred and scaled as in the fit) less intercepts and effects of
    covariates, so that `data` is approximated by Z W'; `data` plus `intercepts` is the model's scale again. Other data
    are as they came, their intercepts on the scale of eta. MOFA has one likelihood per view: a view that mixes them
    becomes `<view>_<likelihood>` for each, and student_t counts as gaussian, negative_binomial and ordinal as poisson,
    categorical as bernoulli (the group `mofa_bayes` keeps the true names).

    `variance_explained` of gaussian views is MOFA's, 100 (1 - |Y - Z W'|^2 / |Y|^2) over observed entries by group; of
    others it is the share on the scale of eta, as in `variance_explained` of this package, from means.

    Raises
    ------
    DataError
        `views` are not those of the fit, or a name cannot be read by the format's readers.
    FileError
        The file cannot be written there; what was there is untouched.
    """
    if not isinstance(views, MultiView) or views.fingerprint != post.tree.attrs["data_fingerprint"]:
        raise DataError(
            "views",
            got="other data than the posterior was fitted to" if isinstance(views, MultiView) else type(views).__name__,
            expected="the MultiView of the fit, which the file holds beside the posterior",
            do="Pass what was given to mb.fit.",
        )
    import h5py

    content = _Content.read(post, views, rename or {})
    with replacing(path) as part, h5py.File(part, "w") as file:
        _write_names(file, content)
        _write_data(file, content)
        _write_options(file, content)
        _write_private(file, content)


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    """What the file holds: rows (N,) by group, factors (N, K), and by our view its means and centred data (N, D)."""

    post: Posterior
    views: tuple[MofaView, ...]
    rows: Mapping[str, np.ndarray]
    group_of: np.ndarray
    factors: Array
    factors_sd: Array
    means: Mapping[str, ViewMeans]
    data: Mapping[str, Array]

    @classmethod
    def read(cls, post: Posterior, views: MultiView, rename: Mapping[str, str]) -> "_Content":
        factors, factors_sd = read_factors(post)
        views = views.sel(post.subjects)
        labels = post.groups().values.astype(np.str_)
        means = {view: read_view(post, view) for view in post.views}
        known = [str(name) for name in post.tree.children["moments"].to_dataset()["group"].values]
        group_of = np.array([known.index(name) if name in known else 0 for name in labels])
        covariates = np.zeros((len(labels), 0))
        if views.covariates is not None and next(iter(means.values())).effects.size:
            covariates = post.preprocessing.standardise(views.covariates.values)
        return cls(
            post=post,
            views=split_views(post, rename),
            rows={name: np.flatnonzero(labels == own) for own, name in rename_groups(post, rename).items()},
            group_of=group_of,
            factors=factors,
            factors_sd=factors_sd,
            means=means,
            data={view: _centre(post, views, view, means[view], group_of, covariates) for view in post.views},
        )


def _centre(
    post: Posterior, views: MultiView, view: str, means: ViewMeans, group_of: np.ndarray, covariates: Array
) -> Array:
    """Values of a view in the order of the posterior's features, less what is known of real-valued ones, (N, D)."""
    features = list(post.features(view))
    values = views[view].sel({f"feature_{view}": features}).values.astype(np.float64)
    labels = None if views.groups is None else views.groups.values
    scaled = post.preprocessing.subset(view, features).apply(view, values, labels)
    known = means.intercepts[np.minimum(group_of, len(means.intercepts) - 1)]
    if len(means.effects):
        known = known + covariates @ means.effects
    _, is_real = post.latent_variance(view)
    return np.where(is_real, scaled - known, values)


def _write_names(file: "h5py.File", content: _Content) -> None:
    subjects = np.asarray(content.post.subjects)
    _write_text(file, "groups/groups", list(content.rows))
    _write_text(file, "views/views", [view.name for view in content.views])
    for group, rows in content.rows.items():
        _write_text(file, f"samples/{group}", subjects[rows])
    for view in content.views:
        _write_text(file, f"features/{view.name}", np.asarray(content.post.features(view.source))[view.columns])


def _write_data(file: "h5py.File", content: _Content) -> None:
    for view in content.views:
        means = content.means[view.source]
        loadings = means.loadings[view.columns]
        file.create_dataset(f"expectations/W/{view.name}", data=loadings.T, **_COMPRESSED)
        for group, rows in content.rows.items():
            own = content.data[view.source][np.ix_(rows, view.columns)]
            file.create_dataset(f"data/{view.name}/{group}", data=own, **_COMPRESSED)
            intercepts = means.intercepts[min(content.group_of[rows[0]], len(means.intercepts) - 1), view.columns]
            file.create_dataset(f"intercepts/{view.name}/{group}", data=intercepts)
    for group, rows in content.rows.items():
        file.create_dataset(f"expectations/Z/{group}", data=content.factors[rows].T, **_COMPRESSED)
        explained = [_explain(content, view, rows) for view in content.views]
        per_factor, total = (np.stack([own[i] for own in explained]) for i in (0, 1))
        file.create_dataset(f"variance_explained/r2_per_factor/{group}", data=per_factor)
        file.create_dataset(f"variance_explained/r2_total/{group}", data=total)


def _explain(content: _Content, view: MofaView, rows: np.ndarray) -> tuple[Array, np.floating]:
    """Variance of a view that each factor alone (K,) and all together explain in some rows, in percent."""
    z, w = content.factors[rows], content.means[view.source].loadings[view.columns]
    if view.likelihood == "gaussian":
        y = content.data[view.source][np.ix_(rows, view.columns)]
        return explain_gaussian(y, z, w)
    latent, _ = content.post.latent_variance(view.source)
    parts = (w.T @ w) * np.atleast_2d(np.cov(z.T, ddof=0))
    whole = parts.sum() + latent[view.columns].sum()
    return 100 * np.diagonal(parts) / whole, 100 * parts.sum() / whole


def explain_gaussian(y: Array, z: Array, w: Array) -> tuple[Array, np.floating]:
    """MOFA's variance explained of y (N, D), NaN where missing, by each column of z (N, K) and by all, in percent.

    100 (1 - sum (y - z w')^2 / sum y^2) over observed entries; NaN where there are none.
    """
    seen = ~np.isnan(y)
    y = np.where(seen, y, 0.0)
    # |y - zw'|^2 = |y|^2 - 2 y.zw' + |zw'|^2: no array of the data's size is made for each factor.
    cross = np.einsum("nk,nk->k", z, y @ w)
    square = np.einsum("nk,nk->k", np.square(z), seen @ np.square(w))
    total = np.square(y).sum()
    left = np.square(y - np.where(seen, z @ w.T, 0.0)).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * (2 * cross - square) / total, 100 * (1 - left / total)


def _write_options(file: "h5py.File", content: _Content) -> None:
    post = content.post
    file.create_dataset("model_options/likelihoods", data=np.array([v.likelihood for v in content.views], dtype="S"))
    options = _describe_priors(post.spec, post.views)
    for name, value in options.items():
        file.create_dataset(f"model_options/{name}", data=np.bytes_(str(value)))
    file["model_options/ard_weights"].attrs["names"] = np.array(["likelihoods", *options], dtype="S")
    bound = post.bound.values if "bound" in post.tree.children["fit"] else np.array([np.nan])
    seed = str(post.provenance.get("seed", ""))
    numbers = {"maxiter": len(bound), "freqELBO": 1, "start_elbo": 1, "gpu_mode": 0, "stochastic": 0}
    numbers["seed"] = int(seed) if seed.isdigit() else 0
    file.create_dataset("training_opts", data=np.array(list(numbers.values()), dtype=np.float64))
    file["training_opts"].attrs["names"] = np.array(list(numbers), dtype="S")
    seconds = float(str(post.provenance.get("seconds", 0.0)))
    file.create_dataset("training_stats/elbo", data=bound)
    file.create_dataset("training_stats/number_factors", data=np.full(len(bound), len(post.factor_names), np.float64))
    file.create_dataset("training_stats/time", data=np.full(len(bound), seconds / max(len(bound), 1)))


def _describe_priors(spec: FactorModel, views: tuple[str, ...]) -> dict[str, bool]:
    priors = [spec.loadings_of(view) for view in views]
    return {
        "spikeslab_factors": isinstance(spec.factors, SpikeSlabFactors),
        "spikeslab_weights": all(isinstance(prior, SpikeSlab) for prior in priors),
        "ard_factors": isinstance(spec.factors, ARDFactors),
        "ard_weights": all(isinstance(prior, SpikeSlab | ARD) for prior in priors),
    }


def _write_private(file: "h5py.File", content: _Content) -> None:
    """Write what MOFA's schema lacks: standard deviations, centres and scales, likelihoods, where it comes from."""
    own, post = file.create_group(PRIVATE), content.post
    own.attrs["version"] = version("mofa-bayes")
    own.attrs.update({name: str(post.tree.attrs[name]) for name in ("engine", "fingerprint", "spec")})
    for view in content.views:
        means = content.means[view.source]
        chosen = post.preprocessing.subset(view.source, post.features(view.source))
        kinds = post.likelihoods(view.source).values[view.columns]
        own.create_dataset(f"loadings_sd/{view.name}", data=means.loadings_sd[view.columns].T, **_COMPRESSED)
        own.create_dataset(f"center/{view.name}", data=chosen.center(view.source)[view.columns])
        own.create_dataset(f"scale/{view.name}", data=chosen.scale(view.source)[view.columns])
        _write_text(own, f"likelihoods/{view.name}", kinds)
    for group, rows in content.rows.items():
        own.create_dataset(f"factors_sd/{group}", data=content.factors_sd[rows].T, **_COMPRESSED)


def _write_text(file: "h5py.Group", name: str, values: object) -> None:
    import h5py

    file.create_dataset(name, data=np.asarray(values, dtype=object), dtype=h5py.string_dtype("utf-8"))
