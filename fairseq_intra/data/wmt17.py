"""WMT'17 English to German, from the official archives to a dataset."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .. import files, json_files
from ..console import say
from ..errors import UsageError
from . import dataset, download, folders, manifest, wmt17_text
from .parallel_text import read, write_pairs, write_splits

STEPS = ("archives", "text", *dataset.STEPS)
ARCHIVES = Path(__file__).with_name("wmt17-archives.txt")
PAIR = "-".join(wmt17_text.LANGUAGES)
#: sacreBLEU's name of each set, and the split that it becomes. newstest2017 stays in OUT/text.
SETS = {"wmt13": "valid", "wmt14/full": "test", "wmt17": "newstest2017"}
#: Bytes that OUT takes for each byte of the archives, which hold other languages too.
ROOM = 4
#: Pairs of train, from one line of progress to the next.
REPORT_EVERY = 500_000


def prepare(
    archive_list: Path,
    archive_dir: Path,
    settings: dataset.Settings,
    out: Path,
    workers: int,
    steps: Iterable[str] = STEPS,
) -> None:
    """Makes the dataset, or what is missing of it.

    Args:
        archive_list: which archives, as `ARCHIVES` lists them.
        archive_dir: where they lie, and are fetched to if they do not.
        settings: what is made of the text.
        out: the folder to make.
        workers: processes; the result does not depend on them.
        steps: those of STEPS to take.

    Raises:
        UsageError: naming what is wrong with an archive, a test set or a folder.
    """
    archives = wmt17_text.listed(archive_list)
    if manifest.is_made(out / "text", _asked(archives)):
        say("text: done before")
    else:
        with folders.made_unlocked(out):
            files.make_folder("--archive-dir", archive_dir)
            with files.locked(archive_dir, wait_for="downloads into"):
                fetch(archives, archive_dir, out)
            if "text" not in steps:
                return
            os.environ.setdefault("SACREBLEU", str(archive_dir / "sacrebleu"))
            with files.locked(out), files.replacing(out / "text") as partial:
                partial.mkdir()
                extract(archives, archive_dir, partial)
    if set(steps) & set(dataset.STEPS):
        dataset.prepare(out / "text", settings, out, workers, steps)


def _asked(archives):
    """What decides the text: of a list of one's own also which corpus of each archive is read."""
    corpora = {"corpora": [archive.corpus for archive in archives]} if archives != wmt17_text.listed(ARCHIVES) else {}
    return {"settings": corpora, "inputs": {archive.name: archive.sha256 for archive in archives}}


def fetch(archives: list[wmt17_text.Archive], archive_dir: Path, out: Path) -> None:
    """Fetches what is not there of the archives, and makes sure that each is the one that is listed.

    Raises:
        UsageError: if the disk is too full, or an archive cannot be fetched or has another checksum.
    """
    archives = list({archive.name: archive for archive in archives}.values())  # one may hold several corpora
    missing = [archive for archive in archives if not (archive_dir / archive.name).exists()]
    to_fetch, room = (sum(archive.bytes for archive in some) for some in (missing, archives))
    one_disk = archive_dir.stat().st_dev == out.stat().st_dev
    download.need_space(archive_dir, to_fetch + one_disk * ROOM * room)
    download.need_space(out, ROOM * room)
    for archive in archives:
        path = archive_dir / archive.name
        if archive in missing:
            say(f"fetching {archive.url} ({archive.bytes / download.MEGABYTE:.0f} MB)")
            download.fetch(archive.url, path)
        say(f"checking {path}")
        if (digest := files.sha256(path)) != archive.sha256:
            raise UsageError(
                f"{path} is damaged or another file: its SHA-256 is {digest[:12]}..., not {archive.sha256[:12]}...; "
                "delete it to have it fetched again"
            )


def extract(archives: list[wmt17_text.Archive], archive_dir: Path, to: Path) -> None:
    """Writes the text of all splits, with SOURCES.json to tell where it is from and what was left out.

    Raises:
        UsageError: if an archive or a test set cannot be read, or no pair is usable.
    """
    sets = {}
    for name, split in SETS.items():
        pairs, sets[name] = _official_set(name)
        say(f"{split}: {len(pairs)} pairs of {name}")
        write_splits(to, {split: pairs}, wmt17_text.LANGUAGES)
    corpora = [(archive_dir / archive.name, archive.corpus) for archive in archives]
    dropped: Counter = Counter()
    pairs = wmt17_text.distinct_pairs(corpora, dropped)
    kept = write_pairs(pairs, to, "train", wmt17_text.LANGUAGES, REPORT_EVERY)
    if not kept:
        raise UsageError("the archives have no usable pair")
    left_out = dict(sorted(dropped.items()))
    say(f"train: {kept} pairs" + "".join(f", {number} dropped ({why})" for why, number in left_out.items()))
    json_files.write_json(
        to / "SOURCES.json", _asked(archives) | {"splits": {"train": kept}, "left_out": left_out, "sets": sets}
    )


def _official_set(name):
    """The pairs of one of sacreBLEU's test sets, which it downloads where its folder does not have it.

    And the SHA-256 of its two files: sacreBLEU checks what it downloads, not what lies there.
    """
    from sacrebleu.utils import SACREBLEU_DIR, get_reference_files, get_source_file

    try:
        paths = [Path(path) for path in (get_source_file(name, PAIR), get_reference_files(name, PAIR)[0])]
    except (Exception, SystemExit) as error:  # which ones depends on how it fails
        raise UsageError(
            f"sacrebleu cannot get {name} ({error}); without network, put its folder {SACREBLEU_DIR} there"
        ) from None
    source, target = (list(read(path)) for path in paths)
    if len(source) != len(target):
        raise UsageError(
            f"{paths[0]} has {len(source)} lines and {paths[1].name} {len(target)}; delete {paths[0].parent} to have "
            "them fetched again"
        )
    return list(zip(source, target, strict=True)), [files.sha256(path) for path in paths]
