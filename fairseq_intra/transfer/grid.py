"""Zero-shot transfer: every method and seed a run of `finetune-transfer` and `evaluate-transfer`, to a table."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from ..files import sha256
from ..runs.arguments import flags_in_grid
from ..runs.scheduler import Run
from ..runs.steps import Step, own_command
from .recipes import RECIPES

LENGTHS = ("max-seq-length", "doc-stride", "max-query-length")


@dataclass
class TransferGrid:
    """See `runs.grid.Grid`."""

    fewest: ClassVar[int] = 2
    task: str
    input: Path
    pretrained: Path  #: an archive of fairseq's, unpacked: model.pt, dict.txt and subwords
    out: Path
    source: str  #: the language trained on
    langs: list[str]  #: tested; empty: all whose test is there
    methods: list[str]
    seeds: list[int]
    epochs: int | None
    batch: int
    flags: list[str]  #: of fairseq-train
    max_seq_length: int | None = None  #: this and the next two: of question answering's windows, see `windows`
    doc_stride: int | None = None
    max_query_length: int | None = None

    def __post_init__(self):
        if not self.input.is_dir():
            raise UsageError(f"--input {self.input} is not a folder")
        for name in ("model.pt", "dict.txt"):
            if not (self.pretrained / name).is_file():
                raise UsageError(
                    f"--pretrained {self.pretrained} holds no {name} (an archive such as xlmr.base, unpacked)"
                )

        if self._lengths() and self.task != "qa":
            raise UsageError(f"{self._lengths()[0]} is for --task qa")

    def _lengths(self):
        given = {name: getattr(self, name.replace("-", "_")) for name in LENGTHS}
        return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]

    def arguments(self) -> list[str]:
        encoder = " ".join(sha256(self.pretrained / name) for name in ("model.pt", "dict.txt"))
        return [
            f"task {self.task}",
            f"input {self.input.resolve()}",
            f"source {self.source}",
            f"langs {' '.join(self.langs)}",
            f"encoder {encoder}",
            *self._lengths(),
        ]

    def preparations(self) -> list[Run]:
        data = self.out / "data"
        if (data / "manifest.json").is_file():
            from .prepare import check_inputs

            check_inputs(data, self.input)
        given = ["--task", self.task, "--input", self.input, "--source", self.source]
        given += ["--pretrained", self.pretrained, "--out", data]
        languages = ["--langs", " ".join(self.langs)] if self.langs else []
        step = Step(own_command("prepare-transfer", *given, *languages, *self._lengths()), (data / "manifest.json",))
        return [Run("data", data, [step])]

    def runs(self) -> list[Run]:
        from .prepare import read_summary

        languages = read_summary(self.out / "data")["languages"]
        return [self._run(method, seed, languages) for seed in self.seeds for method in self.methods]

    def _run(self, method, seed, languages):
        flags = flags_in_grid(method, self.methods, self.flags)
        name = f"{method}.seed{seed}"
        folder, data = self.out / name, self.out / "data"
        tested = folder / "checkpoints" / RECIPES[self.task].tested
        results = tuple(tested.with_suffix(f".{language}.json") for language in languages)
        given = ["--data", data, "--pretrained", self.pretrained, "--method", method, "--seed", seed, "--out", folder]
        given += ["--batch", self.batch, *(["--epochs", self.epochs] if self.epochs else [])]
        steps = [
            Step(own_command("finetune-transfer", *given, *flags), trains=True),
            Step(own_command("evaluate-transfer", "--checkpoint", tested, "--data", data), results),
        ]
        return Run(name, folder, steps, method, f"seed {seed}", tested, results)

    def table(self, runs: list[Run]) -> str:
        from .table import transfer_table

        return transfer_table([path for run in runs for path in run.results])
