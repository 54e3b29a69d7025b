"""fairseq-generate in a process of its own: its flags, its environment, how far it is, and its output."""

import contextlib
import io
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fairseq import options
from tqdm import tqdm

from ..errors import UsageError
from ..files import read_lines
from ..processes import ignore_sigusr1
from ..run_fairseq import fairseq_command
from .workers import HIDDEN, fairseq_environment

#: Settings that decide what is translated and scored: with another value the record would not be true.
OWNED = {
    "path": "give the model by --checkpoint",
    "gen_subset": "give the split by --split",
    "source_lang": "the languages are those of the dataset",
    "target_lang": "the languages are those of the dataset",
    "post_process": "subwords are joined as the dataset's SentencePiece model cuts them",
    "nbest": "the best translation is scored; its list is read for --tune-lenpen",
    "prefix_size": "it would copy words of the reference",
    "score_reference": "it would score the reference itself",
    "constraints": "it would copy words of the reference",
    "max_source_positions": "the limit is the model's; give --truncate-source for longer sources",
    "max_target_positions": "the limit is the model's",
    "skip_invalid_size_inputs_valid_test": "every sentence is scored; give --truncate-source for longer sources",
    "num_shards": "every sentence is scored",
    "shard_id": "every sentence is scored",
    "distributed_world_size": "every sentence is scored",
    "distributed_rank": "every sentence is scored",
    "results_path": "give the folder of the results by --output",
    "user_dir": "it is this package",
    "quiet": "the output is read",
    "log_file": "the output is read",
    "no_progress_bar": "the output is read",
    "bpe": "the text is joined by the dataset's SentencePiece model",
    "tokenizer": "the text is detokenised by the dataset's SentencePiece model",
}
#: Settings that stand in the record under their own names.
NAMED = ("beam", "lenpen", "max_tokens", "max_len_a", "max_len_b")
#: What a launcher tells its workers: fairseq-generate would wait for the others.
LAUNCHER = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", *HIDDEN)


def settings_of(arguments: list[str], passed: list[str]) -> dict:
    """The settings of a search as they take effect, by fairseq's own parser.

    Args:
        arguments: the flags of fairseq-generate that the evaluation sets.
        passed: those that the user adds.

    Returns:
        The values of NAMED, and under "flags" all that `passed` changes.

    Raises:
        UsageError: on a flag that fairseq-generate does not know, or one that would make the record untrue.
    """
    ours, all_of_them = _parsed(arguments), _parsed([*arguments, *passed])
    changed = {name: value for name, value in all_of_them.items() if name not in ours or ours[name] != value}
    for name in OWNED:
        if name in changed:
            also = " (--remove-bpe)" if name == "post_process" else ""
            raise UsageError(f"--{name.replace('_', '-')}{also} cannot be passed to evaluate: {OWNED[name]}")
    flags = {name: _plain(value) for name, value in changed.items() if name not in (*NAMED, "no_seed_provided")}
    named = {name: all_of_them[name] for name in NAMED}
    return named | {name: float(named[name]) for name in ("lenpen", "max_len_a")} | {"flags": flags}


def _parsed(arguments):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser = options.get_generation_parser()
            return vars(options.parse_args_and_arch(parser, arguments))
    except UsageError:
        raise
    except SystemExit:
        lines = said.getvalue().strip().splitlines() or ["its help was asked for: run fairseq-generate --help"]
        raise UsageError(f"fairseq-generate: {re.sub('^.*error: ', '', lines[-1])}") from None


def _plain(value):
    return value if isinstance(value, int | float | str | None) else str(value)


def generate(arguments: list[str], output: Path, sentences: int, cpu: bool) -> None:
    """Runs fairseq-generate, its output to a file; on a terminal a line tells how far it is.

    Args:
        arguments: of fairseq-generate.
        output: file to write; beside it, errors go to NAME.log.
        sentences: how many there are.
        cpu: whether it runs on the CPU.

    Raises:
        UsageError: if it fails.
    """
    log = output.with_suffix(".log")
    with (
        output.open("wb") as out,
        log.open("wb") as errors,
        tqdm(total=sentences, unit="sentence", disable=None) as bar,
    ):
        with running([*fairseq_command("generate"), *arguments], errors, environment(cpu)) as process:
            for line in process.stdout:
                out.write(line)
                bar.update(line.startswith(b"S-"))
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise UsageError(
            f"fairseq-generate was ended by the signal {name}{' (out of memory?)' * (name == 'SIGKILL')}"
        )
    if process.returncode:
        raise UsageError(f"fairseq-generate failed: {_reason(log) or _reason(output)}")


@contextlib.contextmanager
def running(command: list[str], errors, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process whose standard output is read; it is killed if the block fails, and waited for."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=env,
        preexec_fn=ignore_sigusr1,
    )
    try:
        yield process
        process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdout.close()
        process.wait()


def environment(cpu: bool) -> dict[str, str]:
    """The environment of fairseq-generate: not that of a launcher's worker."""
    return fairseq_environment(cpu, LAUNCHER) | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


def _reason(log):
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if not line.startswith(" ")), "")
    return last.removeprefix("fairseq_intra: error: ")


class NbestEntry(NamedTuple):
    """One line of an n-best list."""

    text: str  #: detokenised
    score: float  #: log2 of its probability, divided by length ** --lenpen
    length: int  #: in subwords, its end included


def read_nbest(generated: Path) -> list[list[NbestEntry]]:
    """The n-best list of every sentence, best first, in the split's order.

    Subwords are counted by their probabilities (P lines): in the H lines they are joined already.

    Raises:
        UsageError: if a sentence has none.
    """
    texts: dict[int, list[tuple[str, float]]] = {}
    lengths: dict[int, list[int]] = {}
    for line in read_lines(generated):
        if match := re.fullmatch(r"D-(\d+)\t([^\t]+)\t(.*)", line, re.DOTALL):
            texts.setdefault(int(match[1]), []).append((match[3], float(match[2])))
        elif match := re.fullmatch(r"P-(\d+)\t(.*)", line):
            lengths.setdefault(int(match[1]), []).append(len(match[2].split()))
    if sorted(texts) != list(range(len(texts))) or any(len(texts[n]) != len(lengths.get(n, [])) for n in texts):
        raise UsageError(f"{generated} lacks hypotheses: was the generation interrupted?")
    return [
        [NbestEntry(text, score, length) for (text, score), length in zip(texts[n], lengths[n], strict=True)]
        for n in range(len(texts))
    ]
