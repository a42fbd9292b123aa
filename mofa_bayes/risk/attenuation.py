"""Effects that come out too near to zero, because the engine was surer of the factors than it should be."""

import numpy as np

from mofa_bayes.errors import ModelWarning, name_some, warn
from mofa_bayes.posterior.overconfidence import estimate_attenuation
from mofa_bayes.posterior.posterior import Posterior
from mofa_bayes.risk.fitted import FittedRisk

LARGEST = 0.2
"""Of a bias in posterior sds: a 95 % interval that is right but for it holds 94 to 95 %, and 92 % at 0.5; the
estimate itself is on the low side."""


def warn_attenuated(post: Posterior, fitted: FittedRisk) -> None:
    """Warn where effects are biased by more than 0.2 of their sd for want of the loadings' uncertainty.

    See `mofa_bayes.posterior.overconfidence`, whose share is of the effect's posterior mean.
    """
    share = estimate_attenuation(post.tree)
    draws = fitted.effects_of("factors")
    bias = np.abs(draws.mean(axis=0)) * share / np.maximum(draws.std(axis=0), np.finfo(float).tiny)
    worst = bias.reshape(-1, len(share)).max(axis=0)
    found = [(name, own) for name, own, size in zip(fitted.factors, share, worst, strict=True) if size > LARGEST]
    if found:
        least, most = (f"{100 * end(own for _, own in found):.0f}" for end in (min, max))
        percent = most if least == most else f"{least} to {most}"
        warn(
            f"effects of {name_some([name for name, _ in found])} are some {percent} % too near to zero, and their "
            f"intervals too narrow: engine={post.provenance.get('engine')!r} takes loadings as nearly known, and "
            "these factors are not known well enough for that. Fit the factors with engine='gibbs' for effects that "
            "can be trusted",
            ModelWarning,
        )
