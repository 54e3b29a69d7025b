"""A small archive in the layout of IWSLT'14's 2014-01.tgz, out of made-up text for any of its languages."""

import gzip
import io
import os
import tarfile
from html import escape
from pathlib import Path

import corpus

#: Talks of the campaign in its own XML, where there are some.
REAL_XML = Path(os.environ.get("TED_XML", "none"))
#: The sets that make up the test split, in its order.
SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
TALK = 10


def write_archive(path: Path, languages: list[str], train: int = 230, test: int = 6) -> None:
    """Writes an archive of some languages, each paired with English.

    A pair has `train` lines of text in talks of 10, each of which adds a title and a description, and `test` segments
    in every set. All text of a language differs, and differs from every other language's.
    """
    pack(path, {language: pair_files(language, train, test) for language in languages})


def pair_files(language: str, train: int = 230, test: int = 6) -> dict[str, str]:
    """The files of a pair, by name."""
    pair = f"{language}-en"
    seed = int.from_bytes(language.encode(), "big")
    talks = -(-train // TALK)
    pairs = corpus.sentences(train + 2 * talks + test * len(SETS), seed)
    files = {}
    for side, name in enumerate((language, "en")):
        texts = [texts[side] for texts in pairs]
        files[f"train.tags.{pair}.{name}"] = train_tags(texts[: train + 2 * talks])
        for number, set_name in enumerate(SETS):
            first = train + 2 * talks + number * test
            files[f"IWSLT14.{set_name}.{pair}.{name}.xml"] = mteval(texts[first : first + test])
    return files


def train_tags(texts: list[str]) -> str:
    """The texts as talks: two of twelve are a title and a description."""
    lines = []
    for number in range(0, len(texts), TALK + 2):
        title, description, *spoken = texts[number : number + TALK + 2]
        lines += [f"<url>http://www.example.org/{number}</url>", "<keywords>talks, words</keywords>"]
        lines += [f"<speaker>Speaker {number}</speaker>", f"<talkid>{number}</talkid>"]
        lines += [f"<title>{title}</title>", f"<description>{description}</description>"]
        lines += [f'<reviewer href="http://www.example.org/profiles/{number}">Reviewer</reviewer>']
        lines += ["<translator>Translator</translator>", *(f" {text} " for text in spoken)]
    return "\n".join(lines) + "\n"


def mteval(texts: list[str]) -> str:
    """The texts as two talks of a test set, their segments numbered from 1 in each."""
    half = -(-len(texts) // 2)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<mteval>", '<srcset setid="made-up" srclang="any">']
    for talk, segments in enumerate((texts[:half], texts[half:])):
        lines += [f'<doc docid="{talk}" genre="lectures">', "<title>Not part of the test set</title>"]
        lines += [f'<seg id="{number}"> {escape(text)} </seg>' for number, text in enumerate(segments, 1)]
        lines += ["</doc>"]
    return "\n".join([*lines, "</srcset>", "</mteval>"]) + "\n"


def pack(path: Path, pairs: dict[str, dict[str, str | bytes]]) -> None:
    """Writes the files of each language as 2014-01/texts/LANGUAGE/en/LANGUAGE-en.tgz of one archive."""
    inner = {
        f"2014-01/texts/{language}/en/{language}-en.tgz": pair_archive(language, files)
        for language, files in pairs.items()
    }
    path.write_bytes(tgz(inner))


def pair_archive(language: str, files: dict[str, str | bytes]) -> bytes:
    """A pair's own archive, which is all that fairseq's copy of de-en has."""
    return tgz({f"{language}-en/{name}": content for name, content in files.items()})


def tgz(members: dict[str, str | bytes]) -> bytes:
    """A gzipped tar archive of these files; the same bytes for the same files."""
    archive = io.BytesIO()
    with gzip.GzipFile(fileobj=archive, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            content = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def sacrebleu_set(folder: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    """Writes an English-German test set as sacrebleu keeps it in its folder once it has downloaded it."""
    (folder / name).mkdir(parents=True)
    prefix = folder / name / name.replace("/", "_")
    fields = {"src": [pair[0] for pair in pairs], "ref": [pair[1] for pair in pairs]}
    for field in ("src", "ref", "docid", "genre", "origlang"):
        text = "".join(line + "\n" for line in fields.get(field, ["none"] * len(pairs)))
        Path(f"{prefix}.en-de.{field}").write_text(text, encoding="utf-8")
