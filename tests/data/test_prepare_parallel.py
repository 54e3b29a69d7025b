"""`fairseq-intra prepare parallel`, and its script as a user runs it."""

import fcntl
import gzip
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import corpus
import pytest
from preparing import prepare, rejected
from waiting import wait_for

SCRIPT = "data-prep/prepare-parallel.sh"
STEPS = ("raw", "spm", "encoded", "bin")
SPLITS = ("train", "valid", "test")
LANGUAGES = ("de", "en")
FLAGS = ("--src", "de", "--tgt", "en")
SETTINGS = ("--vocab-size", "120", "--clean", "--max-tokens", "20")
#: All that some tests look at.
RAW = ("--steps", "raw")
TOO_MANY_TYPES = ("--vocab-size", "100000")

GOOD = corpus.sentences(300, seed=1)
ODD_BREAKS = ("Eins\u2028zwei\x85drei\x0bvier\x0cfünf sechs.", "One\u2028two\x85three\x0bfour\x0cfive six.")
BLANK = ("", "Nothing on the other side.")
INVISIBLE = ("Nur Unsichtbares.", "\u200b \t")
UNREADABLE = ("\ufffd\ufffd \ufffd", "Nothing is left of the other side.")
UNEQUAL = ("Eins zwei drei vier fünf sechs.", "One two.")
LONG = ("wort " * 21, "word " * 21)
TRAIN = [*GOOD[:100], ODD_BREAKS, BLANK, INVISIBLE, UNREADABLE, UNEQUAL, LONG, *GOOD[100:]]
# These would all go if valid were cleaned.
VALID = [*corpus.sentences(10, seed=2), UNEQUAL, LONG]
TEST = corpus.sentences(10, seed=3)


def write_corpus(folder: Path) -> Path:
    for split, pairs in zip(SPLITS, (TRAIN, VALID, TEST), strict=True):
        corpus.write_pairs(folder, split, pairs, LANGUAGES)
    return folder


