"""What is asked of an engine, and whether it can be done: everything is checked here, before anything is computed."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.engines.sampling import LEAST_DRAWS, Sampling
from mofa_bayes.engines.vi.memory import estimate_memory
from mofa_bayes.engines.vi.settings import Ascent
from mofa_bayes.errors import FitError, IgnoredWarning, ModelWarning, name_some, warn
from mofa_bayes.spec import FactorModel
from mofa_bayes.spec.model import is_whole

SETTINGS: dict[str, type[Ascent | Sampling]] = {
    "vi": Ascent, "spectral": Ascent, "gibbs": Sampling, "nuts": Sampling,
}  # fmt: skip
N_DRAWS = 500
_UNUSED = {
    "gibbs": ("sampler", "target_accept"),
    "nuts": ("thin", "max_seconds", "max_memory", "folder"),
}
_LARGE_COUNT = 200
_FEW_DRAWS = 50
_LEAST_DRAWS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """A fit that has been checked: arguments as in `fit`, and what its checkpoints belong to."""

    views: MultiView
    spec: FactorModel
    settings: Ascent | Sampling | None
    n_draws: int | None
    callback: Callable[[int, float], object] | None
    progress: bool
    fingerprint: str

    def __post_init__(self) -> None:
        if self.n_draws is not None:
            object.__setattr__(self, "n_draws", int(self.n_draws))

    @property
    def ascent(self) -> Ascent:
        """Settings of vi."""
        return self.settings if isinstance(self.settings, Ascent) else Ascent()

    @property
    def sampling(self) -> Sampling:
        """Settings of a sampling engine, with the number of draws that was asked for."""
        own = self.settings if isinstance(self.settings, Sampling) else Sampling()
        return own if self.n_draws is None else replace(own, n_draws=self.n_draws)


def require_fit(
    views: MultiView, spec: FactorModel, engine: str, n_draws: int | None, settings: Ascent | Sampling | None
) -> None:
    """Raise FitError, or warn, where what is asked for cannot or should not be done; arguments as in `fit`."""
    if not isinstance(views, MultiView):
        raise FitError(
            "views", got=type(views).__name__, expected="a MultiView", do="Build it with MultiView.from_frames(...)."
        )
    if not isinstance(spec, FactorModel):
        raise FitError("spec", got=type(spec).__name__, expected="a FactorModel", do="Write FactorModel(n_factors=10).")
    if engine not in SETTINGS:
        raise FitError("engine", got=repr(engine), expected=f"one of {', '.join(SETTINGS)}", do="Name one of these.")
    own = SETTINGS[engine]
    if settings is not None and not isinstance(settings, own):
        example = "max_iterations=500" if own is Ascent else "n_draws=500"
        raise FitError(
            f"settings of engine {engine!r}",
            got=type(settings).__name__,
            expected=f"an {own.__name__}" if own is Ascent else f"a {own.__name__}",
            do=f"Write {own.__name__}({example}).",
        )
    least = _LEAST_DRAWS if own is Ascent else LEAST_DRAWS
    if n_draws is not None and (not is_whole(n_draws) or n_draws < least):
        raise FitError("n_draws", got=repr(n_draws), expected=f"a whole number from {least} up", do="500 is usual.")
    unknown = [view for view in spec.views if view not in views.names]
    if unknown:
        raise FitError(
            "views of the model",
            got=f"views that the data do not have ({name_some(unknown)})",
            expected=f"names among {', '.join(views.names)}",
            do="Correct the names in FactorModel(views=...).",
        )
    if spec.n_factors >= views.n_subjects:
        raise FitError(
            "n_factors",
            got=f"{spec.n_factors} factors for {views.n_subjects} subjects",
            expected="fewer factors than subjects",
            do=f"Ask for at most {max(views.n_subjects // 4, 1)} factors with this cohort.",
        )
    _require_seen(views)
    if engine == "vi":
        _warn_large_counts(views)
        _require_memory(views, spec, n_draws or N_DRAWS, settings if isinstance(settings, Ascent) else Ascent())


def warn_unused(engine: str, settings: Ascent | Sampling | None, callback: object) -> None:
    """Warn of what was given and an engine has no use for."""
    unused = [] if callback is None or engine == "vi" else ["callback"]
    for name in _UNUSED.get(engine, ()):
        own = getattr(settings, name) if isinstance(settings, Sampling) else getattr(Sampling(), name)
        unused += [] if own == getattr(Sampling(), name) else [name]
    for name in unused:
        warn(f"engine {engine!r} does not use {name}", IgnoredWarning)


def _require_seen(views: MultiView) -> None:
    """Raise FitError when a feature has no value at all."""
    for view in views.names:
        unseen = np.asarray(views.features(view))[np.isnan(views[view].values).all(axis=0)]
        if len(unseen):
            raise FitError(
                f"view {view!r}",
                got=f"{len(unseen)} features without any observed value ({name_some(unseen)})",
                expected="at least one observed value per feature",
                do="Leave them out: views.drop_uninformative().",
            )


def _require_memory(views: MultiView, spec: FactorModel, n_draws: int, settings: Ascent) -> None:
    """Raise FitError where a fit is expected to need more memory than it may take."""
    needs = estimate_memory(views, spec, n_draws, settings.n_threads or 2)
    total = sum(needs.values())
    if total > settings.max_memory:
        parts = ", ".join(f"{what} {size / 1e6:,.0f} MB" for what, size in needs.items())
        room = settings.max_memory - total + needs["draws"]
        fitting = int(n_draws * room / needs["draws"])
        raise FitError(
            "max_memory",
            got=f"{settings.max_memory / 1e6:,.0f} MB, for a fit that needs about {total / 1e6:,.0f} MB ({parts})",
            expected="room for what the fit needs beside its views",
            do=f"Take n_draws={fitting}."
            if fitting >= _FEW_DRAWS
            else "Take fewer factors or features, or more memory.",
        )


def _warn_large_counts(views: MultiView) -> None:
    """Warn of counts in the hundreds: the bounds of their likelihoods are so loose there that they hardly move."""
    for view in views.names:
        is_count = np.isin(views.likelihoods(view).values, ("poisson", "negative_binomial"))
        usual = float(np.median(np.nanmean(views[view].values[:, is_count], axis=0))) if is_count.any() else 0.0
        if usual > _LARGE_COUNT:
            warn(
                f"view {view!r}: its counts are {usual:.0f} on average, where the bounds of count likelihoods are too "
                "loose to climb; log1p of them as gaussian columns will do better",
                ModelWarning,
            )
