"""What is asked of a check, and whether an engine can do it on every cohort: said before any is drawn."""

import warnings
from collections.abc import Mapping
from typing import Any

from mofa_bayes.data.multiview import MultiView
from mofa_bayes.errors import FitError, ModelWarning, name_some
from mofa_bayes.fitting.engines import require_engine
from mofa_bayes.fitting.request import require_fit
from mofa_bayes.spec import FactorModel

OPTIONS = ("n_draws", "settings")
_PLACES = ("checkpoint", "folder")


def require_replicable(template: MultiView, spec: FactorModel, engine: str, options: Mapping[str, Any]) -> None:
    """Raise FitError where cohorts like a template cannot be fitted one after the other, or side by side.

    Parameters
    ----------
    template
        Of the cohorts' shape.
    spec, engine, options
        What each cohort is fitted with; see `mb.fit`.
    """
    unknown = [name for name in options if name not in OPTIONS] if isinstance(options, Mapping) else [options]
    if unknown:
        raise FitError(
            "options",
            got=name_some(repr(name)[:80] for name in unknown),
            expected=f"a mapping of {' and '.join(OPTIONS)}",
            do='Write options={"n_draws": 1000}.',
        )
    settings = options.get("settings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # of values that are not used
        require_fit(template, spec, engine, options.get("n_draws"), settings)
    for name in _PLACES:
        if getattr(settings, name, None) is not None:
            raise FitError(
                f"settings of {name}",
                got="a path, which the fits of all cohorts would share",
                expected="None",
                do=f"Leave {name} out of the settings of a check.",
            )
    require_engine(template, spec, engine, settings)
