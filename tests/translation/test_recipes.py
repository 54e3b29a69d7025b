"""The recipes of scripts/README.md, "Adapt and continue", and the command that the quickstart ends with."""

import shutil
import subprocess

import corpus
import pytest
from preparing import prepare

from fairseq_intra import checkpoint as checkpoints
from fairseq_intra import cli
from fairseq_intra.checkpoint import Training
from fairseq_intra.errors import UsageError


def train(data, out, *flags):
    cli.main(["train", "--data", str(data), "--out", str(out), *map(str, flags)])
    return out / "checkpoints/checkpoint_last.pt"


@pytest.fixture(scope="module")
def other_domain(translating, tmp_path_factory):
    """Text in which a word has another translation, prepared with the model's vocabulary."""
    base = tmp_path_factory.mktemp("domain")
    for seed, (split, count) in enumerate({"train": 200, "valid": 10, "test": 10}.items(), 7):
        found = corpus.easy_sentences(count, seed)
        pairs = [(f"Bido {source.lower()}", f"Nebo {target.lower()}") for source, target in found]
        corpus.write_pairs(base / "text", split, pairs, ("de", "en"))
    flags = ["--input", base / "text", "--src", "de", "--tgt", "en", "--workers", 1]
    prepare("parallel", *flags, "--like", translating.data, "--out", base / "data")
    return base / "data"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plain", "intra"])
def test_a_model_is_adapted_to_another_domain(translating, other_domain, tmp_path, method):
    flags = ["--method", method, *translating.flags, "--finetune-from-model", translating.checkpoint]
    flags += ["--lr=2e-3", "--warmup-updates=2"]
    adapted = train(other_domain, tmp_path / "run", *flags, "--updates", 40, "--validate-interval-updates", 20)
    models = (translating.checkpoint, adapted)
    before, after = (translated(path, translating, other_domain, tmp_path) for path in models)
    assert [sum(line.startswith("Nebo ") for line in lines) for lines in (before, after)] == [0, 10]


def translated(checkpoint, model, data, folder):
    given = ["--checkpoint", checkpoint, "--data", model.data]
    files = ["--input", data / "raw/test.de", "--output", folder / "out"]
    cli.main(["translate", *map(str, [*given, *files])])
    return corpus.lines(folder / "out")


def test_a_plain_model_is_continued_with_intra_distillation(translating, tmp_path, capfd):
    flags = ["--method", "intra", *translating.flags, "--continue-from", translating.checkpoint]
    with pytest.raises(UsageError, match="has had 300 updates, and 300 are asked for"):
        train(translating.data, tmp_path / "run", *flags, "--updates", 300)
    flags += ["--updates", 306, "--log-interval", 1, "--validate-interval-updates", 153]
    last = train(translating.data, tmp_path / "run", *flags)
    log = (tmp_path / "run/train.log").read_text()
    said = capfd.readouterr().err
    assert "after 300 updates, with its optimizer's state" in said
    assert "with these flags --method intra is late, and tables call it so" in said
    first = next(line for line in log.splitlines() if "num_updates=301" in line)
    assert "intra_distillation_loss=" in first
    # What adaptive alpha counts from.
    assert "--plain-updates\n300\n" in (tmp_path / "run/arguments.txt").read_text()
    state = checkpoints.load(last)
    # Plain first, intra-distillation late.
    assert checkpoints.training(state) == Training("late", 1, 306)
    # Adam's own count of updates: its state was not made anew.
    assert {int(each["step"]) for each in state["last_optimizer_state"]["state"].values()} == {306}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *(".lock", "arguments.txt", "checkpoints", "finished", "train.log")
    ]
    train(translating.data, tmp_path / "run", *flags)
    assert "is finished" in capfd.readouterr().err


def test_a_model_without_its_optimizer_is_continued_from_update_0(translating, tmp_path, capfd):
    state = checkpoints.load(translating.checkpoint)
    checkpoints.save(state, tmp_path / "model.pt")
    flags = ["--method", "intra", *translating.flags, "--continue-from", tmp_path / "model.pt"]
    last = train(translating.data, tmp_path / "run", *flags, "--updates", 3, "--validate-interval-updates", 3)
    assert "without its optimizer's state, which is missing or of another kind" in capfd.readouterr().err
    assert checkpoints.training(checkpoints.load(last)).num_updates == 3


def test_the_command_that_the_quickstart_prints_can_be_pasted(translating, tmp_path):
    """In a folder whose name has a space."""
    data = tmp_path / "my data"
    shutil.copytree(translating.data, data)
    code = 'source scripts/lib.sh; show_translation "$1" "$2" de'
    shown = subprocess.run(
        ["bash", "-euc", code, "quickstart.sh", translating.checkpoint, data],
        cwd=corpus.CHECKOUT,
        env=corpus.environment(),
        capture_output=True,
        check=True,
        encoding="utf-8",
    ).stdout
    command = shown[shown.index("\n  ") :]
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=corpus.environment(), capture_output=True, encoding="utf-8"
    )
    assert done.stdout.count("\n") == 1 and len(done.stdout) > 10, done.stderr