def compress(path: Path) -> None:
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.fixture
def text(tmp_path):
    return write_corpus(tmp_path / "text")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A corpus and the folder that was made of it, by one process; not to be changed."""
    base = tmp_path_factory.mktemp("finished")
    text = write_corpus(base / "text")
    prepare("parallel", "--input", text, *FLAGS, "--out", base / "out", *SETTINGS, "--workers", 1)
    return text, base / "out"


def test_manifest_counts_what_was_read_kept_and_dropped(finished):
    text, out = finished
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["source"], manifest["target"]) == (1, "de", "en")
    assert manifest["settings"] == {
        "lowercase": False,
        "clean": {"max_ratio": 1.5, "min_tokens": 1, "max_tokens": 20},
        "vocab_size": 120,
        "spm_lines": None,
        "character_coverage": 0.99999995,
        "padding_factor": 8,
    }
    kept = {"train": [*GOOD, ODD_BREAKS], "valid": VALID, "test": TEST}
    for split, read in zip(SPLITS, (TRAIN, VALID, TEST), strict=True):
        assert manifest["splits"][split] == {
            "pairs_read": len(read),
            "pairs": len(kept[split]),
            "dropped": len(read) - len(kept[split]),
            "source_words": sum(len(source.split()) for source, _ in kept[split]),
            "target_words": sum(len(target.split()) for _, target in kept[split]),
        }
    made = {name: hash for name, hash in corpus.checksums(out).items() if name.startswith(STEPS)}
    assert {name: entry["sha256"] for name, entry in manifest["files"].items()} == made
    assert all(entry["bytes"] == (out / name).stat().st_size for name, entry in manifest["files"].items())
    assert manifest["inputs"] == corpus.checksums(text)
    assert set(manifest["versions"]) == {"python", "fairseq", "torch", "sentencepiece", "sacremoses", "numpy"}


def test_every_split_is_raw_text_subwords_and_binary_data(finished):
    _, out = finished
    for split in SPLITS:
        for language in LANGUAGES:
            subwords = corpus.lines(out / "encoded" / f"{split}.{language}")
            raw = corpus.lines(out / "raw" / f"{split}.{language}")
            assert ["".join(line.split()).replace("▁", " ").strip() for line in subwords] == raw
            assert (out / "bin" / f"{split}.de-en.{language}.bin").stat().st_size > 0
    vocabulary = corpus.lines(out / "spm" / "joint.vocab")
    assert len(vocabulary) == 120 and (out / "spm" / "joint.model").is_file()
    dictionary = corpus.lines(out / "bin" / "dict.de.txt")
    assert dictionary == corpus.lines(out / "bin" / "dict.en.txt")
    types = {line.rpartition(" ")[0] for line in dictionary if not line.startswith("madeupword")}
    assert types <= {line.partition("\t")[0] for line in vocabulary}


def test_line_breaks_inside_a_line_become_spaces(finished):
    _, out = finished
    assert corpus.lines(out / "raw" / "train.de")[100] == "Eins zwei drei vier fünf sechs."
    assert corpus.lines(out / "raw" / "train.en")[100] == "One two three four five six."


def test_a_finished_folder_is_only_checked(finished):
    text, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    said = prepare("parallel", "--input", text, *FLAGS, "--out", out, *SETTINGS, "--workers", 2)
    assert "is finished already" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_settings_or_text_never_touch_a_finished_folder(finished, text):
    _, out = finished
    before = corpus.checksums(out)
    asked = ["--input", text, *FLAGS, "--out", out, *SETTINGS]
    assert "vocab size 120 where 130 is now asked" in rejected("parallel", *asked, "--vocab-size", 130)
    assert "lowercase false where true is now asked" in rejected("parallel", *asked, "--lowercase")
    assert "source " in rejected("parallel", "--input", text, "--src", "en", "--tgt", "de", "--out", out, *SETTINGS)
    corpus.write_pairs(text, "test", TEST[:-1], LANGUAGES)
    assert "another test.de" in rejected("parallel", *asked)
    assert corpus.checksums(out) == before


def test_a_finished_folder_that_was_changed_is_not_called_finished(finished, tmp_path):
    text, out = finished
    shutil.copytree(out, tmp_path / "out")
    with (tmp_path / "out" / "encoded" / "valid.en").open("a") as stream:
        stream.write("x\n")
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", *SETTINGS)
    assert "encoded/valid.en was changed since the dataset was made" in error


def test_killed_and_repeated_it_makes_the_same(finished, text, tmp_path):
    _, undisturbed = finished
    for path in list(text.iterdir()):
        compress(path)
    out = tmp_path / "out"
    arguments = ["--input", text, *FLAGS, *SETTINGS, "--workers", 2]
    for done, step in enumerate(STEPS):
        if step in ("raw", "bin"):
            corpus.kill_during(f".{step}.*partial", out, SCRIPT, *arguments, "--out", out)
            assert not (out / "manifest.json").exists()
            for name in STEPS[:done]:
                assert corpus.checksums(out / name) == corpus.checksums(undisturbed / name)
            assert not any((out / name).exists() for name in STEPS[done:])
    said = corpus.succeed(SCRIPT, *arguments, "--out", out)
    assert "encoded: done before" in said and "bin: done before" not in said
    assert not list(out.glob(".*partial"))
    assert (out / "manifest.json").read_bytes() == (undisturbed / "manifest.json").read_bytes()
    assert all(corpus.checksums(out / step) == corpus.checksums(undisturbed / step) for step in STEPS)


def test_two_runs_into_one_folder_are_refused(text, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out")
    assert "another process is working in" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_too_many_pieces_name_the_largest_number_and_leave_nothing_half_done(text, tmp_path):
    out = tmp_path / "out"
    error = rejected("parallel", "--input", text, *FLAGS, "--out", out, *TOO_MANY_TYPES)
    assert "--vocab-size 100000" in error
    largest = int(error.rpartition(" ")[2])
    assert sorted(path.name for path in out.iterdir()) == [".lock", "raw", "settings.json"]
    # The folder is not spoilt for other settings.
    said = prepare("parallel", "--input", text, *FLAGS, "--out", out, "--vocab-size", largest, "--steps", "raw spm")
    assert "starting over" in said and len(corpus.lines(out / "spm" / "joint.vocab")) == largest


def test_a_number_of_pieces_that_no_integer_holds_is_one_line(text, tmp_path):
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", "--vocab-size", 3_000_000_000)
    assert "SentencePiece cannot train on this text" in error


def test_too_few_pieces_name_the_smallest_number(text, tmp_path):
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", "--vocab-size", 5)
    assert "--vocab-size 5 is less than" in error


def test_lowercasing_is_for_all_splits_and_windows_line_ends_go(text, tmp_path):
    for path in text.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    out = tmp_path / "out"
    prepare("parallel", "--input", text, *FLAGS, "--out", out, "--lowercase", *RAW)
    for split, pairs in (("valid", VALID), ("test", TEST)):
        for side, language in enumerate(LANGUAGES):
            assert corpus.lines(out / "raw" / f"{split}.{language}") == [pair[side].lower().strip() for pair in pairs]
    assert len(corpus.lines(out / "raw" / "train.de")) == len(TRAIN) - 3


def test_cleaning_keeps_to_its_limits(text, tmp_path):
    """As Moses' tokeniser counts: a full stop is a token, a comma is one, and "don't" is two."""
    pairs = {
        "at the ratio": ("eins zwei drei vier fünf .", "one two three ."),
        "over the ratio": ("eins zwei drei vier fünf sechs.", "one two three ."),
        "punctuation counts": ("eins , zwei , drei , vier", "one two three four"),
        "an apostrophe parts": ("eins zwei drei vier fünf sechs sieben", "don't can't one"),
        "too short": ("eins zwei", "one two"),
        "longest": ("wort " * 8, "word " * 8),
        "too long": ("wort " * 9, "word " * 9),
    }
    corpus.write_pairs(text, "train", list(pairs.values()), LANGUAGES)
    limits = ("--clean", "--min-tokens", 3, "--max-tokens", 8, "--max-ratio", 1.5)
    prepare("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", *limits, *RAW)
    kept = [pairs[name][0].strip() for name in ("at the ratio", "an apostrophe parts", "longest")]
    assert corpus.lines(tmp_path / "out" / "raw" / "train.de") == kept


