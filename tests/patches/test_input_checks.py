"""fairseq_intra/patches/{input,checkpoint}_checks.py, and the scripts: invalid data, flags and checkpoints."""

import re
import shutil
from argparse import Namespace
from types import SimpleNamespace
from unittest import mock

import commands
import corpus
import pytest
import tiny
import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.data import Dictionary, data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer
from fairseq_cli.train import get_valid_stats, main
from torch.multiprocessing import ProcessExitedException

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


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


def load(data, dictionary=None, **more):
    return data_utils.load_indexed_dataset(str(data / "bin" / "train.de-en.de"), dictionary, **more)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("train.de-en.de.bin", 0.5, "is truncated: [0-9]+ bytes of [0-9]+; make the dataset again"),
        ("train.de-en.de.bin", 0, "is truncated: 0 bytes of [0-9]+"),
        ("train.de-en.de.idx", 0.5, "is truncated: [0-9]+ bytes of 3626"),
        ("train.de-en.de.idx", 20, "is truncated: 20 bytes"),
        ("train.de-en.de.idx", 0, "is truncated: 0 bytes"),
    ],
)
def test_truncated_binarised_text_is_reported(damaged, name, size, message):
    path = damaged / "bin" / name
    truncate(path, int(path.stat().st_size * size) if isinstance(size, float) else size)
    with pytest.raises(UsageError, match=f"{path} {message}"):
        load(damaged)


@pytest.mark.parametrize(("gone", "kept"), [("bin", "idx"), ("idx", "bin")])
def test_a_missing_half_of_a_split_is_reported(damaged, gone, kept):
    (damaged / "bin" / f"train.de-en.de.{gone}").unlink()
    with pytest.raises(UsageError, match=rf"train\.de-en\.de\.{gone} is missing beside train\.de-en\.de\.{kept}"):
        load(damaged)


def test_text_of_a_larger_dictionary_is_reported(dataset):
    dictionary = Dictionary.load(str(dataset / "bin" / "dict.de.txt"))
    assert len(load(dataset, dictionary)) == 300
    highest = max(int(load(dataset)[number].max()) for number in range(300))
    del dictionary.symbols[highest + 1 :]
    assert len(load(dataset, dictionary)) == 300
    del dictionary.symbols[highest]
    with pytest.raises(
        UsageError, match=rf"de\.bin has token number {highest}, and its dictionary only {highest} types"
    ):
        load(dataset, dictionary)
    del dictionary.symbols[50:]
    with pytest.raises(UsageError, match=r"de\.bin has token number \d+, and its dictionary only 50 types"):
        load(dataset, dictionary)


def test_all_files_of_a_split_are_checked(damaged):
    for end in ("bin", "idx"):
        shutil.copy(damaged / "bin" / f"train.de-en.de.{end}", damaged / "bin" / f"train.de-en.de1.{end}")
    assert len(load(damaged, combine=True)) == 600
    truncate(damaged / "bin" / "train.de-en.de1.bin", 100)
    assert len(load(damaged)) == 300
    with pytest.raises(UsageError, match=r"de1\.bin is truncated"):
        load(damaged, combine=True)


def test_other_formats_and_missing_splits_are_left_to_fairseq(tmp_path):
    assert load(tmp_path) is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "train.de-en.de").write_text("w w\nw\n")
    assert len(load(tmp_path, Dictionary(), dataset_impl="raw")) == 2
    for end in ("idx", "bin"):
        (tmp_path / "bin" / f"train.de-en.de.{end}").write_bytes(b"TNTIDX\x00\x00")
    assert check_binarised(str(tmp_path / "bin" / "train.de-en.de"))


def batches(dataset, **limits):
    """The mini-batches of the validation text, as fairseq makes them before it trains."""
    task = tasks.setup_task(tiny.configuration(dataset / "bin").task)
    task.load_dataset("valid")
    return task.get_batch_iterator(task.dataset("valid"), **limits)


@pytest.fixture
def lengths(dataset):
    """Of the validation text, by line, the longer side with the end of the sentence."""
    sides = [corpus.lines(dataset / "encoded" / f"valid.{language}") for language in ("de", "en")]
    return [1 + max(len(side.split()) for side in pair) for pair in zip(*sides, strict=True)]


def test_a_sentence_longer_than_a_mini_batch_is_reported_with_split_line_and_flag(dataset, lengths):
    longest = max(lengths)
    limit = longest - 1
    line = next(number for number, length in enumerate(lengths, 1) if length > limit)
    message = (
        f"line {line} of valid has {lengths[line - 1]} tokens, and a mini-batch holds {limit} .*--max-tokens-valid"
    )
    with pytest.raises(UsageError, match=f"{message}.*; set it to {longest}, the longest, or more"):
        batches(dataset, max_tokens=limit)
    assert batches(dataset, max_tokens=longest)


