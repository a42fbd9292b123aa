"""Blocked Gibbs sampling of the exact posterior, at widths where NUTS cannot go.

Read in this order: `state` (one point of a chain), `augment` and `polya_gamma` (every likelihood as a Gaussian one, by
latent variables), `rows` (factors given loadings), `loadings` and `above` (loadings given factors, and what stands
above them), `moves` and `walk` (along the likelihood's own invariance), `sweep` (one of each), `start` (from vi),
`draws` (where draws are kept), `chain`, `running` and `sample` (the loops).
"""
