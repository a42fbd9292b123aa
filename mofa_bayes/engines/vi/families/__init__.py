"""Likelihoods as quadratic bounds: one file per family, each says which bound and whose."""

from mofa_bayes.engines.vi.families.base import Family, Local
from mofa_bayes.engines.vi.families.bernoulli import Bernoulli
from mofa_bayes.engines.vi.families.categorical import Categorical
from mofa_bayes.engines.vi.families.gaussian import Gaussian
from mofa_bayes.engines.vi.families.negative_binomial import NegativeBinomial
from mofa_bayes.engines.vi.families.ordinal import Ordinal
from mofa_bayes.engines.vi.families.poisson import Poisson
from mofa_bayes.engines.vi.families.student_t import StudentT

FAMILIES: dict[str, Family] = {
    "gaussian": Gaussian(),
    "student_t": StudentT(),
    "bernoulli": Bernoulli(),
    "poisson": Poisson(),
    "negative_binomial": NegativeBinomial(),
    "ordinal": Ordinal(),
    "categorical": Categorical(),
}

__all__ = ["FAMILIES", "Family", "Local"]
