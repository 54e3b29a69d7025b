"""Multi30k: from its text over every method and seed, and three test sets, to the table beside published figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from .arguments import flags_in_grid
from .dataset import read_dataset
from .scheduler import Run
from .steps import Step, own_command

PRESET = "multi30k"
TESTS = ("test", "test1", "test2")


@dataclass
class Multi30kGrid:
    """See `grid.Grid`."""

    fewest: ClassVar[int] = 1  # published figures stand beside plain training alone, too
    out: Path
    input: Path | None  #: of `prepare multi30k`, as the next four
    url: str | None
    langs: list[str]
    reverse: bool
    merges: int | None
    methods: list[str]
    seeds: list[int]
    average: int  #: the mean of so many checkpoints is evaluated
    show_differences: bool  #: as in `tables.results_table`
    flags: list[str]  #: of `train`

    def arguments(self) -> list[str]:
        return []

    def preparations(self) -> list[Run]:
        data = self.out / "data"
        given = ["--langs", " ".join(self.langs), "--out", data, *["--reverse"] * self.reverse]
        given += ["--input", self.input] if self.input else []
        given += ["--url", self.url] if self.url else []
        given += ["--merges", self.merges] if self.merges else []
        # Always run: it checks that finished data were made from the same text.
        return [Run("data", data, [Step(own_command("prepare", "multi30k", *given))])]

    def runs(self) -> list[Run]:
        pairs = [f"{lang}-en" if self.reverse else f"en-{lang}" for lang in self.langs]
        return [self._run(pair, method, seed) for seed in self.seeds for pair in pairs for method in self.methods]

    def _run(self, pair, method, seed):
        flags = flags_in_grid(method, self.methods, self.flags)
        name = f"{pair}.{method}.seed{seed}"
        folder, data = self.out / name, self.out / "data" / pair
        best = folder / "checkpoints" / "checkpoint_best.pt"
        preset = [] if any(word.partition("=")[0] == "--preset" for word in flags) else ["--preset", PRESET]
        training = ["--data", data, "--method", method, "--seed", seed, "--out", folder, *preset, *flags]
        tests = _tests_of(data)
        results = tuple(
            path
            for test in tests
            for tuned in (False, True)
            for path in results_of(best.parent, f"average{self.average}", test, tuned)
        )
        given = ["--data", data, "--checkpoint", best, "--average", self.average, "--split", " ".join(tests)]
        steps = [
            Step(own_command("train", *training), trains=True),
            Step(own_command("evaluate", *given, "--tune-lenpen"), results),
        ]
        return Run(name, folder, steps, method, f"{pair}, seed {seed}", best, results)

    def table(self, runs: list[Run]) -> str:
        from .multi30k_table import multi30k_table

        return multi30k_table([path for run in runs for path in run.results], self.show_differences)


def results_of(folder: Path, model: str, split: str, tuned: bool) -> tuple[Path, Path]:
    """The records of tokenised text: of its tokens, and detokenised (see `scored_texts`)."""
    from .evaluation import record_name
    from .scored_texts import DETOKENISED

    name = record_name(model, split, tuned)
    return folder / f"{name}.json", folder / DETOKENISED / f"{name}.json"


def _tests_of(data):
    """The test sets of a language; before its data are made, all."""
    if not (data / "manifest.json").is_file():
        return list(TESTS)
    dataset = read_dataset(data)
    return [test for test in TESTS if f"raw/{test}.{dataset.source}" in dataset.files]
