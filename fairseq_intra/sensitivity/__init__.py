"""Sensitivity of parameters: |parameter x gradient|, its statistics, and pruning by it (paper, section 2)."""

#: Whose gradient the sensitivity takes, see `compute`.
GRADIENTS = ("batch", "split")
#: In which order `pruning` removes parameters.
ORDERS = ("ascending", "descending", "random")
