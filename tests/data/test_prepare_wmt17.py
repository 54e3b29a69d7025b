"""`fairseq-intra prepare wmt17`, and its script as a user runs it, on small archives in the layout of WMT'17's."""

import gzip
import hashlib
import json
import signal
import sys
from pathlib import Path

import campaign
import corpus
import pytest
import serving
from preparing import rejected

from fairseq_intra.data import wmt17, wmt17_text
from fairseq_intra.errors import UsageError

SCRIPT = "data-prep/prepare-wmt17-en-de.sh"
SETTINGS = ("--vocab-size", 150, "--workers", 1)
#: The run ends behind OUT/text.
TO_TEXT = ("--steps", "archives text")
EUROPARL, COMMON_CRAWL, NEWS = "training/europarl-v7.de-en", "commoncrawl.de-en", "training/news-commentary-v12.de-en"

GOOD = [(source, target) for target, source in corpus.sentences(300, seed=8)]
ODD = {
    "kept": ("Caf\u0065\u0301\u00ad  \u200bau  lait \ufeff", "Milchkaffee mit \u00dcbergewicht \x07"),
    "blank": ("", "Nichts."),
    "same": ("Just the same on both.", "Just the same on both."),
    "numbers": ("12 34 56 : 78", "Zwölf"),
    "long word": ("a" * 101, "Ein langes Wort"),
    "repeated": GOOD[7],
    "out of proportion": ("one two three four five six seven", "eins"),
}
SETS = {"wmt13": corpus.sentences(9, seed=11), "wmt14/full": corpus.sentences(8, seed=12), "wmt17": GOOD[:3]}


def corpus_files(name: str, pairs: list[tuple[str, str]]) -> dict[str, str]:
    return {f"{name}.{side}": "".join(f"{pair[at]}\n" for pair in pairs) for at, side in enumerate(("en", "de"))}


def write_archives() -> dict[str, bytes]:
    """The three archives, each with other languages beside those that are asked for."""
    others = {"training/europarl-v7.fr-en.fr": "Rien.\n", "training/europarl-v7.fr-en.en": "Nothing.\n"}
    latin = corpus_files(COMMON_CRAWL, [*GOOD[100:200], *ODD.values()])
    latin = {name: text.encode() + b"Stra\xdfe\n" for name, text in latin.items()}
    return {
        "training-parallel-europarl-v7.tgz": campaign.tgz(others | corpus_files(EUROPARL, GOOD[:100])),
        "training-parallel-commoncrawl.tgz": campaign.tgz(latin),
        "training-parallel-nc-v12.tgz": campaign.tgz(corpus_files(NEWS, GOOD[200:])),
    }


def write_list(path: Path, base: str, archives: dict[str, bytes]) -> None:
    names = zip(archives.items(), (EUROPARL, COMMON_CRAWL, NEWS), strict=True)
    path.write_text(
        "# Three of them\n"
        + "".join(f"{base}/{n} {len(c)} {hashlib.sha256(c).hexdigest()} {corpus}\n" for (n, c), corpus in names)
    )


def write_folder(folder: Path, archives: dict[str, bytes]) -> None:
    """What --archive-dir has on a machine without network: the archives, and sacrebleu's folder."""
    folder.mkdir()
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    for name, pairs in SETS.items():
        campaign.sacrebleu_set(folder / "sacrebleu", name, pairs)


@pytest.fixture
def given(tmp_path):
    """The flags that name a folder of archives and the list of them."""
    archives = write_archives()
    write_folder(tmp_path / "archives", archives)
    write_list(tmp_path / "list.txt", "http://127.0.0.1:1", archives)
    return ["--archive-dir", tmp_path / "archives", "--archives", tmp_path / "list.txt"]


def text_of(out: Path, split: str) -> list[tuple[str, str]]:
    return list(zip(*(corpus.lines(out / "text" / f"{split}.{side}") for side in ("en", "de")), strict=True))


def to_text(*arguments: object, **more: str) -> str:
    """Runs the script as far as OUT/text; returns what it said."""
    return corpus.succeed(SCRIPT, *arguments, *TO_TEXT, **more)


