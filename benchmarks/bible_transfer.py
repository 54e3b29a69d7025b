"""Text of benchmarks/zero_shot.sh: what the encoder reads first, and labels that follow from the Bible's own text."""

import argparse
import gzip
import io
import json
import re
from collections import Counter
from pathlib import Path

import sentencepiece
from fairseq.data import Dictionary

LANGUAGES = ("de", "en", "es", "nl", "pl")
SPLITS = {"train": "train", "valid": "dev", "test": "test"}
#: German writes every noun with a capital: there capitals do not show named entities.
NAMED = ("en", "es", "nl", "pl")
GOD = re.compile(r"\b(God|Jehovah|Lord)\b")
NAME_SHARE = 0.9
#: Verses of the dev set, and the most words that the English version of a verse has in fine-tuning and testing.
DEV, MOST_WORDS = 300, 30
#: Verses of the context of a question.
CONTEXT = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of {train,valid,test}.LANG.gz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--train", type=int, required=True, help="verses to fine-tune on")
    args = parser.parse_args()
    verses = {
        (split, language): gzip.open(args.data / f"{split}.{language}.gz", "rt", encoding="utf-8").read().splitlines()
        for split in SPLITS
        for language in LANGUAGES
    }
    write_encoder(verses, args.vocab_size, args.out)
    verses = short(verses, {"train": args.train, "valid": DEV})
    write_pairs(verses, args.out / "xnli")
    write_entities(verses, args.out / "ner")
    write_questions(verses, args.out / "qa")


def words(verse):
    """Words and punctuation marks, each by itself."""
    return re.findall(r"\w+|[^\w\s]", verse)


def plain(verse):
    return " ".join(words(verse)).lower()


def short(verses, counts):
    """The first short verses of every split, as many as are asked for, else all."""
    kept = {
        split: [n for n, verse in enumerate(verses[split, "en"]) if len(words(verse)) <= MOST_WORDS]
        for split in SPLITS
    }
    return {
        (split, language): [lines[number] for number in kept[split][: counts.get(split)]]
        for (split, language), lines in verses.items()
    }


def write_encoder(verses, vocab_size, out):
    """Subword model and dictionary, and all train verses in lower case as subwords, the languages in turn."""
    rows = zip(*(verses["train", language] for language in LANGUAGES), strict=True)
    lines = [plain(verse) for row in rows for verse in row]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines[::7]), model_writer=model, vocab_size=vocab_size, num_threads=1, minloglevel=2
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    (out / "encoder").mkdir(parents=True, exist_ok=True)
    (out / "encoder/sentencepiece.bpe.model").write_bytes(model.getvalue())
    dictionary = Dictionary()
    for number in range(3, processor.get_piece_size()):
        dictionary.add_symbol(processor.id_to_piece(number))
    dictionary.save(str(out / "encoder/dict.txt"))
    subwords = [" ".join(line) for line in processor.encode(lines, out_type=str)]
    write(out / "subwords/train", subwords[:-500])
    write(out / "subwords/valid", subwords[-500:])


def write_pairs(verses, out):
    """In XNLI's layout: the halves of a verse, and whether the English one names God. Line n is the same verse."""
    tables: dict[str, tuple[str, str, tuple[str, ...]]]
    tables = {"XNLI-MT-1.0/multinli/multinli.train.en.tsv": ("premise\thypo\tlabel", "train", ("en",))}
    for name, split in (("dev", "valid"), ("test", "test")):
        tables[f"XNLI-1.0/xnli.{name}.tsv"] = ("language\tgold_label\tsentence1\tsentence2", split, LANGUAGES)
    for name, (head, split, languages) in tables.items():
        lines = [head]
        for language in languages:
            for english, verse in zip(verses[split, "en"], verses[split, language], strict=True):
                label = "god" if GOD.search(english) else "other"
                tokens = plain(verse).split()
                halves = " ".join(tokens[: len(tokens) // 2]), " ".join(tokens[len(tokens) // 2 :])
                if all(halves):
                    lines.append("\t".join([*halves, label] if split == "train" else [language, label, *halves]))
        write(out / name, lines)


def named_entities(verses, language):
    """Words, in lower case, that inside sentences are written with a capital."""
    everything = [words(verse) for split in SPLITS for verse in verses[split, language]]
    inside = [(before, word) for verse in everything for before, word in zip(verse, verse[1:], strict=False)]
    seen = Counter(word.lower() for before, word in inside if before.isalnum())
    capital = Counter(word.lower() for before, word in inside if before.isalnum() and word[0].isupper())
    return {word for word, count in capital.items() if count >= NAME_SHARE * seen[word] and len(word) > 1}


def write_entities(verses, out):
    """In WikiANN's layout, in lower case."""
    for language in NAMED:
        names = named_entities(verses, language)
        for split, name in SPLITS.items():
            lines = []
            for verse in verses[split, language]:
                before = "O"
                for word in plain(verse).split():
                    tag = "O" if word not in names else "B-NAME" if before == "O" else "I-NAME"
                    lines.append(f"{word}\t{tag}")
                    before = tag
                lines.append("")
            write(out / language / name, lines)


def write_questions(verses, out):
    """In SQuAD's JSON, in lower case: a verse with "?" for a named entity, which the context has."""
    for language in NAMED:
        names = named_entities(verses, language)
        for split, name in SPLITS.items():
            lines = [plain(verse) for verse in verses[split, language]]
            blocks = [lines[first : first + CONTEXT] for first in range(0, len(lines), CONTEXT)]
            paragraphs = [paragraph(block, names, f"{split}-{number}") for number, block in enumerate(blocks)]
            content = {"version": "1.1", "data": [{"title": "Bible", "paragraphs": paragraphs}]}
            write(out / language / f"{name}.json", [json.dumps(content, ensure_ascii=False)])


def paragraph(block, names, name):
    """The context that verses make, and a question about each that has a named entity; its first one is asked for."""
    questions, start = [], 0
    for verse in block:
        tokens = verse.split()
        place = next((place for place, token in enumerate(tokens) if token in names), None)
        if place is not None:
            before = "".join(f"{token} " for token in tokens[:place])
            answer = {"answer_start": start + len(before), "text": tokens[place]}
            question = " ".join([*tokens[:place], "?", *tokens[place + 1 :]])
            questions.append({"id": f"{name}-{start}", "question": question, "answers": [answer]})
        start += len(verse) + 1
    return {"context": " ".join(block), "qas": questions}


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