def test_a_model_of_some_lines_sees_lines_spread_over_both_sides(text, tmp_path):
    """Only every fourth line has x and z: the model of a quarter of all lines knows these, four vowels, the space."""
    seen, unseen = ("xaxe xoxi", "zaza zezi"), ("ba be bo bi", "da de do di")
    corpus.write_pairs(text, "train", [seen, unseen, unseen, unseen] * 100, LANGUAGES)
    more = ("--vocab-size", 5, "--spm-lines", 202)
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", *more)
    assert "--vocab-size 5 is less than the 10 that the characters of the text need" in error


def test_cleaning_everything_away_is_an_error(text, tmp_path):
    limits = ("--clean", "--min-tokens", 90, "--max-tokens", 99)
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", *limits)
    assert "--clean leaves no pair of train" in error
    assert not (tmp_path / "out" / "raw").exists()


def test_cleaning_a_language_without_spaces_says_why_nothing_is_left_and_what_to_do(text, tmp_path):
    chinese = [(source, "这是一个没有空格的句子。") for source, _ in GOOD[:20]]
    for split in SPLITS:
        corpus.write_pairs(text, split, chinese, ("de", "zh"))
    asked = ["parallel", "--input", text, "--src", "de", "--tgt", "zh", *RAW, "--out", tmp_path / "out"]
    error = rejected(*asked, "--clean")
    assert "zh is written without spaces, so that Moses' rule cannot count its words" in error
    assert "leave --clean out" in error
    chinese += [("Eins zwei", "一 二")] * 3
    corpus.write_pairs(text, "train", chinese, ("de", "zh"))
    assert "--clean left out more pairs than it kept; zh is written without spaces" in prepare(*asked, "--clean")
    said = prepare(*asked)
    assert "train: 23 pairs" in said and "without spaces" not in said


def test_pairs_of_valid_and_test_that_train_has_are_counted_and_dropped_on_request(text, tmp_path):
    # A reader sees no difference between the second one and the first.
    odd = [
        TEST[0],
        tuple(line.replace(" ", "\u00a0", 1) + "\u00ad" for line in TEST[0]),
        (TEST[1][0], "Another target."),
        ("Another source.", TEST[2][1].upper()),
        VALID[0],
    ]
    corpus.write_pairs(text, "train", [*GOOD, *odd], LANGUAGES)
    asked = ["parallel", "--input", text, *FLAGS, "--vocab-size", 120, "--lowercase", "--workers", 1]
    said = prepare(*asked, "--out", tmp_path / "counted")
    made = json.loads((tmp_path / "counted" / "manifest.json").read_text(encoding="utf-8"))
    assert made["overlap"] == {
        "valid": {"source": 1, "target": 1, "both": 1},
        "test": {"source": 2, "target": 2, "both": 1},
    }
    assert "test: of its pairs train has 2 by their source, 2 by their target, 1 by both" in said
    said = prepare(*asked, "--out", tmp_path / "dropped", "--drop-overlap", "--steps", "raw")
    assert "train: 300 pairs, 5 dropped (a side is in valid or test)" in said
    error = rejected(*asked, "--out", tmp_path / "counted", "--drop-overlap")
    assert "drop overlap false where true is now asked" in error


