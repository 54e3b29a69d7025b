"""The criterion on fairseq's other models and in its other tasks, as fairseq's trainer runs them."""

import commands
import pytest
import tiny
import torch
from fairseq import tasks
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder
from fairseq.trainer import Trainer

from fairseq_intra.errors import UsageError

SIZES = ["--encoder-embed-dim=8", "--decoder-embed-dim=8"]
LSTM = ["--arch=lstm", *SIZES, "--encoder-hidden-size=8", "--decoder-hidden-size=8", "--decoder-out-embed-dim=8"]
FCONV = ["--arch=fconv", *SIZES, "--encoder-layers=[(8,3)]", "--decoder-layers=[(8,3)]", "--decoder-out-embed-dim=8"]
LIGHTCONV = ["--arch=lightconv", *SIZES, "--encoder-layers=1", "--decoder-layers=1"]
LIGHTCONV += [f"--{side}-{name}=8" for side in ("encoder", "decoder") for name in ("conv-dim", "ffn-embed-dim")]
LIGHTCONV += ["--encoder-kernel-size-list=[3]", "--decoder-kernel-size-list=[3]"]
LIGHTCONV += ["--encoder-attention-heads=2", "--decoder-attention-heads=2"]
TRANSFORMER = ["--arch=transformer", *SIZES, "--encoder-layers=1", "--decoder-layers=1"]
TRANSFORMER += [f"--{side}-ffn-embed-dim=8" for side in ("encoder", "decoder")]
TRANSFORMER += [f"--{side}-attention-heads=2" for side in ("encoder", "decoder")]
LM = ["--arch=transformer_lm", "--decoder-embed-dim=8", "--decoder-ffn-embed-dim=8", "--decoder-layers=1"]
LM += ["--decoder-attention-heads=2"]
PAIR = ["--source-lang=de", "--target-lang=en"]
MANY = ["--lang-pairs=de-en,en-de"]

