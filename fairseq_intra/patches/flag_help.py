"""`--help` shows the flags of the named task, criterion and model, too; fairseq shows its help before it has them."""

import functools
import sys

from fairseq import options

HELP = ("-h", "--help")
BELOW = (
    "Flags of a task, a criterion, a model, an optimizer or a scheduler are shown where it is named: "
    "--task translation_intra_distillation --criterion intra_distillation --arch transformer --help"
)


def apply():
    """Wraps the function that all of fairseq's commands parse their flags with."""
    options.parse_args_and_arch = help_last(options.parse_args_and_arch)


def help_last(parse):
    """fairseq parses twice: first what decides which flags there are, then all of them."""

    @functools.wraps(parse)
    def parse_args_and_arch(parser, input_args=None, *args, **kwargs):
        if not parser.epilog:
            parser.epilog = BELOW
        if any(word in HELP for word in _words(input_args)):
            _without_help_once(parser)
        return parse(parser, input_args, *args, **kwargs)

    return parse_args_and_arch


def _words(given):
    return sys.argv[1:] if given is None else given


def _without_help_once(parser):
    parse = parser.parse_known_args

    def parse_known_args(args=None, namespace=None):
        del parser.parse_known_args
        found, rest = parse([word for word in _words(args) if word not in HELP], namespace)
        for name in ("arch", "task"):
            # fairseq asks what the registry has of it.
            if getattr(found, name, "") is None:
                delattr(found, name)
        return found, rest

    parser.parse_known_args = parse_known_args
