"""Human translations of interface messages, read out of Python wheels.

Two kinds of member are read, straight from the zip file: Home Assistant's JSON (one file a component and
language, the same keys in each) and gettext catalogues (the English message is the key). Nothing is unpacked
and no code is run.
"""

import gettext
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import polib

from ..errors import UsageError
from .parallel_text import Pair

# The languages that IWSLT'14 pairs with English, each with the folder names that catalogues use for it.
LOCALES = {
    "ar": ("ar",),
    "de": ("de",),
    "es": ("es",),
    "fa": ("fa", "fa_IR"),
    "he": ("he", "he_IL"),
    "it": ("it",),
    "nl": ("nl",),
    "pl": ("pl",),
}
FEWEST_WORDS = 3
MOST_WORDS = 100

MARKUP = re.compile(r"<[^<>]*>|&#?\w+;")
# {name}, {{ name }}, ${name}, %(name)s, %(name)d, %s, %d, %1$s, [%key:...%]
PLACEHOLDER = re.compile(r"\[%.*?%\]|\$?\{+[^{}]*\}+|%\(\w+\)[-+ #0-9.]*[a-z]|%(?:\d+\$)?[a-z]")
# Plone names many messages by an identifier and keeps their English in a comment.
PLONE_DEFAULT = re.compile(r'^Default: "(.*)"$', re.DOTALL)


def read_wheel(path: Path, language: str) -> tuple[list[Pair], Counter]:
    """Returns a wheel's usable (translation, English) pairs, each once, and how many each rule left out.

    Raises:
        UsageError: if a member cannot be read.
    """
    pairs: dict[Pair, None] = {}
    dropped: Counter = Counter()
    with zipfile.ZipFile(path) as wheel:
        for translation, english in messages(wheel, language):
            pair = collapse(translation), collapse(english)
            reason = "repeated" if pair in pairs else unusable(*pair)
            if reason:
                dropped[reason] += 1
            else:
                pairs[pair] = None
    return list(pairs), dropped


def messages(wheel: zipfile.ZipFile, language: str) -> Iterator[Pair]:
    """Yields every translated message of the wheel, in the order of the members' names.

    Raises:
        UsageError: if a member cannot be read.
    """
    names = set(wheel.namelist())
    for name in sorted(names):
        try:
            yield from member_messages(wheel, PurePosixPath(name), names, language)
        except (ValueError, OSError) as error:
            raise UsageError(f"{wheel.filename}: its {name} cannot be read ({error})") from None


def member_messages(wheel: zipfile.ZipFile, member: PurePosixPath, names: set[str], language: str) -> Iterator[Pair]:
    """Yields the messages of one member, if it is a translation into the language."""
    if member.name == f"{language}.json" and member.parent.name == "translations":
        english = str(member.with_name("en.json"))
        if english in names:
            yield from json_messages(wheel.read(str(member)), wheel.read(english))
    elif member.parent.name == "LC_MESSAGES" and member.parent.parent.name in LOCALES[language]:
        # A .po tells which entries are fuzzy, so its compiled form is read only where it comes alone.
        alone = str(member.with_suffix(".po")) not in names
        if member.suffix == ".po" or (member.suffix == ".mo" and alone):
            yield from catalogue_messages(wheel.read(str(member)), member.suffix)


def json_messages(translated: bytes, english: bytes) -> Iterator[Pair]:
    """Yields the texts that stand under the same keys in two JSON files of one component."""
    originals = dict(flatten(json.loads(english)))
    for key, text in flatten(json.loads(translated)):
        if key in originals:
            yield text, originals[key]


def flatten(tree: object, key: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields (path of keys, text) for every text of nested dictionaries."""
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from flatten(branch, (*key, name))
    elif isinstance(tree, str):
        yield key, tree


def catalogue_messages(content: bytes, suffix: str) -> Iterator[Pair]:
    """Yields the translated entries of a gettext catalogue that are neither fuzzy nor obsolete."""
    catalogue = polib.pofile(content.decode("utf-8-sig")) if suffix == ".po" else polib.mofile(content)
    singular, plural = plural_indices(catalogue.metadata.get("Plural-Forms", ""))
    for entry in catalogue:
        if entry.obsolete or "fuzzy" in entry.flags:
            continue
        if entry.msgid_plural:
            yield entry.msgstr_plural.get(singular, ""), entry.msgid
            yield entry.msgstr_plural.get(plural, ""), entry.msgid_plural
        else:
            default = PLONE_DEFAULT.match(entry.comment or "")
            yield entry.msgstr, default[1].replace('\\"', '"') if default else entry.msgid


def plural_indices(header: str) -> tuple[int, int]:
    """Which forms of a catalogue translate the English singular (of one) and plural (of five)."""
    rule = re.search(r"plural\s*=\s*([^;]+)", header.partition("nplurals")[2])
    if not rule:
        return 0, 1
    form = gettext.c2py(rule[1].strip())
    return form(1), form(5)


def collapse(text: str) -> str:
    """Makes every run of white space, line breaks of any kind among them, one space."""
    return " ".join(text.split())


def unusable(translation: str, english: str) -> str | None:
    """Names the rule by which a pair is left out, or returns None for a pair that is kept."""
    longest = max(len(translation.split()), len(english.split()))
    if not translation:
        return "untranslated"
    if "[%key:" in translation + english:
        return "reference"
    if not has_letters(translation) or not has_letters(english):
        return "markup or placeholders only"
    if len(english.split()) < FEWEST_WORDS:
        return f"under {FEWEST_WORDS} words"
    if longest > MOST_WORDS:
        return f"over {MOST_WORDS} words"
    if translation.casefold() == english.casefold():
        return "untranslated"
    return None


def has_letters(text: str) -> bool:
    """Whether anything is left to translate once markup and placeholders are gone."""
    return any(character.isalpha() for character in PLACEHOLDER.sub(" ", MARKUP.sub(" ", text)))
