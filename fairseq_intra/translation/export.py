"""`fairseq-intra export`: a checkpoint as a folder for CTranslate2, compared before it has its name."""

import shutil
from pathlib import Path
from typing import NamedTuple

from .. import checkpoint as checkpoints
from ..console import say
from ..errors import UsageError, need_package, reason
from ..files import make_folder, read_lines, replacing, sha256
from ..json_files import write_record
from ..runs import scoring
from .card import EngineComparison, write_card
from .ctranslate2_engine import CTranslate2Engine
from .exported import FORMAT, SETTINGS, SUBWORDS, Settings, read_settings
from .fairseq_engine import FairseqEngine
from .search import Search
from .text import Subwords
from .translate import translatable
from .translator import Translator

#: Sentences of valid that both engines translate.
SENTENCES = 200
#: What decides an exported folder: its settings, and the flags that they come from.
FLAGS = {"checkpoint_sha256": "--checkpoint", "corpus": "--data", "quantization": "--quantization"}


def export(checkpoint: Path, data: Path, output: Path, quantization: str) -> None:
    """Makes the folder, with its model card; a folder that was made of the same is left alone.

    Raises:
        UsageError: if CTranslate2 does not read the model, or `output` is something else.
    """
    need_package("ctranslate2", "serve")
    output = output.absolute()  # . has no name
    dataset = translatable(data)
    # That its packages are there is seen before anything is translated.
    scoring.bleu(scoring.tokenizer_of(dataset.target))
    if not checkpoint.is_file():
        raise UsageError(f"no checkpoint {checkpoint}")
    asked = {
        "checkpoint_sha256": sha256(checkpoint),
        "corpus": dataset.corpus,
        "quantization": quantization,
    }
    if _is_done(output, asked):
        say(f"{output} is finished")
        return
    make_folder("--output", output.parent)
    engine = FairseqEngine(checkpoint, data / "bin", languages=(dataset.source, dataset.target))
    limits = engine.limits
    settings = Settings(
        format=FORMAT,
        source=dataset.source,
        target=dataset.target,
        lowercase=dataset.lowercase,
        max_source_positions=limits.source,
        max_target_positions=limits.target,
        max_len_a=limits.max_len_a,
        max_len_b=limits.max_len_b,
        **asked,
    )
    with replacing(output) as partial:
        convert(checkpoint, data, partial, quantization)
        shutil.copyfile(data / "spm/joint.model", partial / SUBWORDS)
        write_record(partial / SETTINGS, settings)
        subwords = Subwords(partial / SUBWORDS, settings.lowercase)
        engines = _Engines(engine, CTranslate2Engine(partial, limits))
        found = compare(engines, subwords, data / "raw", settings)
        write_card(partial, settings, checkpoint, data, found)
        if sha256(checkpoint) != settings.checkpoint_sha256:
            raise UsageError(
                f"{checkpoint} was replaced while it was exported; export again when its training has ended"
            )
    print(found.sentence(quantization))
    print(f"written: {output}")


def convert(checkpoint: Path, data: Path, folder: Path, quantization: str) -> None:
    """Makes CTranslate2's model of a checkpoint.

    Args:
        checkpoint: of a transformer.
        data: the dataset that it was trained on.
        folder: is made.
        quantization: of the parameters, float32 or int8.

    Raises:
        UsageError: if CTranslate2 does not read such a model.
    """
    need_package("ctranslate2", "serve")
    from ctranslate2.converters import FairseqConverter

    dataset = translatable(data)
    state = checkpoints.load(checkpoint)
    name = getattr(state["cfg"].model, "arch", None) or state["cfg"].model._name
    del state
    languages = {"source_lang": dataset.source, "target_lang": dataset.target}
    try:
        FairseqConverter(str(checkpoint), str(data / "bin"), **languages).convert(
            str(folder), quantization=quantization
        )
    except OSError:
        raise
    except Exception as error:  # it raises whatever the configuration leads to
        lines = [line.strip(" -") for line in str(error).splitlines() if line.startswith("-")]
        raise UsageError(
            f"CTranslate2 cannot read {checkpoint}, a {name} ({lines[0] if lines else reason(error)}); translate "
            f"with fairseq-intra translate --checkpoint {checkpoint} --data {data}"
        ) from None


class _Engines(NamedTuple):
    fairseq: FairseqEngine
    ctranslate2: CTranslate2Engine


def compare(engines: _Engines, subwords: Subwords, raw: Path, settings: Settings) -> EngineComparison:
    """Translates the first sentences of valid with both engines."""
    source, reference = (
        read_lines(raw / f"valid.{language}")[:SENTENCES] for language in (settings.source, settings.target)
    )
    say(f"translating {len(source)} sentences of valid with fairseq and with CTranslate2")
    texts = [
        [best[0].text for best in Translator(engine, subwords).translate(source, Search())] for engine in engines
    ]
    tokenize = scoring.tokenizer_of(settings.target)
    scores = [scoring.score_all(text, reference, ("bleu",), tokenize, False)["bleu"] for text in texts]
    identical = sum(ours == theirs for ours, theirs in zip(*texts, strict=True))
    return EngineComparison(len(source), identical, scores[0]["score"], scores[1]["score"], scores[1]["signature"])


def _is_done(output, asked):
    if not output.exists():
        return False
    if not output.is_dir() or (not (output / SETTINGS).is_file() and any(output.iterdir())):
        raise UsageError(f"--output {output} exists and is not an exported model; give another")
    if not any(output.iterdir()):
        return False
    settings = read_settings(output)
    for name, value in asked.items():
        if getattr(settings, name) not in (None, value):
            raise UsageError(f"--output {output} was made with another {FLAGS[name]}; give another --output")
    return True
