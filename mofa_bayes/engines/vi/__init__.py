"""Structured mean-field variational inference by coordinate ascent, over blocks of rows.

Read in this order: `layout` (the data as blocks), `kernels` (compiled arithmetic), `rows` (q(z) and its sums),
`globals` (q of loadings, noise, precisions and the bound), `expand` (parameter expansion), `start`, `ascend` (the
loop).
"""
