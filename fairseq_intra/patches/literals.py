"""Closes fairseq's `eval`: it runs on strings of a checkpoint's configuration, a manifest or a flag.

Such a string passes safe loading, and would run as code: encoder_layers of fconv, adaptive_softmax_cutoff of any
transformer. Literals and arithmetic are all that fairseq's own configurations need, as in `[(512, 3)] * 4`.
"""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import operator
import sys
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..errors import UsageError

#: The modules of fairseq that call `eval` (a test compares this with the installed package).
MODULES = (
    "fairseq.criterions.ctc",
    "fairseq.data.audio.raw_audio_dataset",
    "fairseq.data.codedataset",
    "fairseq.models.fconv",
    "fairseq.models.fconv_lm",
    "fairseq.models.fconv_self_att",
    "fairseq.models.hubert.hubert",
    "fairseq.models.lightconv_lm",
    "fairseq.models.multires_hubert.multires_hubert",
    "fairseq.models.speech_to_text.s2t_wav_transformer",
    "fairseq.models.transformer_lm",
    "fairseq.models.wav2vec.wav2vec",
    "fairseq.models.wav2vec.wav2vec2",
    "fairseq.optim.adafactor",
    "fairseq.optim.adam",
    "fairseq.optim.adamax",
    "fairseq.optim.cpu_adam",
    "fairseq.optim.fused_lamb",
    "fairseq.utils",
)
#: Of a text in characters, and of a value in items and characters.
LIMIT = 100_000
OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def apply():
    """Gives these modules a function of their own in the place of Python's `eval`; repeated, it changes nothing."""
    for name in MODULES:
        # One that this fairseq does not have, or whose requirements are not installed, evaluates nothing.
        with contextlib.suppress(ImportError):
            importlib.import_module(name).eval = evaluate  # type: ignore[attr-defined]


def evaluate(text):
    """What Python's `eval` gives for literals and for + - * / // of them; there are no names, calls or attributes.

    Raises:
        TypeError: if `text` is no string, as `eval` does; fairseq's `eval_bool` counts on it.
        UsageError: if it holds anything else, or its value would be too large.
    """
    if not isinstance(text, str):
        raise TypeError(f"eval() arg 1 must be a string, not {type(text).__name__}")
    try:
        if len(text) > LIMIT:
            raise ValueError("too long")
        return _value(ast.parse(text.lstrip(" \t"), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError):
        shown = repr(text if len(text) <= 80 else text[:77] + "...")
        field = _field_of(text, sys._getframe(1))
        raise UsageError(
            f"{field or 'a configuration or manifest'} has the value {shown}, which is rejected: only literals and "
            "arithmetic are evaluated, such as [(512, 3)] * 4"
        ) from None


def _value(node):
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=items):
            return tuple(map(_value, items))
        case ast.List(elts=items):
            return [*map(_value, items)]
        case ast.Set(elts=items):
            return {*map(_value, items)}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return dict(zip(map(_value, keys), map(_value, values), strict=True))
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in OPERATIONS:
            return OPERATIONS[type(sign)](_value(operand))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in OPERATIONS:
            return _calculated(OPERATIONS[type(sign)], _value(left), _value(right))
    raise ValueError("no literal")


def _calculated(operation, left, right):
    if operation is operator.mul:
        for repeated, count in ((left, right), (right, left)):
            if not isinstance(repeated, int | float | complex) and _size(repeated) * max(count, 0) > LIMIT:
                raise ValueError("too large")
    return operation(left, right)


def _size(value):
    if isinstance(value, dict):
        return sum(map(_size, value.items()))
    if isinstance(value, tuple | list | set):
        return 1 + sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 1


def _field_of(text, frame):
    """The name under which a configuration that a caller of `eval` holds has this text; None where none has."""
    while frame is not None:
        owner = frame.f_locals.get("self")
        for held in (*frame.f_locals.values(), getattr(owner, "cfg", None), getattr(owner, "args", None)):
            found = _name_in(_fields(held), text)
            if found:
                return found
        frame = frame.f_back
    return None


def _fields(held):
    if isinstance(held, DictConfig):
        content = OmegaConf.to_container(held, resolve=False)
        return content if isinstance(content, dict) else {}
    if isinstance(held, argparse.Namespace) or (dataclasses.is_dataclass(held) and not isinstance(held, type)):
        return vars(held)
    return {}


def _name_in(fields, text):
    for name, value in fields.items():
        if value == text and isinstance(value, str):
            return name
        found = _name_in(value, text) if isinstance(value, dict) else None
        if found:
            return found
    return None
