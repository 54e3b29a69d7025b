"""`--bf16` trains on GPUs and CPUs: fairseq's parser takes it for a flag of TPUs (fairseq/options.py)."""

import functools
import importlib.util
import sys

from fairseq import options


def apply():
    """Puts the patch into fairseq's module."""
    parse = options.parse_args_and_arch

    @functools.wraps(parse)
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        parsed = parse(parser, input_args, *args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        words = sys.argv[1:] if input_args is None else input_args
        if "--tpu" not in words and importlib.util.find_spec("torch_xla") is None:
            namespace.tpu = False
        return parsed

    options.parse_args_and_arch = parse_args_and_arch
