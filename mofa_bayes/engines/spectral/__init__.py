"""Closed-form factor analysis by singular value decompositions: seconds at any width.

Read in this order: `tables` (the cohort as one table per view), `kernels` (compiled shuffling), `subspace` (singular
vectors of a table), `rank` (how many are more than noise), `combine` (one subspace for all views), `rotate` (to the
sparsest loadings), `regress` (loadings and noise given the factors), `coverage` (how much wider intervals must be),
`decompose` (the steps in order, and scores for other engines to start from).
"""