def test_archives_become_a_dataset(given, tmp_path):
    out = tmp_path / "out"
    corpus.succeed(SCRIPT, *given, "--out", out, *SETTINGS)
    plain = ("Caf\u00e9 au lait", "Milchkaffee mit \u00dcbergewicht")
    kept = [*GOOD[:200], plain, ODD["out of proportion"], *GOOD[200:]]
    assert text_of(out, "train") == kept
    made = json.loads((out / "text" / "SOURCES.json").read_text(encoding="utf-8"))
    assert made["left_out"] == {
        "a word of over 100 characters": 1,
        "blank on a side": 1,
        "less than half of it letters": 1,
        "not UTF-8": 1,
        "repeated": 1,
        "the same on both sides": 1,
    }
    for split, name in (("valid", "wmt13"), ("test", "wmt14/full"), ("newstest2017", "wmt17")):
        assert text_of(out, split) == SETS[name]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["source"], manifest["target"]) == ("en", "de")
    assert {name: counts["pairs"] for name, counts in manifest["splits"].items()} == {
        "train": len(kept) - 1,  # the one out of proportion
        "valid": 9,
        "test": 8,
    }
    assert manifest["settings"]["clean"] == {"max_ratio": 1.5, "min_tokens": 1, "max_tokens": 250}
    assert manifest["settings"]["spm_lines"] == 500_000 and not manifest["settings"]["lowercase"]
    # With the text there, the archives are not needed any more.
    (tmp_path / "archives" / "training-parallel-nc-v12.tgz").unlink()
    said = corpus.succeed(SCRIPT, *given, "--out", out, *SETTINGS)
    assert "text: done before" in said and "is finished already" in said


#: Run by every Python that is started: the last archive is never read.
KILLED = f"""import os, signal
from fairseq_intra.data import wmt17_text
raw_pairs = wmt17_text.raw_pairs
def raw_pairs_until_killed(path, corpus):
    if corpus == {NEWS!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return raw_pairs(path, corpus)
wmt17_text.raw_pairs = raw_pairs_until_killed
"""


def test_killed_and_repeated_it_makes_the_same(given, tmp_path):
    """Killed when it has read two of the three archives."""
    out = tmp_path / "out"
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "sitecustomize.py").write_text(KILLED)
    killed = corpus.run(SCRIPT, *given, "--out", out, *TO_TEXT, PYTHONPATH=str(tmp_path / "killed"))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(out.glob(".text.*/train.de")) and not (out / "text").exists()
    to_text(*given, "--out", out)
    assert not list(out.glob(".*partial"))
    assert len(text_of(out, "train")) == 302


def test_another_corpus_of_the_same_archive_is_another_text(given, tmp_path):
    to_text(*given, "--out", tmp_path / "out")
    sources = json.loads((tmp_path / "out/text/SOURCES.json").read_text())
    assert set(sources["sets"]) == set(SETS) and all(len(sums) == 2 for sums in sources["sets"].values())
    path = tmp_path / "list.txt"
    path.write_text(path.read_text().replace(EUROPARL, "training/europarl-v7.fr-en"))
    error = rejected("wmt17", *given, "--out", tmp_path / "out", *TO_TEXT)
    assert "was made with corpora" in error and "give another --out" in error


def test_what_is_missing_is_fetched_and_checked(given, tmp_path):
    archives = write_archives()
    folder = tmp_path / "archives"
    for name in archives:
        (folder / name).unlink()
    with serving.serving({f"/wmt/{name}": content for name, content in archives.items()}) as server:
        write_list(tmp_path / "list.txt", f"{server.url}/wmt", archives)
        server.failures += [serving.Answer(after=1000)]
        said = to_text(*given, "--out", tmp_path / "out", no_proxy="127.0.0.1")
        assert [asked for _, asked in server.requests] == ["", "bytes=1000-", "", ""]
    assert f"fetching {server.url}/wmt/training-parallel-nc-v12.tgz (0 MB)" in said
    assert len(text_of(tmp_path / "out", "train")) == 302
    for name, content in archives.items():
        assert (folder / name).read_bytes() == content


