"""What a posterior may lack, and how it says so: patients, draws, a bound, cross-fits."""

import xarray as xr

from mofa_bayes.errors import FitError


def require_patients(tree: xr.DataTree) -> None:
    """Raise FitError where the posterior was saved to be shared, without its patients."""
    if tree.attrs.get("shareable", 0):
        raise FitError(
            "factors of the patients of the fit",
            got="a posterior that was saved to be shared, without them",
            expected="a posterior with its patients",
            do="Load what post.save(path) wrote, or project new patients: post.project(views).",
        )


def require_draws(tree: xr.DataTree, what: str, *, has_uncertainty: bool) -> None:
    """Raise FitError where there are means alone, which `what` cannot be computed from."""
    if not has_uncertainty:
        raise FitError(
            f"{what} of a posterior",
            got=f"one of {tree.attrs['engine']!r}, whose file holds means and no uncertainty",
            expected="a posterior with draws",
            do="Fit the data here with mb.fit; post.factors() and post.loadings(view) give the means.",
        )


def require_bound(tree: xr.DataTree, what: str) -> None:
    """Raise FitError where the engine climbed no bound."""
    if "bound" not in tree.children["fit"]:
        raise FitError(
            f"{what} of a posterior",
            got=f"one of engine {tree.attrs['engine']!r}, which has none",
            expected="a posterior of engine 'vi'",
            do='Look at post.tree["fit"] for what this engine reports.',
        )


def require_cross_fits(tree: xr.DataTree) -> None:
    """Raise FitError where `mb.cross_fit` has not looked at the posterior."""
    if "cross_fits" not in tree.children:
        raise FitError(
            "inflation of a posterior",
            got="one that has not been cross-fitted",
            expected="one that mb.cross_fit returned",
            do="Write post = mb.cross_fit(post, views).",
        )