#: Task and model, as fairseq-train is told of them.
CASES = {
    "lstm": ["--task=translation", *PAIR, *LSTM],
    "fconv": ["--task=translation", *PAIR, *FCONV],
    "lightconv": ["--task=translation", *PAIR, *LIGHTCONV],
    "transformer_lm": ["--task=language_modeling", "--sample-break-mode=eos", *LM],
    "multilingual_translation": [
        "--task=multilingual_translation",
        *MANY,
        *["--arch=multilingual_transformer", *TRANSFORMER[1:]],
    ],
    "translation_multi_simple_epoch": ["--task=translation_multi_simple_epoch", *MANY, *TRANSFORMER],
}
NON_AUTOREGRESSIVE = ["--task=translation", *PAIR, "--arch=nonautoregressive_transformer", *TRANSFORMER[1:]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Binarised text for any of the tasks: of a pair in both directions, and of one language."""
    folder = tmp_path_factory.mktemp("data")
    tiny.save_dictionaries(folder)
    # translation_multi_simple_epoch wants a language in the name of every file.
    (folder / "lm").mkdir()
    tiny.dictionary().save(str(folder / "lm" / "dict.txt"))
    for name, side in (("train.de-en.de", 0), ("train.de-en.en", 1), ("lm/train", 1)):
        builder = MMapIndexedDatasetBuilder(str(folder / f"{name}.bin"))
        for pair in tiny.SENTENCES * 2:
            builder.add_item(torch.tensor([*pair[side], tiny.dictionary().eos()]))
        builder.finalize(str(folder / f"{name}.idx"))
    return folder


def trainer(data, case, *flags):
    """fairseq's trainer of an untrained model, with the training set loaded, and its mini-batches."""
    always = ["--cpu", "--optimizer=adam", "--lr=0.01", "--max-tokens=200", "--dropout=0.3", "--num-workers=0"]
    model = CASES.get(case, NON_AUTOREGRESSIVE)
    cfg = tiny.parsed(*model, *always, "--required-batch-size-multiple=1", *flags)
    cfg.task.data = str(data / "lm" if case == "transformer_lm" else data)
    task = tasks.setup_task(cfg.task)
    torch.manual_seed(1)
    model = task.build_model(cfg.model)
    if case == "lstm":  # whose first weights are so small that nothing it drops can be seen
        for parameter in model.parameters():
            parameter.data *= 8
    made = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    return made, made.get_train_iterator(1).next_epoch_itr(shuffle=False)


INTRA = ["--criterion=intra_distillation", "--label-smoothing=0.1", "--alpha=2", "--num-iter=3"]


@pytest.mark.parametrize("case", CASES)
def test_some_updates_with_passes_that_differ(data, case):
    made, batches = trainer(data, case, *INTRA)
    logged = []
    for batch in list(batches) * 3:
        logged.append(made.train_step([batch]))
    losses = [log["loss"] for log in logged]
    assert len(losses) >= 3 and all(map(torch.isfinite, map(torch.tensor, losses)))
    divergence = [value for log in logged for name, value in log.items() if name.endswith("intra_distillation_loss")]
    assert divergence and all(value > 0 for value in divergence)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("case", CASES)
def test_the_first_loss_is_that_of_the_reference(data, case):
    first = []
    for flags in (["--id-loss=reference"], []):
        made, batches = trainer(data, case, *INTRA, *flags)
        log = made.train_step([next(batches)])
        first.append({name: value for name, value in log.items() if name.endswith("loss")})
    assert first[0] == pytest.approx(first[1], abs=2e-3) and len(first[0]) >= 3


@pytest.mark.parametrize("case", CASES)
def test_one_pass_is_fairseqs_own_criterion(data, case):
    first = []
    for criterion in (["--criterion=label_smoothed_cross_entropy"], [*INTRA[:1], "--num-iter=1"]):
        made, batches = trainer(data, case, *criterion, "--label-smoothing=0.1")
        assert isinstance(made.get_criterion(), LabelSmoothedCrossEntropyCriterion)
        log = made.train_step([next(batches)])
        first.append(log["loss"])
    assert first[0] == pytest.approx(first[1], abs=2e-3)


@pytest.mark.parametrize("criterion", [INTRA[:1], ["--criterion=self_distillation", "--teacher=none.pt"]])
def test_a_model_whose_forward_takes_the_target_is_rejected_in_one_line(data, tmp_path, criterion):
    made, batches = trainer(data, "nonautoregressive_transformer", f"--save-dir={tmp_path}", *criterion)
    with pytest.raises(UsageError, match=r"cannot train a NATransformerModel, .*: missing .* 'tgt_tokens'; use the"):
        made.train_step([next(batches)])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("case", ["transformer_lm", "fconv"])
def test_an_adaptive_softmax_is_rejected(data, case):
    cutoff = "--adaptive-softmax-cutoff=6,10"
    if case == "fconv":
        # fconv takes it together with fairseq's criterion adaptive_loss alone.
        made, batches = trainer(data, case, *INTRA)
        made.model.decoder.adaptive_softmax = torch.nn.Identity()
    else:
        made, batches = trainer(data, case, *INTRA, cutoff)
    with pytest.raises(UsageError, match="a model with --adaptive-softmax-cutoff does not have; leave that flag out"):
        made.train_step([next(batches)])


OWN = """
import fairseq_intra.plugin
from fairseq.models import register_model_architecture
from fairseq.models.transformer import base_architecture

register_model_architecture("transformer", "mine")(base_architecture)
"""


def test_an_architecture_of_a_user_dir_of_one_s_own(dataset, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text(OWN)
    user_dir = [dataset / "bin", "--user-dir", tmp_path / "mine", "--cpu"]
    method = ["--task", "translation_intra_distillation", "--criterion", "intra_distillation", "--arch", "mine"]
    made = ["--optimizer", "adam", *commands.TINY, "--max-update", 1, "--save-dir", tmp_path / "run"]
    assert "3 passes, batched" in commands.fairseq("train", *user_dir, *method, *made)
    checkpoint = ["--path", tmp_path / "run" / "checkpoint_last.pt"]
    assert "BLEU4" in commands.fairseq("generate", *user_dir, *checkpoint, "--beam", 1)
    done = commands.run("generate", dataset / "bin", "--user-dir", commands.PLUGIN, "--cpu", *checkpoint)
    assert done.returncode == 1 and "error: no model 'mine' is registered" in done.stderr