def test_the_dictionary_is_filled_up_with_types_that_never_occur(text, finished, tmp_path):
    asked = ["parallel", "--input", text, *FLAGS, "--vocab-size", 120, "--workers", 1]
    prepare(*asked, "--out", tmp_path / "padded")
    prepare(*asked, "--out", tmp_path / "as-it-is", "--padding-factor", 1)
    types, fewer = (
        (tmp_path / name / "bin" / "dict.de.txt").read_text(encoding="utf-8").splitlines()
        for name in ("padded", "as-it-is")
    )
    # fairseq adds its four symbols when it reads the file.
    assert (len(types) + 4) % 8 == 0 and types[: len(fewer)] == fewer
    assert all(line.startswith("madeupword") for line in types[len(fewer) :]) and len(types) > len(fewer)
    assert not any(line.startswith("madeupword") for line in fewer)
    made = json.loads((tmp_path / "padded" / "manifest.json").read_text(encoding="utf-8"))
    assert made["settings"]["padding_factor"] == 8
    error = rejected(*asked, "--out", tmp_path / "more", "--like", finished[1], "--padding-factor", 8)
    assert f"--padding-factor has no effect with --like, which takes the dictionary of {finished[1]}" in error


def unpaired(text):
    corpus.write_pairs(text, "valid", VALID[:-1], ("de", "xx"))
    (text / "valid.xx").rename(text / "valid.en")
    corpus.write_pairs(text, "valid", VALID, ("de", "xx"))


def no_side(text):
    (text / "test.en").unlink()


def empty(text):
    (text / "valid.de").write_bytes(b"")


def not_utf8(text):
    content = (text / "train.de").read_bytes().split(b"\n")
    content[6] = "Straße".encode("latin-1")
    (text / "train.de").write_bytes(b"\n".join(content))


def torn_gzip(text):
    compress(text / "train.en")
    torn = (text / "train.en.gz").read_bytes()
    (text / "train.en.gz").write_bytes(torn[: len(torn) // 2])


def no_gzip(text):
    (text / "train.en").rename(text / "train.en.gz")


def twice(text):
    (text / "train.en.gz").write_bytes(gzip.compress((text / "train.en").read_bytes()))


def blank(text):
    corpus.write_pairs(text, "test", [*TEST[:4], ("Etwas.", "\u00a0"), *TEST[4:]], LANGUAGES)


def unreadable(text):
    corpus.write_pairs(text, "test", [*TEST[:4], UNREADABLE, *TEST[4:]], LANGUAGES)


def old_line_ends(text):
    for side in ("de", "en"):
        path = text / f"train.{side}"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))


def nul(text):
    corpus.write_pairs(text, "train", [*GOOD[:7], ("Eins\0zwei.", "One two.")], LANGUAGES)


