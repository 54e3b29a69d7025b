"""How long data-prep/ takes from an archive to binarised data, step by step, and how much memory it needs.

python benchmarks/prepare.py --text DIR [--corpus iwslt14|wmt17] [--pairs N]

DIR is a folder {train,valid,test}.{de,en}[.gz] of real text. Lines of three of its sentences each, about as long as
a talk's, are packed as the campaign packs them, and the script runs on that archive with its own settings. Memory is
the highest sum over its processes of what is theirs (PSS), looked at twice a second. For IWSLT'14 sacremoses alone,
its tokeniser and detokeniser on the same lines in as many processes, is what the text could take at least.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from itertools import islice
from multiprocessing import Pool
from pathlib import Path
from statistics import median

from measure import arguments, parsed, show

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path += [str(CHECKOUT), str(CHECKOUT / "tests")]
import campaign  # noqa: E402

from fairseq_intra.data.parallel_text import SPLITS, read_pairs  # noqa: E402

SENTENCES = 3  #: a line
TEST_LINES = 1000
SIDES = tuple(enumerate(("de", "en")))
#: What a step's first line of progress looks like, in the order of the steps.
STEPS = {
    "archive": r": checking \S+\.tgz",
    "text": r"tokenising|: valid: \d+ pairs of ",
    "inspected": r": checking \S+/text$",
    "raw": r"raw \.\.\.",
    "spm": r"spm \.\.\.",
    "encoded": r"encoded \.\.\.",
    "bin": r"bin \.\.\.",
}


def main():
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--text", required=True, type=Path, help="a folder of German-English text")
    parser.add_argument("--corpus", choices=["iwslt14", "wmt17"], default="iwslt14")
    parser.add_argument("--pairs", type=int, default=170_000, help="lines of train a side (default: %(default)s)")
    parser.set_defaults(rounds=1)
    args = parsed(parser)
    sentences = [pair for split in SPLITS for pair in read_pairs(args.text, split, ("de", "en"))]
    lines = list(islice(joined(sentences), args.pairs + TEST_LINES * len(campaign.SETS)))
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        prepare = prepare_iwslt14 if args.corpus == "iwslt14" else prepare_wmt17
        command = prepare(Path(folder), lines)
        for number in range(args.rounds):
            out = Path(folder) / f"out{number}"
            runs.append(timed([*command, "--out", out, "--workers", args.threads]))
    seconds = {step: median(run["seconds"][step] for run in runs) for step in STEPS}
    seconds["all"] = sum(seconds.values())
    if args.corpus == "iwslt14":
        seconds["sacremoses alone"] = sacremoses_alone(lines[: args.pairs], args.threads)
    peaks = {step: max(run["peaks"][step] for run in runs) for step in STEPS}
    peaks["all"] = max(peaks.values())
    rows = [
        [step, f"{took:.1f}", f"{took / seconds['all']:.0%}", f"{peaks[step] / 2**20:.0f}" if step in peaks else ""]
        for step, took in seconds.items()
    ]
    title = f"From archive to binarised data, {args.corpus}: {args.pairs} pairs"
    show(title, ["step", "seconds", "of all", "peak MiB"], rows, args, seconds=seconds, peak_bytes=peaks)


def joined(sentences):
    """Endless pairs of lines, each of some sentences that meet in no other line."""
    for distance in range(1, len(sentences) // SENTENCES):
        for first in range(len(sentences)):
            picked = [sentences[(first + number * distance) % len(sentences)] for number in range(SENTENCES)]
            yield tuple(" ".join(side) for side in zip(*picked, strict=True))


def prepare_iwslt14(folder, lines):
    """Packs the lines; returns the command that prepares them."""
    tests = TEST_LINES * len(campaign.SETS)
    files = {}
    for side, language in SIDES:
        texts = [pair[side] for pair in lines]
        files[f"train.tags.de-en.{language}"] = campaign.train_tags(texts[:-tests])
        for number, name in enumerate(campaign.SETS):
            text = texts[len(texts) - tests + number * TEST_LINES :][:TEST_LINES]
            files[f"IWSLT14.{name}.de-en.{language}.xml"] = campaign.mteval(text)
    campaign.pack(folder / "2014-01.tgz", {"de": files})
    return [CHECKOUT / "data-prep/prepare-iwslt14.sh", "--langs", "de", "--archive", folder / "2014-01.tgz"]


def prepare_wmt17(folder, lines):
    """Packs the lines; returns the command that prepares them."""
    tests = TEST_LINES * len(campaign.SETS)
    train, tests = lines[:-tests], iter(lines[-tests:])
    members = {f"commoncrawl.de-en.{name}": "".join(f"{pair[side]}\n" for pair in train) for side, name in SIDES}
    content = campaign.tgz(members)
    (folder / "commoncrawl.tgz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "list").write_text(f"http://localhost/commoncrawl.tgz {len(content)} {digest} commoncrawl.de-en\n")
    for name in ("wmt13", "wmt14/full", "wmt17"):
        campaign.sacrebleu_set(folder / "sacrebleu", name, [pair[::-1] for pair in islice(tests, TEST_LINES)])
    script = CHECKOUT / "data-prep/prepare-wmt17-en-de.sh"
    return [script, "--archives", folder / "list", "--archive-dir", folder]


def timed(command):
    """Seconds and the peak of memory in bytes of every step, of one run of a script."""
    environment = os.environ | {"FAIRSEQ_INTRA_PYTHON": sys.executable}
    script = subprocess.Popen(
        [str(word) for word in command], env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    begun, peaks, said, over = {}, dict.fromkeys(STEPS, 0), [], threading.Event()
    watching = threading.Thread(target=watch, args=(script.pid, begun, peaks, over))
    watching.start()
    for line in script.stderr:
        print(line, end="", file=sys.stderr)
        said.append(line)
        for step, sign in STEPS.items():
            if step not in begun and re.search(sign, line):
                begun[step] = time.perf_counter()
    over.set()
    watching.join()
    if script.wait() or len(begun) != len(STEPS):
        sys.exit(said[-1])
    moments = [*begun.values(), time.perf_counter()]
    seconds = {step: after - before for step, before, after in zip(STEPS, moments, moments[1:], strict=False)}
    return {"seconds": seconds, "peaks": peaks}


def watch(session, begun, peaks, over):
    """Keeps the highest memory of a session's processes in the newest of the steps that have begun."""
    while not over.wait(0.5):
        if not begun:
            continue
        step = list(begun)[-1]
        total = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended
                if os.getsid(int(process.name)) == session:
                    total += int(re.search(r"^Pss: +(\d+)", (process / "smaps_rollup").read_text(), re.M)[1])
        peaks[step] = max(peaks[step], total * 1024)


def sacremoses_alone(lines, processes):
    """Seconds that tokenising and detokenising the lines takes, nothing else."""
    chunks = [lines[first : first + 2000] for first in range(0, len(lines), 2000)]
    with Pool(processes) as pool:
        start = time.perf_counter()
        pool.map(tokenise, chunks, chunksize=1)
        return time.perf_counter() - start


def tokenise(pairs):
    from sacremoses import MosesDetokenizer, MosesTokenizer

    for side, language in SIDES:
        tokenizer, detokenizer = MosesTokenizer(language), MosesDetokenizer(language)
        for pair in pairs:
            detokenizer.detokenize(tokenizer.tokenize(pair[side], escape=False), unescape=False)


if __name__ == "__main__":
    main()
