"""Sensitivity of parameters: |parameter x gradient|, its statistics, and pruning by it (paper, section 2)."""

#: Whose gradient the sensitivity takes, see `compute`.
GRADIENTS = ("batch", "split")
#: In which order `pruning` removes parameters for a curve, and which go first.
CURVE_ORDERS = {"ascending": "least sensitive", "descending": "most sensitive"}
#: All orders of `pruning`.
ORDERS = (*CURVE_ORDERS, "random")