def test_a_sentence_longer_than_the_model_has_positions_is_reported_with_split_line_and_flag(dataset, lengths):
    longest = max(lengths)
    positions = (longest - 1, longest - 1)
    message = rf"line (\d+) of valid has {longest} tokens, more than the {longest - 1}, .*--skip-invalid"
    with pytest.raises(UsageError, match=message) as rejection:
        batches(dataset, max_tokens=500, max_positions=positions)
    assert lengths[int(re.search(message, str(rejection.value))[1]) - 1] == longest


@pytest.mark.parametrize(
    "metric,maximize,message",
    [
        ("bleu", False, "--best-checkpoint-metric bleu is better the higher it is: add --maximize-best"),
        ("pearson", False, "--best-checkpoint-metric pearson is better the higher it is: add --maximize-best"),
        ("nll_loss", True, "--best-checkpoint-metric nll_loss is better the lower it is: leave out --maximize-best"),
    ],
)
def test_a_metric_with_the_wrong_direction_is_reported(metric, maximize, message):
    flags = ["--best-checkpoint-metric", metric, *["--maximize-best-checkpoint-metric"] * maximize]
    cfg = tiny.configuration("data", *flags)
    with pytest.raises(UsageError, match=message):
        distributed_utils.call_main(cfg, main)
    # fairseq-hydra-train reads --user-dir after that.
    assert cfg.common.cpu
    with pytest.raises(UsageError, match=message):
        Trainer(cfg, None, None, None)


def test_bleu_that_is_not_measured_cannot_choose_the_best():
    flags = ["--best-checkpoint-metric", "bleu", "--maximize-best-checkpoint-metric"]
    with pytest.raises(UsageError, match="--best-checkpoint-metric bleu needs --eval-bleu$"):
        distributed_utils.call_main(tiny.configuration("data", *flags), main)
    begun = []
    distributed_utils.call_main(tiny.configuration("data", *flags, "--eval-bleu"), begun.append)
    assert len(begun) == 1


def test_a_checkpoint_that_is_not_there_is_reported(tmp_path):
    tiny.save_dictionaries(tmp_path)
    (tmp_path / "run").mkdir()

    def load(*flags):
        cfg = tiny.configuration(tmp_path, "--optimizer=adam", "--lr=0.1", "--save-dir", tmp_path / "run", *flags)
        trainer = tiny.trainer(cfg)
        trainer.get_train_iterator = mock.Mock()
        return checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)

    missing = tmp_path / "missing.pt"
    with pytest.raises(UsageError, match=f"--restore-file {missing}: no such file$"):
        load("--restore-file", missing)
    with pytest.raises(UsageError, match=f"--finetune-from-model {missing} does not exist$"):
        load("--finetune-from-model", missing)
    with pytest.raises(UsageError, match=f"--path {missing}: no such file"):
        checkpoint_utils.load_model_ensemble_and_task([str(missing)])
    # That of the run itself, which is not there when it begins.
    assert load("--restore-file", tmp_path / "run" / "checkpoint_last.pt")[0] is None


def test_flags_that_exclude_each_other_are_reported():
    with pytest.raises(UsageError, match="--share-all-embeddings requires --encoder-embed-dim to match"):
        tiny.model(tiny.translation_task(), share_all_embeddings=True, decoder_embed_dim=16)


def test_a_metric_that_a_validation_does_not_measure_is_reported_with_those_that_it_does():
    cfg = tiny.configuration("data", "--best-checkpoint-metric", "bleau")
    trainer = SimpleNamespace(task=SimpleNamespace(), get_num_updates=lambda: 7)
    with pytest.raises(UsageError, match="metric bleau is nothing that this validation measures: loss, ppl$"):
        get_valid_stats(cfg, trainer, {"loss": 3.0, "ppl": 8.0}, False)["bleau"]
    # Of empty translations fairseq logs no BLEU.
    cfg = tiny.configuration("data", "--best-checkpoint-metric", "bleu", "--eval-bleu")
    assert get_valid_stats(cfg, trainer, {"loss": 3.0}, False)["bleu"] == 0
    cfg = tiny.configuration("data", "--best-checkpoint-metric", "bleau")
    assert get_valid_stats(cfg, trainer, {"bleau": 3.0}, False) == {"bleau": 3.0, "num_updates": 7}


def test_training_with_such_a_metric_ends_in_one_line(dataset, tmp_path):
    flags = [*commands.PUBLISHED, *commands.TINY, "--user-dir", commands.PLUGIN, "--cpu", "--save-dir", tmp_path]
    flags += ["--max-update", 1, "--best-checkpoint-metric", "bleau"]
    assert "metric bleau is nothing that this validation measures: loss, " in commands.refused(
        "train", dataset / "bin", *flags
    )


@pytest.mark.parametrize("seed", [99999999999, 2**32 - 1, -1])
def test_a_seed_that_numpy_does_not_take_is_reported(seed):
    begun = []
    with pytest.raises(UsageError, match=f"--seed must be a whole number from 0 to 4293967295, not {seed}"):
        distributed_utils.call_main(tiny.configuration("data", f"--seed={seed}"), begun.append)
    for fine in (0, 4293967295):
        distributed_utils.call_main(tiny.configuration("data", f"--seed={fine}"), begun.append)
    assert [cfg.common.seed for cfg in begun] == [0, 4293967295]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fp16", "--cpu"], "--fp16 needs a GPU, and --cpu is given; leave it out, or take --amp"),
        (["--fp16", "--amp"], "--fp16 and --amp exclude each other"),
        (["--bf16", "--amp"], "--bf16 and --amp exclude each other"),
    ],
)
def test_a_precision_that_cannot_be_trained_in_is_reported(flags, message):
    with pytest.raises(UsageError, match=message):
        distributed_utils.call_main(tiny.configuration("data", *flags), main)


