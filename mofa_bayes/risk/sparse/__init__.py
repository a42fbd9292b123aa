"""Sparse Bayesian regression of an outcome on very many features, by variational inference in seconds."""

from mofa_bayes.risk.sparse.likelihoods import Bernoulli, Likelihood, PiecewiseExponential, likelihood_of
from mofa_bayes.risk.sparse.regression import SparseFit, fit_sparse

__all__ = ["Bernoulli", "Likelihood", "PiecewiseExponential", "SparseFit", "fit_sparse", "likelihood_of"]
