"""fairseq_intra/inputs.py, and the scripts: damaged data, checkpoints that do not fit, checkpoints of others."""

import shutil
from argparse import Namespace

import commands
import corpus
import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_cli.train import main

from fairseq_intra import checkpoint, cli
from fairseq_intra.checkpoint import Training
from fairseq_intra.errors import UsageError
from fairseq_intra.patches.input_checks import check_binarised

#: What the authors' fork has no flags for.
OURS = ("passes", "id_loss", "encoder_once", "split_batch", "max_update")
PLAIN = "--task translation --arch transformer_iwslt_de_en --criterion label_smoothed_cross_entropy --optimizer adam"


@pytest.fixture
def damaged(dataset, tmp_path):
    """A copy of the dataset, to be damaged."""
    return shutil.copytree(dataset, tmp_path / "data")


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def load(data, dictionary=None, **more):
    return data_utils.load_indexed_dataset(str(data / "bin" / "train.de-en.de"), dictionary, **more)


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("train.de-en.de.bin", 0.5, "is cut short: [0-9]+ bytes of [0-9]+; make the dataset again"),
        ("train.de-en.de.bin", 0, "is cut short: 0 bytes of [0-9]+"),
        ("train.de-en.de.idx", 0.5, "is cut short: [0-9]+ bytes of 3626"),
        ("train.de-en.de.idx", 20, "is cut short: 20 bytes"),
        ("train.de-en.de.idx", 0, "is cut short: 0 bytes"),
    ],
)
def test_binarised_text_that_was_cut_short_is_named(damaged, name, size, told):
    path = damaged / "bin" / name
    cut(path, int(path.stat().st_size * size) if isinstance(size, float) else size)
    with pytest.raises(UsageError, match=f"{path} {told}"):
        load(damaged)


@pytest.mark.parametrize(("gone", "kept"), [("bin", "idx"), ("idx", "bin")])
def test_half_of_a_split_is_missed(damaged, gone, kept):
    (damaged / "bin" / f"train.de-en.de.{gone}").unlink()
    with pytest.raises(UsageError, match=rf"train\.de-en\.de\.{gone} is missing beside train\.de-en\.de\.{kept}"):
        load(damaged)


def test_a_dictionary_of_fewer_words_is_not_that_of_the_text(dataset):
    dictionary = Dictionary.load(str(dataset / "bin" / "dict.de.txt"))
    assert len(load(dataset, dictionary)) == 300
    del dictionary.symbols[50:]
    with pytest.raises(UsageError, match=r"de\.bin has word number \d+, and its dictionary only 50 words"):
        load(dataset, dictionary)


def test_all_parts_of_a_split_are_looked_at(damaged):
    for end in ("bin", "idx"):
        shutil.copy(damaged / "bin" / f"train.de-en.de.{end}", damaged / "bin" / f"train.de-en.de1.{end}")
    assert len(load(damaged, combine=True)) == 600
    cut(damaged / "bin" / "train.de-en.de1.bin", 100)
    assert len(load(damaged)) == 300
    with pytest.raises(UsageError, match=r"de1\.bin is cut short"):
        load(damaged, combine=True)


def test_other_formats_and_splits_that_are_not_there_are_left_to_fairseq(tmp_path):
    assert load(tmp_path) is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "train.de-en.de").write_text("w w\nw\n")
    assert len(load(tmp_path, Dictionary(), dataset_impl="raw")) == 2
    for end in ("idx", "bin"):
        (tmp_path / "bin" / f"train.de-en.de.{end}").write_bytes(b"TNTIDX\x00\x00")
    assert check_binarised(str(tmp_path / "bin" / "train.de-en.de"))


def test_the_scripts_say_in_one_line_what_is_wrong_with_data_and_checkpoint(damaged, trained, tmp_path):
    cut(damaged / "bin" / "valid.de-en.en.bin", 50)
    torn = tmp_path / "torn.pt"
    torn.write_bytes(trained.checkpoint.read_bytes()[:9000])
    train = ["--data", damaged, "--method", "intra", "--out", tmp_path / "run", "--preset", "tiny"]
    evaluate = ["--data", damaged, "--checkpoint"]
    small = tmp_path / "small"
    shutil.copytree(damaged, small)
    for language in ("de", "en"):
        words = corpus.lines(small / "bin" / f"dict.{language}.txt")
        (small / "bin" / f"dict.{language}.txt").write_text("\n".join(words[:-3]) + "\n", encoding="utf-8")
    said = commands.at_once(
        lambda: corpus.fail("scripts/train.sh", *train),
        lambda: corpus.fail("scripts/evaluate.sh", *evaluate, torn),
        lambda: corpus.fail("scripts/evaluate.sh", "--data", small, "--checkpoint", trained.checkpoint),
    )
    assert f"and it ends: fairseq_intra: error: {damaged}/bin/valid.de-en.en.bin is cut short: 50 bytes of" in said[0]
    assert f"error: checkpoint {torn} cannot be read: " in said[1]
    assert f"{small}/bin/dict.de.txt was changed since the dataset was made" in said[2]