def all_blank(text):
    corpus.write_pairs(text, "train", [("a", ""), ("", "b")], LANGUAGES)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (unpaired, ("valid.de has 12 lines", "valid.en has 11")),
        (no_side, ("no test.en and no test.en.gz",)),
        (empty, ("valid.de is empty",)),
        (old_line_ends, ("train.de has carriage returns alone as line ends",)),
        (not_utf8, ("train.de line 7 is not UTF-8 (byte 5 of the line)",)),
        (torn_gzip, ("train.en.gz is not a whole gzip file",)),
        (no_gzip, ("train.en.gz is not a whole gzip file",)),
        (twice, ("both train.en and train.en.gz",)),
        (blank, ("test.en line 5 is blank",)),
        (unreadable, ("test.de line 5 is blank, or nothing is left of it once normalised",)),
        (nul, ("train.de line 8 has a NUL byte",)),
        (all_blank, ("every pair of", "has a blank side")),
    ],
)
def test_bad_text_is_named_and_leaves_no_folder(text, tmp_path, spoil, named):
    spoil(text)
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out")
    assert all(part in error for part in named), error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--frobnicate",), "unrecognized arguments: --frobnicate"),
        (("--vocab-size",), "--vocab-size: expected one argument"),
        (("--vocab-size", "many"), "--vocab-size: must be a whole number of at least 1, not 'many'"),
        (("--max-ratio", "2"), "--max-ratio has no effect without --clean"),
        (("--clean", "--max-ratio", "x"), "--max-ratio: must be a number such as 1.5, not 'x'"),
        (("--clean", "--max-ratio=0.5"), "--max-ratio must be at least 1, not 0.5"),
        (("--clean", "--min-tokens", "9", "--max-tokens=8"), "--min-tokens 9 is more than --max-tokens 8"),
        (("--character-coverage", "1.5"), "--character-coverage must be from 0.98 to 1, not 1.5"),
        (("--character-coverage", "0.95"), "--character-coverage must be from 0.98 to 1, not 0.95"),
        (("--out", "a,b/out"), "--out a,b/out: fairseq-preprocess takes a comma for the end of a name"),
        (("--tgt", "de"), "--src and --tgt are both 'de'"),
        (("--src", "../de"), "--src: must be a language"),
        (("--input", "/nowhere"), "--input: '/nowhere' is not a folder"),
        (("--steps", "raw bin"), "--steps takes the first of these, in their order: raw spm encoded bin"),
    ],
)
def test_bad_arguments_are_reported_and_leave_no_folder(text, tmp_path, arguments, named):
    assert named in rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_what_is_required_is_asked_for():
    assert "the following arguments are required: --input, --src, --tgt, --out" in rejected("parallel")
    assert "no Python at '/nowhere/python'" in corpus.fail(SCRIPT, "--python", "/nowhere/python")


def test_a_language_may_have_a_hyphen_and_a_path_may_begin_with_a_dash(tmp_path, monkeypatch):
    for split, pairs in zip(SPLITS, (GOOD, VALID, TEST), strict=True):
        corpus.write_pairs(tmp_path / "-text", split, pairs, ("pt-BR", "en"))
    monkeypatch.chdir(tmp_path)
    flags = ["--input=-text", "--src=pt-BR", "--tgt=en", "--out=-out", "--vocab-size=120", "--workers=1"]
    prepare("parallel", *flags)
    assert (tmp_path / "-out" / "bin" / "train.pt-BR-en.pt-BR.bin").stat().st_size > 0
    assert "is finished already" in prepare("parallel", *flags)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_script_and_its_processes_in_one_line_and_it_resumes(text, tmp_path, number):
    """While fairseq-preprocess runs, in a process of its own."""
    out = tmp_path / "out"
    asked = ["--input", text, *FLAGS, "--out", out, "--vocab-size", 120, "--workers", 2]
    command = [str(word) for word in [corpus.CHECKOUT / SCRIPT, *asked]]
    started = subprocess.Popen(
        command,
        env=corpus.environment(),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=corpus.heed_signals,
    )
    wait_for(lambda: list(out.glob(".bin.*partial")), started)
    started.send_signal(number)
    said = started.communicate(timeout=30)[1]
    assert started.returncode == 128 + number
    assert said.endswith(f"fairseq_intra: stopped by {number.name}; the same command resumes\n")
    assert "Traceback" not in said and not list(out.glob(".*partial"))
    assert "encoded: done before" in prepare("parallel", *asked, "--steps", "raw spm encoded")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_reported(text, tmp_path):
    (tmp_path / "out").mkdir(0o500)
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out")
    assert f"--out {tmp_path}/out cannot be written to" in error


def test_what_others_made_is_never_taken_over(text, tmp_path):
    (tmp_path / "out" / "raw").mkdir(parents=True)
    (tmp_path / "out" / "raw" / "mine").write_text("mine")
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "out")
    assert "has a raw that was not made by this command" in error
    assert (tmp_path / "out" / "raw" / "mine").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "file")
    assert "cannot be made a folder" in error and (tmp_path / "file").read_text() == "mine"
    error = rejected("parallel", "--input", text, *FLAGS, "--out", tmp_path / "file" / "out")
    assert f"--out {tmp_path}/file/out cannot be made" in error
