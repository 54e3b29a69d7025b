"""fairseq_intra/runs/hyperparameters.py: what decides a training, from its configuration."""

import argparse
import copy

import pytest
import tiny
from fairseq.dataclass.utils import omegaconf_no_object_check
from omegaconf import OmegaConf

from fairseq_intra.runs.hyperparameters import hyperparameters

FLAGS = """--optimizer adam --lr 0.001 --lr-scheduler inverse_sqrt --warmup-updates 400 --dropout 0.2 --clip-norm 25
--weight-decay 1e-4""".split()
FAIRSEQ_S = "--task translation --criterion label_smoothed_cross_entropy --label-smoothing 0.1"


@pytest.fixture(scope="module")
def parsed():
    return tiny.configuration("data", *FLAGS, "--adam-betas=(0.9, 0.98)")


@pytest.fixture
def changed(parsed):
    """The hyperparameters of a configuration in which some values, by section and name, are others."""

    def of(values):
        cfg = copy.deepcopy(parsed)
        # OmegaConf copies its own sections alone.
        with omegaconf_no_object_check():
            cfg.model = argparse.Namespace(**vars(parsed.model))
        for place, value in values.items():
            section, name = place.split(".")
            if isinstance(cfg[section], argparse.Namespace):
                setattr(cfg[section], name, value)
            else:
                cfg[section][name] = value
        return hyperparameters(cfg)

    return of


def test_an_optimizer_without_settings_of_its_own_section_has_no_others(parsed):
    """fairseq keeps those of SGD together with all other flags: seed, folders and logging are none of them."""
    adam = hyperparameters(parsed).keys()
    sgd = hyperparameters(tiny.configuration("data", "--optimizer=sgd", "--momentum=0.9"))
    assert sgd["momentum"] == "0.9" and sgd["dropout"] == "0.1"
    assert sgd.keys() - adam == {"momentum", "force_anneal", "lr_shrink"}


def test_a_run_that_continues_another_one_is_told_from_one_from_scratch(changed):
    assert changed({})["continued"] == "False"
    assert changed({"checkpoint.continue_once": "model.pt"})["continued"] == "True"
    # A late start counts the plain updates as its own.
    late = {"checkpoint.continue_once": "model.pt", "task.plain_updates": 600}
    assert changed(late)["continued"] == "False"


def test_the_names_and_values_are_those_of_the_flags(parsed):
    expected = {
        "architecture": "transformer",
        "encoder_layers": "1",
        "decoder_ffn_embed_dim": "8",
        "share_all_embeddings": "True",
        "dropout": "0.2",
        "criterion": "label_smoothed_cross_entropy",
        "label_smoothing": "0.1",
        "optimizer": "adam",
        "adam_betas": "[0.9,0.98]",
        "weight_decay": "0.0001",
        "lr_scheduler": "inverse_sqrt",
        "warmup_updates": "400",
        "lr": "[0.001]",
        "clip_norm": "25",
        "precision": "fp32",
        "num_iter": "3",
        "alpha": "2",
        "div": "X",
    }
    assert expected.items() <= hyperparameters(parsed).items()


def test_neither_data_nor_seed_nor_batch_nor_limits_are_any(parsed):
    others = """--seed=7 --save-dir=other --max-update=9 --max-tokens=50 --log-interval=3 --update-freq=4 --patience=2
    --passes=sequential --id-loss=torch --adam-betas=(0.9,0.98)"""
    assert hyperparameters(tiny.configuration("other", *FLAGS, *others.split())) == hyperparameters(parsed)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model._name", "lightconv"),
        ("model.dropout", 0.3),
        ("model.attention_dropout", 0.1),
        ("model.encoder_layers", 2),
        ("model.decoder_normalize_before", True),
        ("optimization.lr", [0.002]),
        ("optimization.clip_norm", 1.0),
        ("optimization.sentence_avg", True),
        ("lr_scheduler.warmup_updates", 500),
        ("optimizer.adam_eps", 1e-6),
        ("optimizer.weight_decay", 0.1),
        ("criterion._name", "cross_entropy"),
        ("criterion.label_smoothing", 0.2),
        ("common.bf16", True),
        ("common.memory_efficient_fp16", True),
        ("checkpoint.finetune_from_model", "other.pt"),
        ("criterion.alpha", 5),
        ("criterion.num_iter", 2),
        ("criterion.encoder_once", True),
        ("task.plain_updates", 10),
        ("task.distill_part", 3),
        ("model.max_source_positions", 22),
        ("dataset.train_subset", "train1"),
        ("task.adaptive_alpha", 1),
    ],
)
def test_what_decides_a_training_is_one(changed, place, value):
    assert changed({place: value}) != changed({})


def test_what_has_no_effect_is_none(changed):
    plain = {"criterion.num_iter": 1}
    assert changed(plain | {"criterion.alpha": 5, "task.adaptive_alpha": 1}) == changed(plain)
    adaptive = {"task.adaptive_alpha": 1}
    assert changed({"task.temperature_p": 7}) == changed({})
    assert changed(adaptive | {"task.temperature_p": 7}) != changed(adaptive)


def test_plain_training_is_the_same_by_fairseq_s_own_criterion(changed):
    own = hyperparameters(tiny.configuration("data", *FLAGS, "--adam-betas=(0.9,0.98)", method=FAIRSEQ_S))
    assert own == changed({"criterion.num_iter": 1})


def test_the_number_of_updates_of_a_schedule_is_a_limit_where_it_is_that_of_all():
    flags = [*FLAGS, "--lr-scheduler=polynomial_decay", "--max-update=50"]
    of_all, other = (
        hyperparameters(tiny.configuration("data", *flags, f"--total-num-update={count}")) for count in (50, 40)
    )
    assert "total_num_update" not in of_all and other["total_num_update"] == "40"


def test_an_architecture_in_sections_has_the_names_of_the_flags(parsed):
    """As the dataclass of fairseq's transformer holds it."""
    cfg = copy.deepcopy(parsed)
    cfg.model = OmegaConf.create({"_name": "transformer", "encoder": {"layers": 1, "embed_dim": 8.0}})
    expected = {"encoder_layers": "1", "encoder_embed_dim": "8"}
    assert expected.items() <= hyperparameters(cfg).items() and expected.items() <= hyperparameters(parsed).items()
