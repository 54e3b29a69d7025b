"""fairseq's own commands with --user-dir, as a user types them."""

import json
import math
import os
import re
import struct
from pathlib import Path

import commands
import corpus
import pytest
from tensorboardX.proto.event_pb2 import Event

LOGGED = {"loss", "nll_loss", "intra_distillation_loss", "alpha", "ppl"}
REPLACED = "criterion intra_distillation in place of label_smoothed_cross_entropy"


def on_terminal(dataset, folder):
    """What --log-format tqdm shows on a terminal, for the criterion without the task; alpha is 2 throughout."""
    task = ["--task", "translation", "--criterion", "intra_distillation", "--alpha", 2, "--num-iter", 2]
    flags = [*commands.TINY, *task, "--arch", "transformer", "--optimizer", "adam", "--max-update", 12, "--no-save"]
    return commands.on_terminal(
        lambda stderr: commands.train(dataset, folder, *flags, "--log-format", "tqdm", stderr=stderr)
    )


def hydra(dataset, folder):
    """The log of fairseq-hydra-train with the plugin's configuration."""
    sizes = ("layers=1", "embed_dim=16", "ffn_embed_dim=16", "attention_heads=2")
    model = [f"+model.{side}_{size}" for side in ("encoder", "decoder") for size in sizes]
    rest = """common.cpu=true common.fp16=false common.log_interval=1 dataset.max_tokens=500
    dataset.disable_validation=true optimization.max_update=3 task.max_updates_train=4 checkpoint.no_save=true"""
    place = [f"common.user_dir={commands.PLUGIN}", f"task.data={dataset / 'bin'}", f"hydra.run.dir={folder}"]
    config = ["--config-dir", commands.PLUGIN / "config", "--config-name", "intra_distillation"]
    return commands.fairseq("hydra-train", *config, *place, *rest.split(), *model)


@pytest.fixture(scope="module")
def runs(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return commands.at_once(
        lambda: on_terminal(dataset, folder / "terminal"),
        lambda: hydra(dataset, folder / "hydra"),
    )


def scalars(folder: Path) -> dict[str, list[float]]:
    """Tags and values of TensorBoard's event files: records of length, check sum, message, check sum."""
    found = {}
    for path in folder.glob("events.*"):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event, content = Event.FromString(content[12 : 12 + length]), content[16 + length :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(value.simple_value)
    return found


def test_the_authors_command_trains_and_names_the_criterion_in_its_place(models):
    log = models["published"].log
    assert REPLACED in log and "num_updates: 3 >= max_update: 3" in log
    assert "the training ended after 3 updates with alpha at" in log


def test_json_lines_and_tensorboard_have_the_method_s_numbers(models):
    published = models["published"]
    lines = [json.loads(line.split(" | ")[-1]) for line in published.log.split("\n") if "| train_inner |" in line]
    assert len(lines) == 3
    assert all(math.isfinite(float(line[name])) for line in lines for name in LOGGED)
    events = scalars(published.folder.parent / "events" / "train_inner")
    assert all(
        [float(line[name]) for line in lines] == pytest.approx(events[name], abs=5e-4) for name in LOGGED - {"ppl"}
    )
    assert "bleu" in scalars(published.folder.parent / "events" / "valid")


def test_alpha_grows_and_the_divergence_counts(trained):
    lines = commands.updates(trained.log)
    # Alpha after x of N = 20 updates: 5 (x / 4)^gamma, gamma = log_{1/2}(1/5), until it is 5.
    assert [line["alpha"] for line in lines] == [0, 0.2, 1, 2.5637] + [5] * 16
    assert all(set(line) >= LOGGED for line in lines)
    assert lines[5]["intra_distillation_loss"] > 0
    assert lines[-1]["nll_loss"] < lines[0]["nll_loss"]
    # What is reported as loss is what is trained on: without the divergence it would be about the nll.
    assert lines[5]["loss"] > lines[5]["nll_loss"]


def test_the_criterion_works_without_the_task_and_on_a_terminal(runs):
    constant, _ = runs
    shown = re.findall(r"\[[^\]]*loss=[^\]]*\]", constant)
    assert shown, constant[-2000:]
    numbers = dict(re.findall(r"(\w+)=([\d.]+)", shown[-1]))
    assert set(numbers) >= LOGGED and float(numbers["alpha"]) == 2
    assert REPLACED not in constant


def test_hydra_train_takes_the_configuration(runs):
    lines = commands.updates(runs[1])
    assert len(lines) == 3 and all(set(line) >= LOGGED for line in lines)
    assert [line["alpha"] for line in lines] == [0, 5, 5]


@pytest.fixture(scope="module")
def used(dataset, models, trained, tmp_path_factory):
    """What fairseq's other commands say with the trained models."""
    folder = tmp_path_factory.mktemp("used")
    pieces = corpus.lines(dataset / "encoded" / "test.de")[:2]
    (folder / "input").write_text("".join(f"{line}\n" for line in pieces), encoding="utf-8")
    plugin, data = ["--user-dir", commands.PLUGIN], [dataset / "bin", "--cpu"]
    elsewhere = ["--user-dir", os.path.relpath(commands.PLUGIN, folder)]
    search = ["--beam", 2, "--max-len-b", 9]
    task = ["--task", "translation_intra_distillation"]
    name, path = "generate", "--path"
    calls = {
        "generate": lambda: commands.fairseq(name, *data, *elsewhere, *search, path, trained.checkpoint, cwd=folder),
        "bleu": lambda: commands.fairseq(name, *data, *plugin, *search, path, models["published"].checkpoint),
        "interactive": lambda: commands.fairseq(
            "interactive", *data, *plugin, *search, path, trained.checkpoint, "--input", folder / "input"
        ),
        "validate": lambda: commands.fairseq(
            "validate", *data, *plugin, *task, "--max-tokens", 500, path, trained.checkpoint
        ),
    }
    return dict(zip(calls, commands.at_once(*calls.values()), strict=True))


@pytest.mark.parametrize(("command", "sentences"), [("generate", 10), ("bleu", 10), ("interactive", 2)])
def test_translating(used, dataset, command, sentences):
    found = dict(re.findall(r"^H-(\d+)\t-[\d.]+\t(.*)$", used[command], re.MULTILINE))
    assert sorted(map(int, found)) == list(range(sentences))
    sources = dict(re.findall(r"^S-(\d+)\t(.*)$", used[command], re.MULTILINE))
    assert sources["1"] == corpus.lines(dataset / "encoded" / "test.de")[1]


def test_validating_is_what_training_said(used, trained):
    said = re.search(r"valid on 'valid' subset \| loss ([\d.]+) \| nll_loss ([\d.]+) .*num_updates 20", trained.log)
    again = re.search(r"\| loss ([\d.]+) \| nll_loss ([\d.]+)", used["validate"])
    assert [*map(float, again.groups())] == pytest.approx([*map(float, said.groups())], abs=2e-3)
