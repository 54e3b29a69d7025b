"""What several test files need and what takes long to make: once a session."""

import gc
import os
from typing import NamedTuple

import commands
import corpus
import pytest
import quick_hydra
import torch
import training_stub
from shared import made_once

# Of the objects that torch and fairseq make none is garbage, and to look for some takes long.
gc.disable()
quick_hydra.apply()
# Tensors are tiny here: a second thread would only be waited for.
torch.set_num_threads(1)


#: The files that take longest. They come first, so that two workers end at about the same time.
LONGEST = (
    *("test_glue_script.py", "test_wheel.py", "test_resume.py", "test_benchmarks.py", "test_train_script.py"),
    *("test_data_parallel.py", "test_translate.py", "test_command_line.py", "test_recipes.py"),
    *("test_safe_loading.py", "test_self_distillation.py", "test_input_checks.py"),
    *("test_atomic_save.py", "test_evaluate_script.py", "test_late_start.py", "test_other_models.py"),
)


def pytest_configure(config):
    """Only `-m gpu` sees a GPU: all else expects, also of the commands that it starts, what happens without one."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


class Trained(NamedTuple):
    """A tiny model that fairseq-train made."""

    log: str
    folder: object  #: its checkpoints, as a Path

    @property
    def checkpoint(self):
        return self.folder / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """A small dataset, German to English, as data-prep/ makes it. Not to be changed."""
    return made_once(tmp_path_factory, "dataset", _make_dataset) / "data"


def _make_dataset(base):
    for seed, (split, count) in enumerate({"train": 300, "valid": 12, "test": 10}.items()):
        corpus.write_pairs(base / "text", split, corpus.sentences(count, seed), ("de", "en"))
    arguments = ["--input", base / "text", "--src", "de", "--tgt", "en", "--out", base / "data"]
    corpus.succeed("data-prep/prepare-parallel.sh", *arguments, "--vocab-size", 120, "--workers", 1)


@pytest.fixture(scope="session")
def schedule():
    """Flags of a training whose alpha has come to its full value after 4 updates, whatever --max-update is."""
    return [*commands.PUBLISHED, *commands.TINY, "--max-updates-train", 20, "--save-interval-updates", 5]


@pytest.fixture(scope="session")
def models(dataset, schedule, tmp_path_factory):
    """Two models, made at the same time. Not to be changed.

    "uninterrupted" had 20 updates of `schedule`; "published" had three of the authors' command, validated with
    BLEU, which puts numpy arrays into its checkpoint, and logged as JSON and for TensorBoard.
    """
    folder = made_once(tmp_path_factory, "models", lambda base: _make_models(base, dataset, schedule))
    logs = {name: (folder / f"{name}.log").read_text(encoding="utf-8") for name in ("uninterrupted", "published")}
    return {name: Trained(log, folder / name) for name, log in logs.items()}


def _make_models(base, dataset, schedule):
    bleu = [
        "--eval-bleu",
        "--eval-bleu-args",
        '{"beam": 2, "max_len_b": 9}',
        "--eval-bleu-remove-bpe",
        "sentencepiece",
    ]
    logs = ["--log-format", "json", "--tensorboard-logdir", base / "events"]
    published = [*commands.PUBLISHED, *commands.TINY, "--max-update", 3, *bleu, *logs]
    names = {"uninterrupted": [*schedule, "--keep-interval-updates", 3, "--max-update", 20], "published": published}
    calls = [lambda n=name, f=flags: commands.train(dataset, base / n, *f) for name, flags in names.items()]
    for name, log in zip(names, commands.at_once(*calls), strict=True):
        (base / f"{name}.log").write_text(log, encoding="utf-8")


@pytest.fixture(scope="session")
def trained(models):
    """The model with 20 updates; its folder has the numbered checkpoints of updates 10, 15 and 20 as well."""
    return models["uninterrupted"]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(training_stub.MANIFEST)
    return tmp_path / "data"
