"""The values of a recipe that every fine-tuning has, of one language's text or of one task of GLUE."""

#: The method's flags: the paper's K and alpha, and R-Drop and the late start with them.
METHOD_FLAGS = {
    "rdrop": "--num-iter 2 --alpha 1".split(),
    "intra": "--num-iter 3 --alpha 1".split(),
    "late": "--num-iter 3 --alpha 1 --plain-patience 1".split(),
}
#: Percent of all updates in which the learning rate rises.
WARM_UP = 6
