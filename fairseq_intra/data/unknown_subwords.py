"""Subwords that a dictionary lacks: a few are rare characters, many mean that it is not the text's dictionary."""

from collections import Counter
from pathlib import Path

from .. import files
from ..console import say
from ..errors import UsageError

#: Share of a text's subwords that the dictionary may lack.
MOST_UNKNOWN = 0.01
#: What fairseq has behind the number of a symbol that replaces an earlier one.
_OVERWRITE = " #fairseq:overwrite"


def symbols_of(dictionary: Path) -> set[str]:
    """The symbols of a dictionary of fairseq, without its own four.

    Raises:
        UsageError: if the file cannot be read.
    """
    return {line.removesuffix(_OVERWRITE).rpartition(" ")[0] for line in files.read_lines(dictionary)}


def check(name: str, counts: Counter, known: set[str], dictionary: Path, advice: str) -> None:
    """Reports how many subwords of a text the dictionary lacks.

    Args:
        name: of the text.
        counts: of its subwords.
        known: the symbols of the dictionary.
        dictionary: its file.
        advice: ends the error message.

    Raises:
        UsageError: if it lacks more than a text that belongs to it has.
    """
    unknown = Counter({subword: count for subword, count in counts.items() if subword not in known})
    if unknown.total() > MOST_UNKNOWN * counts.total():
        most = " ".join(subword for subword, _ in unknown.most_common(5))
        raise UsageError(
            f"{unknown.total() / counts.total():.1%} of the subwords of {name} are not in {dictionary} "
            f"(such as {most}): {advice}"
        )
    if unknown:
        say(f"{name}: {unknown.total()} of {counts.total()} subwords are unknown to the dictionary")
