"""GLUE: every task, method and seed a run of `finetune`, to the table of measures on the dev sets."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from .arguments import flags_in_grid
from .scheduler import Run
from .steps import Step, own_command

TASKS = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE")


@dataclass
class GlueGrid:
    """See `grid.Grid`."""

    fewest: ClassVar[int] = 2
    glue: Path  #: folder of the tasks as GLUE has them
    checkpoint: Path | None  #: what is fine-tuned; None: nothing, from scratch
    vocabulary: Path | None  #: None: the checkpoint's folder
    out: Path
    tasks: list[str]
    methods: list[str]
    seeds: list[int]
    flags: list[str]  #: of `finetune`

    def __post_init__(self):
        if self.checkpoint and not self.checkpoint.is_file():
            raise UsageError(f"--checkpoint {self.checkpoint}: no such file")
        self.vocabulary = self.vocabulary or (self.checkpoint and self.checkpoint.parent)
        if not self.vocabulary:
            raise UsageError("--vocabulary is missing: the folder of dict.txt and the subwords")
        for task in self.tasks:
            if not (self.glue / task).is_dir():
                raise UsageError(f"--glue {self.glue} has no folder {task}")

    def arguments(self) -> list[str]:
        return []

    def preparations(self) -> list[Run]:
        return [self._preparation(task) for task in self.tasks]

    def _preparation(self, task):
        data = self.out / "data" / task
        given = ["--input", self.glue / task, "--vocabulary", self.vocabulary, "--out", data]
        # Always run: it checks that finished data were made from the same files.
        return Run(f"data.{task}", data, [Step(own_command("prepare", "glue", *given))])

    def runs(self) -> list[Run]:
        return [
            self._run(task, method, seed) for seed in self.seeds for task in self.tasks for method in self.methods
        ]

    def _run(self, task, method, seed):
        flags = flags_in_grid(method, self.methods, self.flags)
        name = f"{task}.{method}.seed{seed}"
        folder = self.out / name
        start = ["--checkpoint", self.checkpoint] if self.checkpoint else []
        given = ["--data", self.out / "data" / task, *start, "--method", method, "--seed", seed, "--out", folder]
        best = folder / "checkpoints" / "checkpoint_best.pt"
        steps = [Step(own_command("finetune", *given, *flags), trains=True)]
        return Run(name, folder, steps, method, f"{task}, seed {seed}", best, (folder / "finished",))

    def table(self, runs: list[Run]) -> str:
        from .task_table import task_table

        return task_table([run.folder for run in runs])
