"""Hydra, which makes fairseq's configuration of flags, in half the time: tests do that some 300 times.

It copies its store of all configurations, which nobody changes, for every configuration that it composes, and reads
each of fairseq's defaults with a parser in plain Python.
"""

import copy
import functools

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


def apply() -> None:
    """Changes Hydra in this process, once."""
    if "__deepcopy__" in vars(ConfigStore):
        return
    ConfigStore.__deepcopy__ = lambda store, memo: store
    parse = OverridesParser.parse_rule

    @functools.cache
    def parsed(text, rule):
        return parse(OverridesParser.create(), text, rule)

    # The copy: what calls it writes into what it gets.
    OverridesParser.parse_rule = lambda parser, text, rule: copy.copy(parsed(text, rule))
