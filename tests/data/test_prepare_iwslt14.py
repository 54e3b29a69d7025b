"""`fairseq-intra prepare iwslt14`, and its script as a user runs it, on small archives in the campaign's layout."""

import gzip
import io
import json
import os
import re
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import campaign
import corpus
import pytest
import serving
from preparing import prepare, rejected

from fairseq_intra.data import iwslt14, iwslt14_text
from fairseq_intra.errors import UsageError

SCRIPT = "data-prep/prepare-iwslt14.sh"
#: The run ends behind OUT/XX-en/text, all that most tests look at.
TO_TEXT = ("--steps", "archive text", "--workers", 1)


def as_authors_have_it(files: dict[str, str], side: str) -> tuple[list[str], list[str], list[str]]:
    """Train, valid and test of campaign.pair_files, whose text Moses' tokeniser and detokeniser leave as it is."""
    train = next(text for name, text in files.items() if name.startswith("train.tags") and name.endswith(f".{side}"))
    kept = re.findall(r"^(?:<(?:title|description)>| )(.+?)(?:</\w+>| )$", train, re.MULTILINE)
    test = []
    for name in campaign.SETS:
        xml = next(text for file, text in files.items() if f".{name}." in file and file.endswith(f".{side}.xml"))
        test += re.findall(r"<seg id=.*?> (.*) </seg>", xml)
    kept, test = ([line.lower() for line in lines] for lines in (kept, test))
    return [line for number, line in enumerate(kept, 1) if number % 23], kept[22::23], test


def text_of(folder: Path, language: str) -> list[list[str]]:
    return [corpus.lines(folder / "text" / f"{split}.{language}") for split in ("train", "valid", "test")]


def to_text(archive: Path, out: Path, *more: object) -> str:
    """Makes the text of German; returns what the command said."""
    return prepare("iwslt14", "--langs", "de", "--archive", archive, "--out", out, *more, *TO_TEXT)


def refused(archive: Path, out: Path, *more: object) -> str:
    return rejected("iwslt14", "--langs", "de", "--archive", archive, "--out", out, *more, *TO_TEXT)


def sources(out: Path) -> dict:
    return json.loads((out / "de-en" / "text" / "SOURCES.json").read_text(encoding="utf-8"))


