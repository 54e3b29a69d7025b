"""Text of classification.sh: the Bible in five languages, subwords for a masked language model, and a task.

The task, in the layout of GLUE's SST-2: in which language are these few words?
"""

import argparse
import gzip
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from fairseq_intra.data import sentencepiece_model  # noqa: E402

LANGUAGES = ("de", "en", "es", "nl", "pl")
SPLITS = {"train": "train.tsv", "valid": "dev.tsv"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="bible/{train,valid}.{de,en,es,nl,pl}.gz")
    parser.add_argument("--out", type=Path, required=True)
    for name, number in {"words": 2, "train": 200, "valid": 1500, "verses": 6000, "vocab-size": 2000}.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    args = parser.parse_args()
    for name in ("train", "valid"):
        if getattr(args, name) < 1 or getattr(args, name) % len(LANGUAGES):
            parser.error(f"--{name} must be a multiple of the {len(LANGUAGES)} languages, not {getattr(args, name)}")
    choice = random.Random(1)
    vocabulary, task = args.out / "vocabulary", args.out / "glue" / "language"
    for folder in (vocabulary, task):
        folder.mkdir(parents=True, exist_ok=True)
    for split, count in {"train": args.train, "valid": args.valid}.items():
        verses = {lang: _read(args.data / "bible" / f"{split}.{lang}.gz") for lang in LANGUAGES}
        raw = args.out / f"{split}.txt"
        together = [verse for of_language in zip(*verses.values(), strict=True) for verse in of_language]
        raw.write_text("".join(f"{verse}\n" for verse in together[: args.verses * len(LANGUAGES)]), encoding="utf-8")
        rows = [
            f"{_words(verse, args.words, choice)}\t{lang}\n"
            for lang, of_language in verses.items()
            for verse in choice.sample(of_language, count // len(LANGUAGES))
        ]
        (task / SPLITS[split]).write_text("sentence\tlabel\n" + "".join(rows), encoding="utf-8")
    model = sentencepiece_model.train([args.out / "train.txt"], args.vocab_size, 1.0)
    (vocabulary / "sentencepiece.bpe.model").write_bytes(model)
    for split in SPLITS:
        sentencepiece_model.encode(
            vocabulary / "sentencepiece.bpe.model", args.out / f"{split}.txt", args.out / f"{split}.subwords", 1
        )


def _read(path):
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [verse for line in stream if (verse := line.strip())]


def _words(verse, count, choice):
    """Some words that follow each other, in lower case: German nouns would say too much."""
    words = verse.lower().split()
    start = choice.randrange(max(1, len(words) - count + 1))
    return " ".join(words[start : start + count])


if __name__ == "__main__":
    main()
