"""`fairseq-intra prepare l10n`, and its script as a user runs it, on small wheels made here."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import corpus
import polib
import pytest
from preparing import prepare, rejected

from fairseq_intra.data import l10n, l10n_split, l10n_wheels

SCRIPT = "data-prep/prepare-l10n.sh"
#: The run ends behind OUT/text, all that most tests look at.
TO_TEXT = ("--steps", "wheels text")
# Enough messages for a split; the rules are tried on the few that are written out below.
MESSAGES = corpus.sentences(120, seed=5)
HELD_OUT = ("--valid", 10, "--test", 12)

KEPT = {
    ("Gerät {name} ist nicht erreichbar", "Device {name} is not reachable"),
    ("Zeile eins Zeile zwei", "Line one line two"),
    ("Der <b>Speicher</b> ist voll.", "The <b>memory</b> is full."),
    ("Ein Eintrag von ihnen", "One entry of them"),
    ("%(count)s Einträge von ihnen", "%(count)s entries of them"),
    ("Hier steht ein Text.", 'Here is a "text".'),
    ("Aus dem kompilierten Katalog", "From the compiled catalogue"),
}
LEFT_OUT = (
    "Fuzzy entry of old",
    "Obsolete entry of old",
    "Not translated at all",
    "Only two",
    "Same in both",
    "key:",
)


def home_assistant() -> dict[str, str]:
    """Two components; German lacks a message, and has one that English lacks."""
    english = {
        "title": "Only two",
        "config": {
            "error": {"gone": "Device {name} is not reachable", "full": "The <b>memory</b> is full."},
            "lines": "Line one\n\n  line two",
            "reference": "[%key:common::config_flow::error::unknown%] of all",
            "markup": "<br> {one} {two}",
            "same": "Same in both",
            "untranslated": "Not translated at all",
        },
        "messages": {str(number): text for number, (_, text) in enumerate(MESSAGES)},
    }
    german = {
        "title": "Nur zwei",
        "config": {
            "error": {"gone": "Gerät {name} ist nicht erreichbar", "full": "Der <b>Speicher</b> ist voll."},
            "lines": "Zeile eins\r\nZeile\u00a0zwei",
            "reference": "[%key:common::config_flow::error::unknown%] von allen",
            "markup": "<br> {eins} {zwei}",
            "same": "same in both",
            "only_german": "Das gibt es nur auf Deutsch",
        },
        "messages": {str(number): text for number, (text, _) in enumerate(MESSAGES)},
    }
    folder = "homeassistant/components/{}/translations/{}.json"
    repeated = {"error": {"gone": "Device {name} is not reachable"}}, {"error": german["config"]["error"]}
    return {
        folder.format("one", "en"): json.dumps(english),
        folder.format("one", "de"): json.dumps(german),
        folder.format("two", "en"): json.dumps(repeated[0]),
        folder.format("two", "de"): json.dumps(repeated[1]),
        folder.format("three", "de"): json.dumps({"text": "Hat kein englisches Gegenstück"}),
    }


def catalogue(*entries: polib.POEntry) -> polib.POFile:
    made = polib.POFile()
    made.metadata = {
        "Content-Type": "text/plain; charset=UTF-8",
        "Plural-Forms": "nplurals=2; plural=(n != 1);",
    }
    made.extend(entries)
    return made


def gettext_catalogues() -> dict[str, str]:
    plural = {0: "Ein Eintrag von ihnen", 1: "%(count)s Einträge von ihnen"}
    named = polib.POEntry(
        msgid="label_text", msgstr="Hier steht ein Text.", comment='Default: "Here is a \\"text\\"."'
    )
    made = catalogue(
        polib.POEntry(msgid="One entry of them", msgid_plural="%(count)s entries of them", msgstr_plural=plural),
        polib.POEntry(msgid="Fuzzy entry of old", msgstr="Unscharfer Eintrag von früher", flags=["fuzzy"]),
        polib.POEntry(msgid="Obsolete entry of old", msgstr="Alter Eintrag von früher", obsolete=True),
        polib.POEntry(msgid="Not translated at all", msgstr=""),
        named,
    )
    stale = catalogue(polib.POEntry(msgid="Fuzzy entry of old", msgstr="Unscharfer Eintrag von früher"))
    compiled = catalogue(polib.POEntry(msgid="From the compiled catalogue", msgstr="Aus dem kompilierten Katalog"))
    return {
        "shop/locale/de/LC_MESSAGES/django.po": str(made),
        # The .po is there, so what its compiled form says does not count.
        "shop/locale/de/LC_MESSAGES/django.mo": stale.to_binary(),
        "shop/locale/de/LC_MESSAGES/other.mo": compiled.to_binary(),
        "shop/locale/fr/LC_MESSAGES/django.po": str(catalogue(polib.POEntry(msgid="In French it is", msgstr="Non"))),
    }


def write_wheel(folder: Path, name: str, members: dict, licence: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = {
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{licence}\n",
        f"{name}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in (members | info).items():
            wheel.writestr(zipfile.ZipInfo(member), content)
    return path


def pin(path: Path, languages: str = "") -> str:
    name = path.name.split("-")[0]
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}{languages}\n"


@pytest.fixture
def wheels(tmp_path):
    """A cache that holds two wheels, and the pin list that names them."""
    cache = tmp_path / "cache"
    assistant = write_wheel(cache, "homeassistant", home_assistant(), "License-Expression: Apache-2.0")
    shop = write_wheel(cache, "shop", gettext_catalogues(), "Classifier: License :: OSI Approved :: BSD License")
    (tmp_path / "pins.txt").write_text(f"# Two of them\n{pin(assistant)}{pin(shop, '  # de nl')}")
    return ("--cache", cache, "--wheels", tmp_path / "pins.txt")


def pairs(text: Path, split: str) -> list[tuple[str, str]]:
    sides = [corpus.lines(text / f"{split}.{language}") for language in ("de", "en")]
    return list(zip(*sides, strict=True))


def letters(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def test_wheels_become_a_folder_that_is_ready(wheels, tmp_path):
    out = tmp_path / "out"
    arguments = ("--lang", "de", "--out", out, *wheels, *HELD_OUT, "--vocab-size", 150, "--workers", 1)
    prepare("l10n", *arguments)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert [manifest["splits"][split]["pairs"] for split in ("valid", "test")] == [10, 12]
    assert (manifest["source"], manifest["target"], manifest["settings"]["vocab_size"]) == ("de", "en", 150)
    assert (out / "bin" / "train.de-en.de.bin").is_file()

    sources = json.loads((out / "text" / "SOURCES.json").read_text(encoding="utf-8"))
    assert sources["distinct_pairs"] == len(KEPT) + len(MESSAGES)
    assistant, shop = sources["wheels"]
    assert (assistant["name"], assistant["version"], assistant["licence"]) == (
        "homeassistant",
        "1.0",
        "Apache-2.0",
    )
    assert assistant["pairs"] == len(MESSAGES) + 3
    assert assistant["left_out"] == {
        "markup or placeholders only": 1,
        "reference": 1,
        "repeated": 1,
        "under 3 words": 1,
        "untranslated": 1,
    }
    assert (shop["licence"], shop["pairs"], shop["left_out"]) == ("BSD License", 4, {"untranslated": 1})

    (tmp_path / "cache").rename(tmp_path / "gone")
    said = prepare("l10n", *arguments)
    assert "text: done before" in said and "is finished already" in said


def extract(out: Path, *arguments: object) -> Path:
    """Makes the text, and returns where that is."""
    prepare("l10n", "--out", out, *arguments, *TO_TEXT)
    return out / "text"


def test_only_usable_messages_are_kept(wheels, tmp_path):
    text = extract(tmp_path / "out", *wheels, *HELD_OUT)
    found = [pair for split in ("train", "valid", "test") for pair in pairs(text, split)]
    assert len(found) == len(set(found))
    assert set(found) == KEPT | set(MESSAGES)
    assert not [pair for pair in found if any(part in pair[1] for part in LEFT_OUT)]


def test_no_spelling_of_a_held_out_message_is_in_train(tmp_path):
    """Every message comes in three spellings, and every second translation serves two English messages."""
    english, german = {}, {}
    for number, (source, target) in enumerate(MESSAGES):
        spellings = (
            (source, target),
            (source.upper(), target + "!"),
            (source, target.upper().replace(" ", "-")),
        )
        also = (source.lower(), f"another of {target}")
        for kind, pair in enumerate((*spellings, also)[: 3 + number % 2]):
            # Three words must stay three words to be kept.
            german[f"{number}.{kind}"], english[f"{number}.{kind}"] = pair[0], pair[1].replace("-", " - ")
    folder = "homeassistant/components/one/translations"
    members = {f"{folder}/en.json": json.dumps(english), f"{folder}/de.json": json.dumps(german)}
    wheel = write_wheel(tmp_path / "cache", "homeassistant", members, "License: MIT")
    (tmp_path / "pins.txt").write_text(pin(wheel))
    wheels = ("--cache", tmp_path / "cache", "--wheels", tmp_path / "pins.txt")
    text = extract(tmp_path / "out", *wheels, *HELD_OUT)
    train = pairs(text, "train")
    for held_out, others in (("valid", "test"), ("test", "valid")):
        held = pairs(text, held_out)
        for side in (0, 1):
            seen = {letters(pair[side]) for pair in train + pairs(text, others)}
            assert not seen & {letters(pair[side]) for pair in held}
        messages = [letters(pair[1]) for pair in held]
        assert len(messages) == len(set(messages))
    assert len(train) > 200


def test_the_split_depends_on_the_seed_alone(wheels, tmp_path):
    first = corpus.checksums(extract(tmp_path / "first", *wheels, *HELD_OUT))
    assert corpus.checksums(extract(tmp_path / "second", *wheels, *HELD_OUT)) == first
    other = corpus.checksums(extract(tmp_path / "other", *wheels, *HELD_OUT, "--seed", 2))
    assert other.keys() == first.keys()
    assert not set(other.values()) & set(first.values())


def test_a_small_corpus_holds_out_a_tenth(wheels, tmp_path):
    text = extract(tmp_path / "out", *wheels)
    assert [len(pairs(text, split)) for split in ("valid", "test")] == [12, 12]


def test_train_alone_is_shortened(wheels, tmp_path):
    whole = extract(tmp_path / "whole", *wheels, *HELD_OUT)
    longest = [max(len(side.split()) for side in pair) for pair in pairs(whole, "train")]
    limit = sorted(longest)[len(longest) // 2]
    short = [pair for pair, words in zip(pairs(whole, "train"), longest, strict=True) if words <= limit]
    text = extract(tmp_path / "short", *wheels, *HELD_OUT, "--train", 20, "--max-words", limit)
    assert pairs(text, "train") == short[:20] != pairs(whole, "train")[:20]
    for split in ("valid", "test"):
        assert pairs(text, split) == pairs(whole, split)


def test_text_of_other_settings_is_not_taken_over(wheels, tmp_path):
    text = extract(tmp_path / "out", *wheels, *HELD_OUT)
    before = corpus.checksums(text)
    asked = ("--out", tmp_path / "out", *wheels)
    assert "seed 1 where 2 is now asked" in rejected("l10n", *asked, *HELD_OUT, "--seed", 2)
    assert "test 12 where 13 is now asked" in rejected("l10n", *asked, "--valid", 10, "--test", 13)
    assert "language" in rejected("l10n", *asked, *HELD_OUT, "--lang", "nl")
    assert corpus.checksums(text) == before


def test_sources_of_the_wrong_shape_are_reported(wheels, tmp_path):
    text = extract(tmp_path / "out", *wheels, *HELD_OUT)
    for content in ("[]", '{"settings": {}, "inputs": 1}'):
        (text / "SOURCES.json").write_text(content)
        error = rejected("l10n", "--out", tmp_path / "out", *wheels, *HELD_OUT)
        assert f"{text / 'SOURCES.json'} is damaged" in error


def test_without_network_and_cache_one_line_says_what_to_do(wheels, tmp_path):
    (tmp_path / "cache" / "shop-1.0-py3-none-any.whl").unlink()
    error = corpus.fail(SCRIPT, "--out", tmp_path / "out", *wheels)
    assert "cannot download shop==1.0" in error and f"put its wheel into {tmp_path}/cache" in error
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "cache").glob("[!.]*")] == ["homeassistant-1.0-py3-none-any.whl"]


def test_a_damaged_wheel_is_named_and_fetched_again_even_after_a_kill(wheels, tmp_path):
    cache, index, out = tmp_path / "cache", {"PIP_FIND_LINKS": str(tmp_path / "index")}, tmp_path / "out"
    cached = cache / "shop-1.0-py3-none-any.whl"
    whole = cached.read_bytes()
    shutil.copytree(cache, tmp_path / "index")
    cached.write_bytes(whole[:-100])

    corpus.kill_during(".partial.*/log", cache, SCRIPT, "--out", out, *wheels, **index)
    assert cached.read_bytes() == whole[:-100]
    assert not out.exists()

    said = corpus.succeed(SCRIPT, "--out", out, *wheels, *TO_TEXT, **index)
    assert f"{cached} is damaged" in said
    assert "downloading shop==1.0" in said and "downloading homeassistant" not in said
    assert cached.read_bytes() == whole
    assert not list(cache.glob(".partial.*"))
    assert (out / "text" / "SOURCES.json").is_file()


def test_a_damaged_wheel_of_another_spelling_is_not_read(wheels, tmp_path):
    damaged = tmp_path / "cache" / "Shop-1.0-py3-none-any.whl"
    damaged.write_bytes(b"no wheel")
    assert "damaged" not in corpus.succeed(SCRIPT, "--out", tmp_path / "out", *wheels, *TO_TEXT)


def test_a_wheel_with_another_checksum_is_not_accepted(wheels, tmp_path):
    shutil.move(tmp_path / "cache", tmp_path / "index")
    write_wheel(tmp_path / "index", "shop", {"more": "of it"}, "License: MIT")
    error = corpus.fail(SCRIPT, "--out", tmp_path / "out", *wheels, PIP_FIND_LINKS=str(tmp_path / "index"))
    assert "cannot download shop==1.0" in error and "HASHES" in error
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "cache").glob("[!.]*")] == ["homeassistant-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("homeassistant/components/four/translations/de.json", '{"cut off'),
        ("shop/locale/de/LC_MESSAGES/cut.po", "no catalogue at all"),
        ("shop/locale/de/LC_MESSAGES/cut.mo", b"no catalogue at all"),
    ],
)
def test_an_unreadable_member_is_named(tmp_path, member, content):
    members = home_assistant() | {member: content, member.replace("de.json", "en.json"): content}
    wheel = write_wheel(tmp_path / "cache", "homeassistant", members, "License: MIT")
    (tmp_path / "pins.txt").write_text(pin(wheel))
    pins = ("--cache", tmp_path / "cache", "--wheels", tmp_path / "pins.txt")
    error = rejected("l10n", "--out", tmp_path / "out", *pins)
    assert f"{wheel}: its {member} cannot be read" in error
    assert not list((tmp_path / "out").glob("[!.]*"))


def test_the_pin_list_has_wheels_for_every_language():
    wanted = {
        language: {wheel.name.lower() for wheel in l10n_wheels.pinned(l10n.WHEELS, language)}
        for language in l10n.VOCAB_SIZES
    }
    assert wanted["de"] == {
        "homeassistant", "django", "django-oscar", "plone.app.locales", "wagtail", "django-cms",
    }  # fmt: skip
    assert wanted["ar"] == wanted["de"] | {"pretix", "weblate"}
    assert wanted["fa"] == wanted["de"] | {"weblate"}
    assert all(wanted[language] == wanted["de"] for language in ("es", "he", "it", "nl", "pl"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--lang", "fr"), "--lang: invalid choice: 'fr'"),
        (("--valid", 500), "different messages are too few"),
        (("--max-words", 1), "no pair of train has at most --max-words 1 words"),
        (("--train", "0"), "--train: must be a whole number of at least 1, not '0'"),
        (("--wheels", "/nowhere"), "--wheels: '/nowhere' is not a file"),
        (("--lang", "pl"), "too few"),
        (("--max-ratio", "2"), "--max-ratio has no effect without --clean"),
    ],
)
def test_bad_arguments_are_reported(wheels, tmp_path, arguments, named):
    assert named in rejected("l10n", "--out", tmp_path / "out", *wheels, *arguments)
    assert not (tmp_path / "out").exists()


def test_a_bad_pin_is_named_by_its_line(wheels, tmp_path):
    with (tmp_path / "pins.txt").open("a") as pins:
        pins.write("shop>=2\n")
    error = rejected("l10n", "--out", tmp_path / "out", *wheels)
    assert f"{tmp_path}/pins.txt line 4 is not NAME==VERSION" in error
    (tmp_path / "pins.txt").write_text("# nothing\n")
    assert "has no wheel for de" in rejected("l10n", "--out", tmp_path / "out", *wheels)
    assert not (tmp_path / "out").exists()


def test_a_message_of_many_spellings_is_never_held_out_and_the_split_stays_what_it_is():
    spellings = [(f"Text {mark}", "A text") for mark in "abcde"]
    messages = [*((f"Satz {number}", f"Sentence {number}") for number in range(40)), *spellings]
    for seed in range(20):
        made = l10n_split.split(messages, 6, 6, seed)
        assert set(spellings) <= set(made["train"]) and [len(made[name]) for name in ("valid", "test")] == [6, 6]
    # Datasets are called reproducible: with the seed, text and order are what they were.
    found = hashlib.sha256(repr(l10n_split.split(messages, 6, 6, 1)).encode()).hexdigest()
    assert found == "9d19aab24f50af2b7f5b5d061febb94b4359037c945ce3f4573c91ca9a8b2429"
