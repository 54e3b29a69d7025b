"""Reads questions about texts in the JSON of SQuAD v1.1, which TyDiQA-GoldP and XQuAD have as well."""

from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..json_files import read_json

#: TyDiQA-GoldP's names of its languages.
TYDIQA = {
    "ar": "arabic",
    "bn": "bengali",
    "en": "english",
    "fi": "finnish",
    "id": "indonesian",
    "ko": "korean",
    "ru": "russian",
    "sw": "swahili",
    "te": "telugu",
}


#: Google's file of all of them.
TYDIQA_TRAIN = "tydiqa-goldp-v1.1-train.json"


class Layout(NamedTuple):
    """Where a folder has its files; {code} is a language's code, {name} its name."""

    train: str
    valid: str
    test: str
    language: str = ""  #: of the training data, where the file's name does not tell it


#: This project's own; TyDiQA-GoldP as XTREME's script unpacks and renames it, and as Google packed it; XQuAD beside
#: SQuAD v1.1. TyDiQA has no test set of its own: its dev set is what is tested.
LAYOUTS = (
    Layout("{code}/train.json", "{code}/dev.json", "{code}/test.json"),
    Layout(
        "tydiqa-goldp-v1.1-train/tydiqa.goldp.{code}.train.json",
        "tydiqa-goldp-v1.1-dev/tydiqa.goldp.{code}.dev.json",
        "tydiqa-goldp-v1.1-dev/tydiqa.goldp.{code}.dev.json",
    ),
    Layout(
        TYDIQA_TRAIN,
        "tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-{name}.json",
        "tydiqa-goldp-v1.1-dev/tydiqa-goldp-dev-{name}.json",
    ),
    Layout("train-v1.1.json", "dev-v1.1.json", "xquad.{code}.json", "en"),
)


class Answer(NamedTuple):
    start: int  #: where it begins in the context, in characters
    text: str


class Question(NamedTuple):
    id: str
    text: str
    context: str
    answers: list[Answer]  #: one or more


def layout(folder: Path, language: str) -> Layout:
    """Which of `LAYOUTS` a folder has, with training data in a language.

    Raises:
        UsageError: if it is none, or its training data are in another language.
    """
    for found in LAYOUTS:
        if (folder / place(found.train, language)).is_file():
            if found.language not in ("", language):
                raise UsageError(f"{folder / found.train} is in {found.language}, not in {language}")
            return found
    raise UsageError(f"{folder} holds none of " + ", ".join(place(known.train, language) for known in LAYOUTS))


def place(pattern: str, language: str) -> str:
    """The path of a language's file, in the folder of its layout."""
    return pattern.format(code=language, name=TYDIQA.get(language, language))


def languages(folder: Path, test: str) -> list[str]:
    """The languages whose test a folder holds under a layout's pattern, sorted."""
    before, after = test.replace("{name}", "{code}").split("{code}")
    codes = {name: code for code, name in TYDIQA.items()} if "{name}" in test else {}
    found = [path.relative_to(folder).as_posix() for path in folder.glob(f"{before}*{after}")]
    names = [path.removeprefix(before).removesuffix(after) for path in found]
    return sorted(codes.get(name, name) for name in names)


def read_questions(path: Path, language: str | None = None) -> list[Question]:
    """The questions of a file.

    Args:
        language: takes those alone whose id begins with its TyDiQA name, as "english-41-0" does.

    Raises:
        UsageError: if the file cannot be read, is not of SQuAD v1.1's form, has an empty context, half a surrogate
            pair, or no question.
    """
    questions = []
    for paragraph, where in _children(path, _children_of_file(path), "paragraphs"):
        context = _text(path, paragraph, "context", where)
        if not context.strip():
            raise UsageError(f"{path}: the context of {where} is empty")
        for entry, here in _children(path, [(paragraph, where)], "qas"):
            name = _text(path, entry, "id", here)
            if language is None or name.startswith(f"{TYDIQA.get(language, language)}-"):
                answers = [_answer(path, *answer) for answer in _children(path, [(entry, here)], "answers")]
                if not answers:
                    raise UsageError(f"{path}: {here} has no answer; in SQuAD v1.1 every question has one")
                questions.append(Question(name, _text(path, entry, "question", here), context, answers))
    if not questions:
        raise UsageError(f"{path} holds no question" + (f" in {language}" if language else ""))
    return questions


def mismatch(question: Question) -> str | None:
    """What is wrong with a question's answers, if anything: each must stand in the context where it says."""
    for start, text in question.answers:
        found = question.context[start : start + len(text)]
        if start < 0 or not text.strip() or found != text:
            return f"question {question.id}: the answer '{text}' is not at answer_start {start}, where '{found}' is"
    return None


def _children_of_file(path):
    return _children(path, [(read_json(path), "the file")], "data")


def _children(path, parents, name):
    """(node, where it is) of every node in the lists that all parents have under a name."""
    for parent, where in parents:
        nodes = _value(path, parent, name, where, list, "a list")
        prefix = "" if where == "the file" else f"{where}."
        yield from ((node, f"{prefix}{name}[{number}]") for number, node in enumerate(nodes))


def _text(path, node, name, where):
    text = _value(path, node, name, where, str, "a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"half a surrogate pair, \\u{ord(text[error.start]):04x},"
        raise UsageError(
            f"{path}: '{name}' of {where} has {half} as character {error.start + 1}; correct it"
        ) from None
    return text


def _answer(path, node, where):
    start = _value(path, node, "answer_start", where, int, "a number")
    return Answer(start, _text(path, node, "text", where))


def _value(path, node, name, where, kind, what):
    value = node.get(name) if isinstance(node, dict) else None
    if not isinstance(value, kind):
        raise UsageError(f"{path} is not of SQuAD v1.1's form: {where} has no '{name}' that is {what}")
    return value
