"""WMT's test sets as sacreBLEU keeps them: text and reference that papers score on."""

from pathlib import Path

import sacrebleu

from ..errors import UsageError


def is_wmt_set(name: str) -> bool:
    """Whether sacreBLEU has a test set of this name."""
    return name in sacrebleu.DATASETS


def source_file(name: str, pair: str) -> Path:
    """The file of a test set's source text; sacreBLEU downloads it where its cache ($SACREBLEU) lacks it.

    Raises:
        UsageError: if there is no such set, not for this pair, or it cannot be downloaded.
    """
    return _files(name, pair)[0]


def reference_file(name: str, pair: str) -> Path:
    """As :func:`source_file`, the reference."""
    return _files(name, pair)[1]


def _files(name, pair):
    if not is_wmt_set(name):
        raise UsageError(f"sacreBLEU has no test set '{name}' (sacrebleu --list names them)")
    dataset = sacrebleu.DATASETS[name]
    if pair not in dataset.langpairs:
        raise UsageError(f"test set {name} is not there for {pair}, only for {', '.join(sorted(dataset.langpairs))}")
    try:
        source, references = dataset.get_source_file(pair), dataset.get_reference_files(pair)
    except (OSError, SystemExit) as error:
        raise UsageError(f"sacreBLEU cannot get {name} for {pair} into {sacrebleu.SACREBLEU_DIR}: {error}") from None
    if len(references) > 1:
        raise UsageError(
            f"test set {name} has {len(references)} references for {pair}; only sets with one are scored"
        )
    return Path(source), Path(references[0])