def test_an_archive_of_two_corpora_is_fetched_once(given, tmp_path):
    archives = write_archives()
    name = "training-parallel-nc-v12.tgz"
    (tmp_path / "archives" / name).unlink()
    path = tmp_path / "list.txt"
    with serving.serving({f"/wmt/{name}": archives[name]}) as server:
        write_list(path, f"{server.url}/wmt", archives)
        (line,) = (line for line in path.read_text().splitlines() if name in line)
        path.write_text(f"{path.read_text()}{line}\n")
        to_text(*given, "--out", tmp_path / "out", no_proxy="127.0.0.1")
        assert len(server.requests) == 1
    digest = line.split(" ")[2]
    path.write_text(f"{path.read_text()}{line.replace(digest, digest[::-1])}\n")
    assert f"another archive is also named {name}" in rejected("wmt17", *given, "--out", tmp_path / "out")


def other_bytes(folder):
    path = folder / "training-parallel-nc-v12.tgz"
    path.write_bytes(path.read_bytes()[:-1])


def no_test_set(folder):
    for path in (folder / "sacrebleu" / "wmt13").iterdir():
        path.unlink()
    (folder / "sacrebleu" / "wmt13").rmdir()
    (folder / "sacrebleu" / "wmt13").write_text("in the way")


def truncated_test_set(folder):
    path = next(path for path in (folder / "sacrebleu" / "wmt13").iterdir() if path.name.endswith(".ref"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (truncated_test_set, "has 9 lines and "),
        (other_bytes, "training-parallel-nc-v12.tgz is damaged or another file"),
        (no_test_set, "sacrebleu cannot get wmt13"),
    ],
)
def test_a_bad_folder_is_named_and_nothing_is_built_of_it(given, tmp_path, spoil, named):
    spoil(tmp_path / "archives")
    error = corpus.fail(SCRIPT, *given, "--out", tmp_path / "out", *TO_TEXT)
    assert named in error
    assert not list(tmp_path.glob("out/[a-z]*"))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        (corpus_files("other", GOOD), "has no commoncrawl.de-en.en"),
        (corpus_files(COMMON_CRAWL, GOOD) | {f"{COMMON_CRAWL}.de": "Nur eine.\n"}, "ends after 1 lines"),
        ({"/commoncrawl.de-en.en": "x"}, "has a member outside its own folder"),
    ],
)
def test_a_bad_archive_is_named(tmp_path, members, named):
    path = tmp_path / "training-parallel-commoncrawl.tgz"
    path.write_bytes(campaign.tgz(members))
    with pytest.raises(UsageError, match=named) as raised:
        list(wmt17_text.raw_pairs(path, COMMON_CRAWL))
    assert str(path) in str(raised.value)
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(UsageError, match="is not a whole .tgz archive"):
        list(wmt17_text.raw_pairs(path, COMMON_CRAWL))


def test_a_disk_too_small_is_told_before_anything_is_fetched(given, tmp_path):
    listed = (tmp_path / "list.txt").read_text().split("\n")
    address, _, *rest = listed[3].split(" ")
    listed[3] = " ".join((address, str(10**18), *rest))
    (tmp_path / "list.txt").write_text("\n".join(listed))
    error = rejected("wmt17", *given, "--out", tmp_path / "out")
    assert "MB are needed and" in error and "free on the disk of" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--archives", "/nowhere"), "--archives: '/nowhere' is not a file"),
        (("--archives", __file__), "line 1 is not ADDRESS BYTES SHA256 CORPUS"),
        (("--archives", sys.executable), "is not UTF-8 text"),
        (("--archive-dir", "/proc/archives"), "--archive-dir /proc/archives cannot be made a folder"),
        (("--out", "/proc/out"), "--out /proc/out cannot be made a folder"),
    ],
)
def test_bad_arguments_are_reported_and_leave_no_folder(given, tmp_path, arguments, named):
    assert named in rejected("wmt17", *given, "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


def test_the_official_archives_are_listed_with_their_sizes():
    listed = wmt17_text.listed(wmt17.ARCHIVES)
    help_text = corpus.run(SCRIPT, "--help").stdout
    for archive in listed:
        assert archive.url.removeprefix("http://") in help_text
        assert f" {archive.bytes / 1e6:.0f} MB " in help_text
    assert [archive.corpus for archive in listed] == [EUROPARL, COMMON_CRAWL, NEWS]
    for flag in ("archive-dir", "archives", "max-tokens", "max-ratio", "vocab-size", "spm-lines", "workers"):
        assert f"--{flag} " in help_text
