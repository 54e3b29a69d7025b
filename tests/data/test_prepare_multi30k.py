"""`fairseq-intra prepare multi30k`, on synthetic text in the layout of the dataset's repository."""

import gzip
import json

import campaign
import corpus
import pytest
from preparing import prepare, rejected
from serving import Answer, serving

from fairseq_intra.data import multi30k
from fairseq_intra.runs.dataset import read_dataset

NAMES = {"train": 60, "val": 8, "test_2016_flickr": 6, "test_2017_flickr": 6, "test_2017_mscoco": 4}
SPLITS = dict(zip(("train", "valid", "test", "test1", "test2"), NAMES.values(), strict=True))


def repository(languages=("de", "en"), layout="tok", names=NAMES):
    """The files of the repository by path: other text in every layout, so that one can tell which was read."""
    files = {}
    for seed, (name, count) in enumerate(names.items()):
        pairs = corpus.sentences(count, seed + 10 * (layout == "raw"))
        for side, language in enumerate(languages):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            if layout == "tok":
                text = text.lower().replace(".", " .")
            end = ".lc.norm.tok" if layout == "tok" else ""
            content = text.encode()
            files[f"data/task1/{layout}/{name}{end}.{language}" + ".gz" * (layout == "raw")] = (
                gzip.compress(content, mtime=0) if layout == "raw" else content
            )
    return files


def archive(*parts):
    files = {f"dataset-master/{name}": content for part in parts for name, content in part.items()}
    return campaign.tgz({"dataset-master/README": "Multi30k", "./README.md": "as of a folder", **files})


