"""Reads text with a tag on every word, in the formats of CoNLL and WikiANN."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..files import read_lines

logger = logging.getLogger(__name__)

#: CoNLL-2003 begins every document with a sentence of this one word.
DOCUMENT = "-DOCSTART-"
_TAG = re.compile(r"O|[BI]-\S+")
#: WikiANN's raw files have the language before every word: "en:Paris".
_LANGUAGE = re.compile(r"[a-z][a-z-]*:")
#: What stands for a word of white space alone, which no subword would; its subword is <unk>.
BLANK = "\ufffd"


class Sentence(NamedTuple):
    """The words of a sentence and, as many, their tags in IOB2: O, B-TYPE, I-TYPE."""

    words: list[str]
    tags: list[str]


class Tagged(NamedTuple):
    """What a file holds."""

    sentences: list[Sentence]
    converted: int  #: entities that began with I-, as in IOB1


def read_tagged(path: Path) -> Tagged:
    """Reads a word and its tag a line, with a blank line between sentences.

    The word is what stands before the first tab, the tag what stands behind the last (without tabs: spaces); what is
    between is not looked at. An I- tag that continues nothing becomes B-, and is counted. A language that stands
    before most words of the file is taken off; words without it are counted in a warning.

    Raises:
        UsageError: if the file cannot be read or holds no sentence, or naming the first line that is not as above.
    """
    sentences, words, tags = [], [], []
    converted = 0
    for number, line in enumerate([*read_lines(path), ""], 1):
        line = line.strip("\r\n \t\ufeff" if number == 1 else "\r\n \t")
        if "\r" in line:
            raise UsageError(
                f"{path} line {number} has a carriage return within; convert it: tr '\\r' '\\n' <old >new"
            )
        if line:
            word, tag = _word_and_tag(line, f"{path} line {number}")
            if tag[0] == "I" and (tags[-1][2:] if tags else "") != tag[2:]:
                tag, converted = f"B{tag[1:]}", converted + 1
            words.append(word)
            tags.append(tag)
        elif words:
            if words != [DOCUMENT]:
                sentences.append(Sentence(words, tags))
            words, tags = [], []
    if not sentences:
        raise UsageError(f"{path} holds no sentence: a word and its tag a line, a blank line between sentences")
    return Tagged(_without_language(sentences, path), converted)


def _word_and_tag(line, place):
    columns = line.split("\t") if "\t" in line else line.split(" ")
    word, tag = columns[0].strip() or columns[0] and BLANK, columns[-1].strip()
    if len(columns) < 2 or not word or not tag:
        raise UsageError(f"{place}: a word and its tag expected, with a tab or space between, not '{line}'")
    if not _TAG.fullmatch(tag):
        raise UsageError(f"{place}: tag '{tag}' is not of IOB2: O, B-TYPE or I-TYPE")
    return word, tag


def _without_language(sentences, path):
    words = [word for sentence in sentences for word in sentence.words]
    found = Counter(match[0] for word in words if (match := _LANGUAGE.match(word)))
    prefix, count = found.most_common(1)[0] if found else ("", 0)
    if 2 * count <= len(words):
        return sentences
    if count < len(words):
        logger.warning("%s: %d of %d words do not begin with %s", path, len(words) - count, len(words), prefix)
    return [Sentence([word.removeprefix(prefix) or BLANK for word in words], tags) for words, tags in sentences]