@pytest.fixture
def archive(tmp_path):
    campaign.write_archive(tmp_path / "2014-01.tgz", ["de", "he"])
    return tmp_path / "2014-01.tgz"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The archive of two languages, and what was made of it; not to be changed."""
    base = tmp_path_factory.mktemp("finished")
    campaign.write_archive(base / "2014-01.tgz", ["ar", "de"])
    arguments = ["--langs", "ar de", "--archive", base / "2014-01.tgz", "--out", base / "out"]
    corpus.succeed(SCRIPT, *arguments, "--vocab-size", 150, "--workers", 1)
    return base / "2014-01.tgz", base / "out"


def test_an_archive_becomes_a_dataset_for_each_language(finished):
    _, out = finished
    for language in ("ar", "de"):
        files = campaign.pair_files(language)
        for side in (language, "en"):
            assert tuple(text_of(out / f"{language}-en", side)) == as_authors_have_it(files, side)
        manifest = json.loads((out / f"{language}-en" / "manifest.json").read_text(encoding="utf-8"))
        assert {name: counts["pairs"] for name, counts in manifest["splits"].items()} == {
            "train": 264,
            "valid": 12,
            "test": 30,
        }
        assert manifest["settings"]["lowercase"] and manifest["settings"]["vocab_size"] == 150
        binary = out / f"{language}-en" / "bin"
        assert corpus.lines(binary / f"dict.{language}.txt") == corpus.lines(binary / "dict.en.txt")


def test_repeated_it_needs_no_archive_and_changes_nothing(finished, tmp_path):
    archive, out = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    done = prepare("iwslt14", "--langs", "de ar", "--out", out, "--vocab-size", 150, "--cache", tmp_path / "none")
    assert done.count("text done before") == 2 and done.count("is finished already") == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    campaign.write_archive(tmp_path / "other.tgz", ["de"], train=240)
    assert "was made with another archive" in refused(tmp_path / "other.tgz", out)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_killed_and_repeated_it_makes_the_same(archive, tmp_path):
    out = tmp_path / "out"
    more = ["--langs", "de", "--archive", archive, "--out", out, *TO_TEXT]
    corpus.kill_during("de-en/.text.*", out, SCRIPT, *more)
    assert not (out / "de-en" / "text").exists()
    to_text(archive, out)
    assert not list((out / "de-en").glob(".*partial"))
    assert tuple(text_of(out / "de-en", "de")) == as_authors_have_it(campaign.pair_files("de"), "de")


def test_moses_rule_leaves_pairs_out_before_the_split(tmp_path):
    """Counted in tokens: the full stop, the comma and the contraction are tokens of their own."""
    odd = {
        "at the ratio": ("Eins, zwei drei vier fünf", "One two's three"),
        "over it": ("Eins zwei drei vier fünf sechs.", "One two three."),
        "longest": ("wort " * 175, "word " * 174 + "."),
        "too long": ("wort " * 175 + ".", "word " * 175),
        "blank": ("", "Nothing."),
        "quoted": ('Er sagte: "AT&T [ist] <b> | d\'accord".', 'He said: "AT&T [is] <b> | o\'clock".'),
    }
    files = campaign.pair_files("de")
    for side, name in enumerate(("de", "en")):
        files[f"train.tags.de-en.{name}"] += "".join(pair[side] + "\r\n" for pair in odd.values())
    campaign.pack(tmp_path / "a.tgz", {"de": files})
    said = to_text(tmp_path / "a.tgz", tmp_path / "out")
    reasons = {"blank on a side": 1, "over 1.5 times as long as the other side": 1, "over 175 tokens": 1}
    assert sources(tmp_path / "out")["left_out"]["train"] == reasons
    assert "de-en: 1 left out of train (over 175 tokens)" in said
    expected = [odd["at the ratio"], odd["longest"], odd["quoted"]]
    for side, name in enumerate(("de", "en")):
        train = corpus.lines(tmp_path / "out" / "de-en" / "text" / f"train.{name}")
        texts = [pair[side].strip().lower() for pair in expected]
        # What detokenising cannot know: a full stop that stood alone, and the white space around quotes in German.
        assert train[-3].replace(" ", "") == texts[0].replace(" ", "")
        assert train[-2] == texts[1].replace(" .", ".")
        assert train[-1].replace(" ", "") == texts[2].replace(" ", "")


def test_test_sets_come_with_entities_resolved_and_pairs_by_number(tmp_path):
    files = campaign.pair_files("de", test=2)
    for name in [name for name in files if "TEDX" in name]:
        del files[name]
    name = "IWSLT14.TED.tst2012.de-en"
    files[f"{name}.de.xml"] = (
        '<doc docid="9">\r\n<seg id="1"> F&amp;E &#8217;s &lt;Ende&gt; É </seg>\r\n<seg id="2"> Zwei </seg>\r\n'
        '<seg id="3">   </seg>\r\n<seg id="4"> Vier\n und weiter </seg></doc>\r\n<doc docid="7">'
        '<seg id="1"> AT&T &nbsp; </seg></doc>'
    )
    files[f"{name}.en.xml"] = (
        '<doc docid="7"><seg id="1"> Last </seg></doc><doc docid="9"><seg id="1"> R&amp;D’s </seg>\n'
        '<seg id="3"> Three </seg>\n<seg id="4"> Four </seg></doc>'
    )
    campaign.pack(tmp_path / "a.tgz", {"de": files})
    said = to_text(tmp_path / "a.tgz", tmp_path / "out")
    german, english = (corpus.lines(tmp_path / "out" / "de-en" / "text" / f"test.{side}") for side in ("de", "en"))
    assert len(german) == len(english) == 9
    assert german[-3:] == ["f&e 's <ende> é", "vier und weiter", "at&t"]
    assert english[-3:] == ["r&d's", "four", "last"]
    reasons = {
        "blank on a side": 1,
        f"segment of {name}.de.xml or its English without a counterpart": 1,
    }
    assert sources(tmp_path / "out")["left_out"]["test"] == reasons
    assert f"1 left out of test (segment of {name}.de.xml" in said


def test_the_campaigns_own_xml_is_read(tmp_path):
    """Twelve thousand real segments: every one is there, and what surrounds them is not."""
    if not campaign.REAL_XML.is_dir():
        pytest.skip(f"{campaign.REAL_XML} is not here")
    files = {
        path.name.replace("IWSLT16", "IWSLT14"): path.read_text("utf-8") for path in campaign.REAL_XML.glob("*.xml")
    }
    spoken = {}
    for side in ("de", "en"):
        spoken[side] = re.findall(r"<seg id=.*?>(.*)</seg>", files[f"IWSLT14.TED.tst2013.de-en.{side}.xml"])
        files[f"train.tags.de-en.{side}"] = "".join(line + "\n" for line in spoken[side])
    campaign.pack(tmp_path / "a.tgz", {"de": files})
    to_text(tmp_path / "a.tgz", tmp_path / "out")
    used = [f"IWSLT14.{name}.de-en.de.xml" for name in campaign.SETS]
    expected = sum(files[name].count("<seg ") for name in used)
    for side in ("de", "en"):
        train, valid, test = text_of(tmp_path / "out" / "de-en", side)
        assert len(test) == expected
        assert not any(re.search("<seg|</seg|&amp;|&lt;|’", line) or line != line.lower() for line in test)
    made = sources(tmp_path / "out")
    assert made["left_out"]["test"] == {}
    assert sum(made["left_out"]["train"].values()) + len(train) + len(valid) == len(spoken["de"])


def test_a_pairs_own_archive_will_do(tmp_path):
    files = campaign.pair_files("de")
    (tmp_path / "de-en.tgz").write_bytes(campaign.pair_archive("de", files))
    to_text(tmp_path / "de-en.tgz", tmp_path / "out")
    assert tuple(text_of(tmp_path / "out" / "de-en", "en")) == as_authors_have_it(files, "en")


def test_it_is_fetched_once_and_its_checksum_kept(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    more = ["--langs", "de", "--cache", tmp_path / "cache", *TO_TEXT]
    with serving.serving({"/wit3/2014-01.tgz": archive.read_bytes()}) as server:
        server.failures += [serving.Answer(after=5000)]
        url = f"{server.url}/wit3/2014-01.tgz"
        for out in ("one", "two"):
            prepare("iwslt14", "--url", url, "--out", tmp_path / out, *more)
        assert [asked for _, asked in server.requests] == ["", "bytes=5000-"]
    cached = tmp_path / "cache" / server.url.replace("//", "") / "wit3" / "2014-01.tgz"
    assert cached.read_bytes() == archive.read_bytes()
    sums = subprocess.run(["sha256sum", "--check", "2014-01.tgz.sha256"], cwd=cached.parent, capture_output=True)
    assert sums.returncode == 0
    cached.write_bytes(cached.read_bytes()[:-1] + b"x")
    error = rejected("iwslt14", "--url", url, "--out", tmp_path / "three", *more)
    assert f"{cached} is not the archive that it was" in error
    assert not (tmp_path / "three").exists()


def test_without_an_archive_google_drive_is_asked_by_way_of_gdown(archive, tmp_path):
    more = ["--langs", "he", "--cache", tmp_path / "cache", "--out", tmp_path / "out", *TO_TEXT]
    blocked = "import sys\nsys.modules['gdown'] = None\n"
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "sitecustomize.py").write_text(blocked)
    error = corpus.fail(SCRIPT, *more, PYTHONPATH=str(tmp_path / "none"))
    assert "gdown is needed" in error and "or give --archive FILE" in error
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "gdown.py").write_text(
        "import shutil, sys\n"
        "assert sys.argv[1:3] == ['--continue', '-O'] and len(sys.argv) == 5\n"
        f"shutil.copy({str(archive)!r}, sys.argv[3])\n"
    )
    corpus.succeed(SCRIPT, *more, PYTHONPATH=str(tmp_path / "there"))
    assert (tmp_path / "cache" / "drive.google.com" / "2014-01.tgz").read_bytes() == archive.read_bytes()


def torn(archive):
    archive.write_bytes(archive.read_bytes()[:-200])


def damaged(archive):
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(bytes(content))


def no_archive(archive):
    archive.write_text("<html>Too many users have viewed or downloaded this file recently.</html>")


def no_tar(archive):
    archive.write_bytes(gzip.compress(b"only text"))


def nothing(archive):
    archive.write_bytes(b"")


def torn_inside(archive):
    inner = campaign.pair_archive("de", campaign.pair_files("de"))
    archive.write_bytes(campaign.tgz({"2014-01/texts/de/en/de-en.tgz": inner[:-300]}))


def without_german(archive):
    campaign.write_archive(archive, ["he", "nl"])


def of_others(archive):
    archive.write_bytes(campaign.tgz({"holiday/photo.jpg": b"x"}))


def with_member(name: str, kind: bytes = tarfile.REGTYPE):
    """Spoils an archive by one more member."""

    def spoil(archive):
        with tarfile.open(archive, "w:gz") as tar:
            inner = campaign.pair_archive("de", campaign.pair_files("de"))
            member = tarfile.TarInfo("2014-01/texts/de/en/de-en.tgz")
            member.size = len(inner)
            tar.addfile(member, io.BytesIO(inner))
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)

    return spoil


def changed(name: str, change):
    """Spoils one of the files of the German pair."""

    def spoil(archive):
        files = campaign.pair_files("de")
        files[name] = change(files[name])
        campaign.pack(archive, {"de": {name: text for name, text in files.items() if text is not None}})

    return spoil


TST2010 = "IWSLT14.TED.tst2010.de-en.en.xml"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (torn, "is truncated or damaged; give another, or delete it and get it again"),
        (damaged, "get it again"),
        (no_archive, "is not a whole .tgz archive"),
        (no_tar, "is not a whole .tgz archive"),
        (nothing, "is not a whole .tgz archive"),
        (torn_inside, "in it 2014-01/texts/de/en/de-en.tgz, is truncated or damaged"),
        (without_german, "has no de-en; it has he-en, nl-en"),
        (of_others, "has no de-en; it has no pair of IWSLT'14"),
        (with_member("/etc/passwd"), "has a member outside its own folder, /etc/passwd"),
        (with_member("2014-01/../../x"), "has a member outside its own folder, 2014-01/../../x"),
        (with_member("2014-01/x", tarfile.SYMTYPE), "has a link, 2014-01/x, in place of a file"),
        (with_member("2014-01/x", tarfile.LNKTYPE), "has a link, 2014-01/x, in place of a file"),
        (with_member("2014-01/x", tarfile.CHRTYPE), "has a device, 2014-01/x, in place of a file"),
        (changed("train.tags.de-en.de", lambda text: text + "one more\n"), "has 277 lines of text but"),
        (changed("train.tags.de-en.en", lambda text: None), "the archive has no train.tags.de-en.en"),
        (changed(TST2010, lambda text: None), f"the archive has no {TST2010}"),
        (changed("train.tags.de-en.de", lambda text: text.encode("utf-16")), "line 1 is not UTF-8"),
        (changed(TST2010, lambda text: text.replace("</seg>", "", 1)), f"{TST2010} has segments without an end"),
        (changed(TST2010, lambda text: text.replace('id="2"', 'id="1"')), "has segment 1 of talk 0 twice"),
        (changed(TST2010, lambda text: text.replace('docid="', 'docid="x')), "have no segment in common"),
    ],
)
def test_a_bad_archive_is_named(archive, tmp_path, spoil, named):
    spoil(archive)
    with pytest.raises(UsageError, match=re.escape(named)):
        iwslt14.check(archive, tmp_path / "record", ["de"])
        files = iwslt14_text.read_pair(archive, "de")
        iwslt14_text.train_pairs(files, "de")
        list(iwslt14_text.test_pairs(files, "de", Counter()))


@pytest.mark.parametrize("spoil", [torn, torn_inside, without_german])
def test_nothing_is_built_of_a_bad_archive(archive, tmp_path, spoil):
    spoil(archive)
    assert str(archive) in refused(archive, tmp_path / "out")
    assert not list(tmp_path.glob("out/de-en/[a-z]*"))


@pytest.mark.parametrize("spoil", [without_german, changed("train.tags.de-en.de", lambda text: text + "one more\n")])
def test_a_wrong_archive_does_not_bind_the_folder(archive, tmp_path, spoil):
    right = archive.read_bytes()
    spoil(archive)
    refused(archive, tmp_path / "out")
    archive.write_bytes(right)
    to_text(archive, tmp_path / "out")


def test_pairs_of_the_tests_leave_train_on_request(archive, tmp_path):
    to_text(archive, tmp_path / "out")
    for side in ("de", "en"):
        train, test = (tmp_path / "out" / "de-en" / "text" / f"{split}.{side}" for split in ("train", "test"))
        train.write_text(train.read_text() + corpus.lines(test)[0] + "\n")
    flags = ["--langs", "de", "--out", tmp_path / "out", "--drop-overlap", "--workers", 1]
    said = prepare("iwslt14", *flags, "--steps", "archive text raw")
    assert "1 dropped (a side is in valid or test)" in said


def test_a_language_named_twice_is_made_once(archive, tmp_path):
    said = prepare(
        "iwslt14", "--langs", "de de", "--archive", archive, "--out", tmp_path / "out", "--steps", "archive text"
    )
    assert said.count("de-en: train ") == 1


def test_each_pair_may_have_an_archive_of_its_own(archive, tmp_path):
    to_text(archive, tmp_path / "out")
    other = tmp_path / "he-en.tgz"
    campaign.write_archive(other, ["he"], train=250)
    prepare("iwslt14", "--langs", "he", "--archive", other, "--out", tmp_path / "out", *TO_TEXT)
    assert (tmp_path / "out" / "he-en" / "text").exists()


def test_an_archive_that_has_changed_since_is_named(archive, tmp_path):
    to_text(archive, tmp_path / "out")
    campaign.write_archive(archive, ["de", "he"], train=250)
    more = ["--langs", "he", "--archive", archive, "--out", tmp_path / "out", *TO_TEXT]
    error = rejected("iwslt14", *more)
    assert f"{archive} is not the archive that it was" in error and f"{archive.name}.sha256" in error
    assert not (tmp_path / "out" / "he-en").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (
            ("--langs", "de xx"),
            "--langs: has 'xx', which IWSLT'14 does not have; it takes any of ar de es fa he it nl pl",
        ),
        (("--langs", " "), "--langs: names no language"),
        (("--url", "http://127.0.0.1/x.tgz"), "--archive and --url are two answers"),
        (("--url", ""), "argument --url: is empty"),
        (("--archive", "/nowhere.tgz"), "--archive: '/nowhere.tgz' is not a file"),
        (("--out", "/proc/out"), "--out /proc/out cannot be made a folder"),
    ],
)
def test_bad_arguments_are_reported_and_leave_no_folder(archive, tmp_path, arguments, named):
    assert named in rejected("iwslt14", "--archive", archive, "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_missing_permissions_are_named(archive, tmp_path):
    archive.chmod(0)
    assert f"{archive}: Permission denied" in refused(archive, tmp_path / "out")
    archive.chmod(0o600)
    (tmp_path / "out").mkdir(0o500)
    assert "cannot be written to" in refused(archive, tmp_path / "out")


def test_a_full_disk_is_named(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(iwslt14, "write_splits", lambda *_: Path("/dev/full").write_text("x" * 9999))
    error = refused(archive, tmp_path / "out")
    assert error.endswith(f"error: no space left on the disk of {tmp_path}/out; free some and run this again")
    assert not list(tmp_path.glob("out/de-en/[a-z]*"))


def test_the_script_lists_the_steps_in_their_order():
    script = (corpus.CHECKOUT / SCRIPT).read_text(encoding="utf-8")
    (steps,) = re.findall(r"^steps=\(\n(.*?)^\)", script, re.MULTILINE | re.DOTALL)
    assert tuple(re.findall(r"^  (\w+)", steps, re.MULTILINE)) == iwslt14.STEPS