@pytest.mark.parametrize(("cpu", "why"), [(False, "torch sees none"), (True, "--cpu is given")])
def test_fairseq_hydra_train_reports_it_when_it_makes_the_trainer(cpu, why):
    """It reads --user-dir too late for the other place."""
    cfg = tiny.configuration("data", "--fp16")
    cfg.common.cpu = cpu
    with pytest.raises(UsageError, match=f"--fp16 needs a GPU, and {why}"):
        Trainer(cfg, None, None, None)


@pytest.mark.parametrize(
    ("status", "signal_name", "code"),
    [(1, None, 1), (75, None, 75), (-9, "SIGKILL", "fairseq_intra: error: a worker was ended by SIGKILL")],
)
def test_what_a_worker_has_said_is_not_said_again(status, signal_name, code):
    """fairseq starts a worker for each GPU; torch raises in the process that waits for them."""

    def ends(_cfg):
        raise ProcessExitedException("process 0 terminated", 0, 1234, status, signal_name)

    with pytest.raises(SystemExit) as ended:
        distributed_utils.call_main(tiny.configuration("data"), ends)
    assert ended.value.code == code and ended.value.__suppress_context__


def test_invalid_data_and_checkpoints_are_reported_in_one_line(damaged, trained, tmp_path):
    truncate(damaged / "bin" / "valid.de-en.en.bin", 50)
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(trained.checkpoint.read_bytes()[:9000])
    train = ["--data", damaged, "--method", "intra", "--out", tmp_path / "run", "--preset", "tiny"]
    evaluate = ["evaluate", "--data", damaged, "--checkpoint"]
    small = tmp_path / "small"
    shutil.copytree(damaged, small)
    for language in ("de", "en"):
        words = corpus.lines(small / "bin" / f"dict.{language}.txt")
        (small / "bin" / f"dict.{language}.txt").write_text("\n".join(words[:-3]) + "\n", encoding="utf-8")
    said = corpus.fail("scripts/train.sh", *train)
    assert f"and it ends: fairseq_intra: error: {damaged}/bin/valid.de-en.en.bin is truncated: 50 bytes of" in said
    with pytest.raises(UsageError, match=f"checkpoint {truncated} cannot be read: "):
        cli.main([*map(str, evaluate), str(truncated)])
    with pytest.raises(UsageError, match=f"{small}/bin/dict.de.txt was changed since the dataset was made"):
        cli.main(["evaluate", "--data", str(small), "--checkpoint", str(trained.checkpoint)])


@pytest.fixture
def train_here(dataset, monkeypatch):
    """fairseq-train in this process: the task's name for what it ended with, as a checkpoint."""
    monkeypatch.setattr(checkpoint_utils.save_checkpoint, "best", None, raising=False)

    def train(folder, *flags):
        vars(checkpoint_utils.save_checkpoint).pop("best", None)
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
        assert tiny.UNUSED.search(name) or torch.equal(state["model"][name], value), name


def test_without_resets_it_is_rejected_with_what_to_reset(upstream, tmp_path, train_here):
    message = rf"checkpoint {upstream}: Criterion does not match.*--reset-optimizer.* --continue-from, which keeps"
    with pytest.raises(UsageError, match=message):
        train_here(tmp_path, *INTRA, "--restore-file", upstream)


def test_the_state_of_another_scheduler_is_rejected_with_what_to_reset(upstream, tmp_path, train_here):
    flags = [*PLAIN.split(), "--restore-file", upstream, "--max-update", 4, "--lr-scheduler", "inverse_sqrt"]
    message = (
        f"checkpoint {upstream} is of a training with another --lr-scheduler than inverse_sqrt; give that one, or"
    )
    with pytest.raises(UsageError, match=f"{message} --reset-lr-scheduler"):
        train_here(tmp_path, *flags)
    state = train_here(tmp_path, *flags, "--reset-lr-scheduler")
    assert checkpoint.training(state).num_updates == 4


def test_fairseq_validate_without_a_task_says_so(dataset, upstream):
    said = commands.refused("validate", dataset / "bin", "--user-dir", commands.PLUGIN, "--path", upstream, "--cpu")
    assert "--task is missing: give that of the data, such as --task translation" in said


def test_a_model_of_other_sizes_is_rejected_in_training(upstream, tmp_path, train_here):
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


def test_a_model_that_is_not_registered_is_named():
    task = tiny.translation_task()
    with pytest.raises(UsageError, match="no model 'mine' is registered: give fairseq's commands the --user-dir"):
        task.build_model(Namespace(arch="mine"))