@pytest.fixture
def train_here(dataset, monkeypatch):
    """fairseq-train in this process: the task's name for what it ended with, as a checkpoint."""
    monkeypatch.setattr(checkpoint_utils.save_checkpoint, "best", None, raising=False)

    def train(folder, *flags):
        del checkpoint_utils.save_checkpoint.best
        always = [dataset / "bin", "--cpu", "--save-dir", folder, "--num-workers", 0, *commands.TINY]
        argv = [str(word) for word in (*always, *flags)]
        main(convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), argv)))
        return checkpoint.load(folder / "checkpoint_last.pt")

    yield train
    checkpoint_utils.save_checkpoint.best = None


@pytest.fixture(scope="module")
def upstream(dataset, tmp_path_factory):
    """A checkpoint of fairseq-train without --user-dir."""
    folder = tmp_path_factory.mktemp("upstream")
    always = ["--cpu", "--save-dir", folder, *PLAIN.split(), *commands.TINY, "--max-update", 3]
    commands.fairseq("train", dataset / "bin", *always)
    return folder / "checkpoint_last.pt"


INTRA = [*commands.PUBLISHED, "--max-update", 2]
RESETS = [f"--reset-{what}" for what in ("optimizer", "lr-scheduler", "meters", "dataloader")]


@pytest.mark.parametrize(
    "flags", [["--finetune-from-model", "{}"], ["--restore-file", "{}", *RESETS]], ids=["finetune", "restore"]
)
def test_a_model_of_plain_fairseq_is_trained_on_with_intra_distillation(upstream, tmp_path, train_here, flags):
    assert checkpoint.training(checkpoint.load(upstream)) == Training("plain", 1, 3)
    # Without an update's effect, the model is the one loaded.
    state = train_here(tmp_path, *INTRA, "--lr", 0, *[flag.format(upstream) for flag in flags])
    assert checkpoint.training(state) == Training("intra", 1, 2)
    for name, value in checkpoint.load(upstream)["model"].items():
        assert torch.equal(state["model"][name], value)


def test_without_resets_it_is_refused_with_what_to_reset(upstream, tmp_path, train_here):
    with pytest.raises(UsageError, match=rf"checkpoint {upstream}: Criterion does not match.*--reset-optimizer"):
        train_here(tmp_path, *INTRA, "--restore-file", upstream)


def test_a_model_of_other_sizes_is_refused_in_training(upstream, tmp_path, train_here):
    with pytest.raises(UsageError, match=rf"checkpoint {upstream} does not fit .* size mismatch for .*fc1"):
        train_here(tmp_path, *INTRA, "--finetune-from-model", upstream, "--encoder-ffn-embed-dim", 8)


def of_the_fork(trained, path, as_arguments):
    """The trained model as the authors' fork writes it: their task with their flags, and fairseq's own criterion."""
    state = torch.load(trained.checkpoint, weights_only=True)
    if as_arguments:
        parser = options.get_training_parser()
        flags = ["data", *commands.PUBLISHED, *commands.TINY, "--source-lang=de", "--target-lang=en"]
        args = options.parse_args_and_arch(parser, [str(word) for word in flags])
        state |= {"cfg": None, "args": Namespace(**{k: v for k, v in vars(args).items() if k not in OURS[:-1]})}
    else:
        for name in OURS:
            del state["cfg"]["task"][name]
        criterion = {"_name": "label_smoothed_cross_entropy", "label_smoothing": 0.1, "sentence_avg": True}
        state["cfg"]["criterion"] = criterion | {"report_accuracy": False, "ignore_prefix_size": 0}
    torch.save(state, path)
    return path


@pytest.mark.parametrize("as_arguments", [False, True], ids=["cfg", "Namespace"])
def test_a_checkpoint_of_the_authors_fork_is_read_as_what_it_is(dataset, trained, tmp_path, as_arguments):
    path = of_the_fork(trained, tmp_path / "fork.pt", as_arguments)
    built = checkpoint.build(path, dataset / "bin")
    assert built.training == Training("intra", 1, 20)
    assert built.fingerprint == checkpoint.build(trained.checkpoint, dataset / "bin").fingerprint
    found = [tmp_path / "fork.json", tmp_path / "ours.json"]
    for file, output in zip((path, trained.checkpoint), found, strict=True):
        given = ["--checkpoint", file, "--data", dataset, "--output", output, "--batches", 1, "--cpu"]
        cli.main(["sensitivity", *map(str, given)])
    losses = [float(output.read_text().split('"loss": ')[1].split(",")[0]) for output in found]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_checkpoint_of_the_authors_fork_is_evaluated(dataset, trained, tmp_path):
    path = of_the_fork(trained, tmp_path / "fork.pt", as_arguments=True)
    flags = ["--data", dataset, "--beam", 1, "--max-len-b", 9, "--checkpoint", path]
    corpus.succeed("scripts/evaluate.sh", *flags, OMP_NUM_THREADS="1")
    assert len(corpus.lines(tmp_path / "fork.test.hyp")) == 10