def unpacked(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset fetched from a server that breaks off once; not to be changed."""
    base = tmp_path_factory.mktemp("multi30k")
    content = archive(repository(), repository(layout="raw"))
    with serving({"/dataset.tar.gz": content}) as server:
        server.failures.append(Answer(after=500))
        flags = ["--url", f"{server.url}/dataset.tar.gz", "--cache", base / "cache", "--workers", 1]
        said = prepare("multi30k", *flags, "--out", base / "out")
        assert [ranges for _, ranges in server.requests] == ["", "bytes=500-"]
    return base, said


def test_from_a_server_to_a_dataset_with_three_test_sets(made):
    base, said = made
    out = base / "out" / "en-de"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["source"], manifest["target"]) == ("en", "de")
    expected = {"lowercase": True, "tokenized": True, "subwords": "subword-nmt", "merges": 10000}
    assert manifest["settings"] == expected
    assert {split: counts["pairs"] for split, counts in manifest["splits"].items()} == SPLITS
    files = repository()
    for split, name in zip(SPLITS, NAMES, strict=True):
        for language in ("de", "en"):
            text = files[f"data/task1/tok/{name}.lc.norm.tok.{language}"]
            assert (out / "raw" / f"{split}.{language}").read_bytes() == text
            subwords = (out / "encoded" / f"{split}.{language}").read_text()
            assert subwords.replace("@@ ", "").encode() == text
            assert (out / "bin" / f"{split}.en-de.{language}.bin").is_file()
    assert (out / "bpe" / "codes").read_text().startswith("#version: 0.2\n")
    dataset = read_dataset(out)
    for split in SPLITS:
        dataset.check_split(split)
    assert "finished: en-de in" in said


def test_repeated_nothing_is_fetched_or_made_again(made):
    base, _ = made
    before = corpus.checksums(base / "out")
    said = prepare("multi30k", "--cache", base / "none", "--out", base / "out", "--workers", 1)
    assert "is finished already" in said and corpus.checksums(base / "out") == before
    assert not (base / "none").exists()


def test_raw_text_is_lowercased_normalised_and_tokenised_and_either_direction_has_the_same_merges(tmp_path):
    files = repository(layout="raw", names=dict(list(NAMES.items())[:3]))
    files["data/task1/raw/val.de.gz"] = gzip.compress("„Ein Hund“, sagt er zu St.\n".encode() * NAMES["val"])
    source = unpacked(tmp_path / "repository", files)
    steps = ["--steps", "archive text raw bpe"]
    for direction in ([], ["--reverse"]):
        prepare("multi30k", "--input", source, "--out", tmp_path / "out", *direction, *steps)
    assert corpus.lines(tmp_path / "out/en-de/raw/valid.de")[0] == "&quot; ein hund &quot; , sagt er zu st ."
    codes = [(tmp_path / "out" / pair / "bpe" / "codes").read_bytes() for pair in ("en-de", "de-en")]
    assert codes[0] == codes[1] and not (tmp_path / "out/en-de/raw/test1.de").exists()


def test_fewer_merges_for_less_text_are_a_dataset_of_their_own(made, tmp_path):
    base, _ = made
    text = unpacked(tmp_path, repository())
    prepare("multi30k", "--input", text, "--merges", 3, "--out", tmp_path / "out", "--workers", 1)
    out = tmp_path / "out" / "en-de"
    assert len(corpus.lines(out / "bpe" / "codes")) == 1 + 3
    assert json.loads((out / "manifest.json").read_text())["settings"]["merges"] == 3
    error = rejected("multi30k", "--input", text, "--merges", 3, "--out", base / "out")
    assert "merges" in error
    flags = ["--input", text, "--src", "en", "--tgt", "de", "--out", tmp_path / "other", "--like", out]
    assert "has subwords of subword-nmt; --like takes a SentencePiece model" in rejected("parallel", *flags)


def test_other_text_than_a_dataset_was_made_of_is_rejected(made, tmp_path):
    base, _ = made
    changed = repository()
    changed["data/task1/tok/val.lc.norm.tok.de"] = changed["data/task1/tok/val.lc.norm.tok.de"].upper()
    source = unpacked(tmp_path, changed)
    error = rejected("multi30k", "--input", source, "--out", base / "out")
    assert "was made with another valid.de than is now given; give another --out" in error


def test_a_dictionary_of_another_size_than_the_published_text_has_is_an_error(tmp_path, monkeypatch):
    source = unpacked(tmp_path / "repository", repository())
    train = [corpus.checksums(source)[f"data/task1/tok/train.lc.norm.tok.{side}"] for side in ("en", "de")]
    monkeypatch.setattr(multi30k, "TYPES", {tuple(train): 5})
    error = rejected("multi30k", "--input", source, "--out", tmp_path / "out", "--workers", 1)
    assert "types where this text has 5" in error and not (tmp_path / "out/en-de/manifest.json").exists()
    # Repeated, with what was wrong put right, it goes on from the text.
    monkeypatch.setattr(multi30k, "TYPES", {})
    said = prepare("multi30k", "--input", source, "--out", tmp_path / "out", "--workers", 1)
    assert "raw: done before" in said and "bpe: done before" not in said
    assert "subword-nmt" in json.loads((tmp_path / "out/en-de/manifest.json").read_text())["versions"]


def test_a_test_set_that_fairseq_would_call_by_another_s_name_is_an_error(tmp_path):
    files = {name: text for name, text in repository().items() if "test_2017_flickr" not in name}
    error = rejected("multi30k", "--input", unpacked(tmp_path / "in", files), "--out", tmp_path / "out")
    assert "has test_2017_mscoco in en and de, but not the test set before it" in error


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--langs", "fr"), "lacks en-fr: it has no data/task1/raw/train.en.gz, and no train.lc.norm.tok.en in"),
        (("--langs", "en"), "--langs must be languages beside en, such as 'de fr', not 'en'"),
        (("--url", "http://127.0.0.1"), "--input and --url are two answers to one question; give one"),
        (("--url", ""), "argument --url: is empty"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, flags, named):
    (tmp_path / "in").mkdir()
    assert named in rejected("multi30k", "--input", tmp_path / "in", "--out", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_a_language_that_is_missing_is_named_in_either_layout(tmp_path):
    source = unpacked(tmp_path / "in", repository())
    error = rejected("multi30k", "--input", source, "--langs", "fr", "--out", tmp_path / "out")
    assert "it has no data/task1/raw/train.en.gz, and no train.lc.norm.tok.fr in data/task1/tok" in error


TRAIN, VALID = (f"data/task1/tok/{name}.lc.norm.tok.de" for name in ("train", "val"))


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda text: {TRAIN: text[TRAIN] + b"mehr .\n"}, (".en has 60 lines but ", f"/{TRAIN} has 61; they must")),
        (lambda text: {TRAIN: b""}, (f"/{TRAIN} is empty",)),
        (lambda text: {VALID: b"\n" + text[VALID].partition(b"\n")[2]}, (f"/{VALID} line 1 is blank",)),
        (
            lambda text: {name: content.replace(b"\n", b"\r") for name, content in text.items()},
            ("/train.lc.norm.tok.en has carriage returns alone as line ends",),
        ),
        (
            lambda text: {f"{TRAIN}.gz": gzip.compress(text[TRAIN])},
            (f" has both {{}}{TRAIN} and {{}}{TRAIN}.gz; keep the one that is meant",),
        ),
    ],
    ids=["unpaired", "empty", "blank", "carriage returns", "twice"],
)
def test_text_that_does_not_pair_up_is_named_as_the_source_has_it_and_can_be_repaired(
    tmp_path, archived, change, named
):
    def source(files):
        (tmp_path / "dataset.tar.gz").write_bytes(archive(files))
        return tmp_path / "dataset.tar.gz" if archived else unpacked(tmp_path / str(len(files)), files)

    whole = repository()
    flags = ["--out", tmp_path / "out", "--steps", "archive text"]
    error = rejected("multi30k", "--input", source(whole | change(whole)), *flags)
    assert all(part.format(*["dataset-master/" * archived] * 2) in error for part in named), error
    assert not (tmp_path / "out").exists()
    prepare("multi30k", "--input", source(whole), *flags)
    assert (tmp_path / "out/en-de/text/train.de").read_bytes() == whole[TRAIN]


def test_the_layout_that_is_not_read_may_hold_a_file_twice(tmp_path):
    files = repository() | repository(layout="raw")
    files["data/task1/raw/train.de"] = b"unpacked beside it\n"
    source = unpacked(tmp_path / "in", files)
    prepare("multi30k", "--input", source, "--out", tmp_path / "out", "--steps", "archive text")


def test_a_truncated_archive_is_named(tmp_path):
    (tmp_path / "dataset.tar.gz").write_bytes(archive(repository())[:-20])
    error = rejected("multi30k", "--input", tmp_path / "dataset.tar.gz", "--out", tmp_path / "out")
    assert "dataset.tar.gz is truncated or damaged; give another, or delete it and get it again" in error
