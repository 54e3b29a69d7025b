"""Loads a model and translates a file or standard input."""

import os
import sys
from pathlib import Path

from ..console import say
from ..errors import UsageError
from ..runs.dataset import Dataset, read_dataset
from .exported import SUBWORDS, read_settings
from .search import Search
from .streams import Streams, chunks, count_lines, opened
from .text import Subwords
from .translator import Translation, Translator

#: As many line numbers are reported; the rest is counted.
MOST_NUMBERS = 10


def load_exported(folder: Path, device: str, threads: int | None) -> Translator:
    """A model that `fairseq-intra export` made, by CTranslate2. device: auto, cpu or cuda.

    Raises:
        UsageError: if the folder is not one or is damaged, or there is no GPU where one is asked for.
    """
    from .ctranslate2_engine import CTranslate2Engine, gpu_count

    settings = read_settings(folder)
    engine = CTranslate2Engine(folder, settings.limits, _device(device, gpu_count()), threads)
    try:
        subwords = Subwords(folder / SUBWORDS, settings.lowercase)
    except (OSError, RuntimeError):
        raise UsageError(f"{folder / SUBWORDS} is damaged or cannot be read; export the model again") from None
    return Translator(engine, subwords)


def load_checkpoint(checkpoint: Path, data: Path, device: str, threads: int | None) -> Translator:
    """A checkpoint on the dataset that it was trained on, by fairseq. device: auto, cpu or cuda.

    Raises:
        UsageError: if one of them cannot be used, or there is no GPU where one is asked for.
    """
    dataset = translatable(data)
    import torch

    from .fairseq_engine import FairseqEngine

    if threads:
        torch.set_num_threads(threads)
    languages = (dataset.source, dataset.target)
    engine = FairseqEngine(checkpoint, data / "bin", _device(device, torch.cuda.device_count()), languages)
    return Translator(engine, Subwords(data / "spm/joint.model", dataset.lowercase))


def translatable(data: Path) -> Dataset:
    """The dataset in a folder, whose SentencePiece model and dictionaries are as they were made.

    Raises:
        UsageError: if they are not.
    """
    dataset = read_dataset(data)
    if dataset.subwords != "sentencepiece":
        raise UsageError(f"{data} has byte pair encoding by subword-nmt; this takes SentencePiece's subwords alone")
    dataset.check("spm/joint.model", *dataset.dictionaries())
    return dataset


def translate(translator: Translator, search: Search, streams: Streams, with_scores: bool) -> None:
    """Translates a file or standard input, line for line, and reports the lines that were translated in parts.

    Raises:
        UsageError: on text that is not UTF-8.
    """
    name = str(streams.input or "standard input")
    with opened(streams) as (descriptor, output), _bar(descriptor, output) as bar:
        for chunk in chunks(descriptor, name):
            found = translator.translate(chunk.lines, search, chunk.first, bar.update)
            # Blank lines and parts of lines are none of the lines that the bar counts.
            bar.n = chunk.first + len(chunk.lines) - 1
            for number, translations in enumerate(found, chunk.first):
                output.write(_output_rows(number, translations, search.nbest, with_scores).encode())
            output.flush()
    _report(translator.in_parts, name)


def _output_rows(number: int, translations: list[Translation], nbest: int, with_scores: bool) -> str:
    rows = []
    for each in translations:
        fields = [str(number)] * (nbest > 1) + [f"{each.score:.4f}"] * with_scores + [each.text]
        rows.append("\t".join(fields) + "\n")
    return "".join(rows)


def _report(numbers, name):
    if numbers:
        more = f" and {len(numbers) - MOST_NUMBERS} more" if len(numbers) > MOST_NUMBERS else ""
        shown = ", ".join(map(str, numbers[:MOST_NUMBERS]))
        say(f"{name}: longer than the model can take, translated in parts: {len(numbers)} lines ({shown}{more})")


def _bar(descriptor, output):
    from tqdm import tqdm

    # Where somebody types or reads, a bar would stand between the lines.
    on_terminal = os.isatty(descriptor) or (output is sys.stdout.buffer and output.isatty())
    total = None if on_terminal else count_lines(descriptor)
    return tqdm(total=total, unit="line", disable=on_terminal or None)


def _device(asked: str, gpus: int) -> str:
    if asked == "cuda" and not gpus:
        raise UsageError("--device cuda: no GPU is seen; leave the flag out, or give --device cpu")
    return asked if asked != "auto" else ("cuda" if gpus else "cpu")
