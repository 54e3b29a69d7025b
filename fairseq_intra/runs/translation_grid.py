"""Translation: every language pair, method and seed a run of `train` and `evaluate`, to the table of BLEU."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..errors import UsageError
from ..languages import IWSLT14
from .arguments import flags_in_grid
from .scheduler import Run
from .steps import Step, own_command


@dataclass
class TranslationGrid:
    """See `grid.Grid`."""

    fewest: ClassVar[int] = 2
    data: Path  #: folder of datasets NAME-en
    out: Path
    langs: list[str]  #: the NAMEs; empty: all of IWSLT'14, or all that another corpus has
    methods: list[str]
    seeds: list[int]
    corpus: str | None  #: its name; None: IWSLT'14, beside whose scores the paper's stand
    average: int | None  #: evaluate the mean of so many checkpoints, not the best one
    show_differences: bool  #: as in `tables.results_table`
    flags: list[str]  #: of `train`

    def __post_init__(self):
        if not self.data.is_dir():
            raise UsageError(f"--data {self.data} is not a folder")
        if (self.data / "manifest.json").is_file():
            raise UsageError(f"--data {self.data} is a dataset; give the folder that it lies in: {self.data.parent}")
        if not self.langs and self.corpus is None:
            self.langs = list(IWSLT14)
        elif not self.langs:
            self.langs = sorted(path.parent.name[: -len("-en")] for path in self.data.glob("*-en/manifest.json"))
        for lang in self.langs:
            if self.corpus is None and lang not in IWSLT14:
                raise UsageError(f"--langs must be of {' '.join(IWSLT14)}, not '{lang}'; another corpus has --corpus")
            if not (self.data / f"{lang}-en" / "manifest.json").is_file():
                raise UsageError(
                    f"--data {self.data} has no dataset {lang}-en (no {lang}-en/manifest.json); --langs names them"
                )
        if not self.langs:
            raise UsageError(f"--data {self.data} has no dataset NAME-en/manifest.json")

    def arguments(self) -> list[str]:
        return []

    def preparations(self) -> list[Run]:
        return []

    def runs(self) -> list[Run]:
        return [
            self._run(f"{lang}-en", method, seed)
            for seed in self.seeds
            for lang in self.langs
            for method in self.methods
        ]

    def _run(self, dataset, method, seed):
        flags = flags_in_grid(method, self.methods, self.flags)
        name = f"{dataset}.{method}.seed{seed}"
        folder, data = self.out / name, self.data / dataset
        best = folder / "checkpoints" / "checkpoint_best.pt"
        average = ["--average", self.average] if self.average else []
        evaluated = best.with_name(f"average{self.average}.pt") if self.average else best
        results = (evaluated.with_suffix(".test.json"),)
        training = ["--data", data, "--method", method, "--seed", seed, "--out", folder, *flags]
        steps = [
            Step(own_command("train", *training), trains=True),
            Step(own_command("evaluate", "--data", data, "--checkpoint", best, *average), results),
        ]
        return Run(name, folder, steps, method, f"{dataset}, seed {seed}", best, results)

    def table(self, runs: list[Run]) -> str:
        from .tables import results_table

        files = [path for run in runs for path in run.results]
        title = "IWSLT'14" if self.corpus is None else self.corpus
        found = results_table(files, self.corpus is None, show_differences=self.show_differences)
        return f"# {title}\n\n{found}"
