"""Small made-up parallel text, and how the tests run a script on it."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
SYLLABLES = [consonant + vowel for consonant in "bdklmn" for vowel in "aeio"]


def environment(**more: str) -> dict[str, str]:
    """The environment of a script under test: this Python, no network, and a locale that knows ASCII only."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "LC_", "LANG"))}
    ours = {
        "FAIRSEQ_INTRA_PYTHON": sys.executable,
        "PYTHONPATH": str(CHECKOUT),
        "PIP_NO_INDEX": "1",
        "LC_ALL": "C",
    }
    return kept | ours | more


def run(script: str, *arguments: object, **more: str) -> subprocess.CompletedProcess:
    """Runs a script of the checkout to its end, however that is."""
    command = [str(CHECKOUT / script), *map(str, arguments)]
    return subprocess.run(command, env=environment(**more), capture_output=True, encoding="utf-8", timeout=1800)


def succeed(script: str, *arguments: object, **more: str) -> str:
    """Runs a script that must do its work; returns what it said."""
    done = run(script, *arguments, **more)
    assert done.returncode == 0, done.stderr
    return done.stderr


def fail(script: str, *arguments: object, **more: str) -> str:
    """Runs a script that must refuse; returns the one line in which it tells why."""
    done = run(script, *arguments, **more)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    errors = [line for line in done.stderr.split("\n") if ": error: " in line]
    assert len(errors) == 1, done.stderr
    assert done.stderr.endswith(errors[0] + "\n"), done.stderr
    return errors[0]


def kill_during(sign: str, folder: Path, script: str, *arguments: object, **more: str) -> None:
    """Starts a script and kills it and all its children once a file that matches `sign` is in the folder."""
    command = [str(CHECKOUT / script), *map(str, arguments)]
    quiet = subprocess.DEVNULL
    started = subprocess.Popen(command, env=environment(**more), stderr=quiet, stdout=quiet, start_new_session=True)
    deadline = time.monotonic() + 600
    while not list(folder.glob(sign)):
        assert started.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def heed_signals() -> None:
    """For preexec_fn: tests in the background, or under nohup, have signals ignored that a script must heed."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Distinct pairs of five to nine words: the source, and the target as a word-by-word rewriting of it."""
    choice = random.Random(seed)
    pairs = {}
    while len(pairs) < count:
        words = ["".join(choice.choices(SYLLABLES, k=2)) for _ in range(choice.randint(5, 9))]
        pairs[" ".join(words).capitalize() + " ß."] = " ".join(word[::-1] for word in words).capitalize() + "."
    return list(pairs.items())


def easy_sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Distinct pairs whose target is the source without its ß, which a model learns in seconds."""
    return [(source, source.replace(" ß", "")) for source, _ in sentences(count, seed)]


def write_pairs(folder: Path, split: str, pairs: list[tuple[str, str]], languages: tuple[str, str]) -> None:
    """Writes both sides of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(languages):
        text = "".join(pair[side] + "\n" for pair in pairs)
        (folder / f"{split}.{language}").write_bytes(text.encode())


def lines(path: Path) -> list[str]:
    """The lines of a text file, which must end with a line end."""
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def fake_wmt_set(cache: Path, raw: Path, count: int) -> None:
    """Puts the first lines of a dataset's test, German to English, where sacreBLEU's cache has wmt14/full."""
    folder = cache / "wmt14" / "full"
    folder.mkdir(parents=True)
    fields = {"src": lines(raw / "test.de"), "ref": lines(raw / "test.en")}
    # sacreBLEU takes the set for complete only with these.
    fields |= dict.fromkeys(("docid", "genre", "origlang"), ["any"] * count)
    for name, content in fields.items():
        text = "".join(f"{line}\n" for line in content[:count])
        (folder / f"wmt14_full.de-en.{name}").write_text(text, encoding="utf-8")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
