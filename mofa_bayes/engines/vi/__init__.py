"""Structured mean-field variational inference by coordinate ascent, over blocks of rows.

Read in this order: `layout` (the data as blocks; `known` and `gaps` beside it), `families` (likelihoods as quadratic
bounds), `kernels` (compiled arithmetic), `rows` (q(z) and its sums), `globals` and `priors` (q of loadings, noise and
what stands above; the bound), `expand`, `empty` and `stride` (moves that save passes), `start`, `climber` and
`ascend` (the loop), `infer` (new rows).
"""
