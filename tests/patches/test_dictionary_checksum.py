"""A checkpoint is loaded with the dictionaries that it was trained with, or the error says so."""

import logging
from types import SimpleNamespace

import commands
import pytest
import small_dataset
import tiny
import torch
from fairseq import checkpoint_utils, tasks

from fairseq_intra import checkpoint
from fairseq_intra.errors import UsageError
from fairseq_intra.patches import dictionary_checksum


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A checkpoint with the folder of its dictionaries. Not to be changed."""
    path = small_dataset.write_checkpoint(tmp_path_factory.mktemp("saved") / "model.pt")
    return path, path.parent / "dictionaries"


@pytest.fixture
def swapped(tmp_path):
    """Dictionaries of the same symbols in another order."""
    tiny.save_dictionaries(tmp_path)
    for path in tmp_path.iterdir():
        path.write_text("".join(reversed(path.read_text().splitlines(True))))
    return tmp_path


def test_training_stores_a_checksum_of_symbols_in_order_without_counts(saved):
    state = checkpoint.load(saved[0])
    stored = dictionary_checksum.stored_in(state)
    assert set(stored) == {"source", "target"} and stored["source"]["symbols"] == 16
    counted = tiny.dictionary()
    counted.add_symbol("word3", n=7)
    languages = SimpleNamespace(**{f"{side}_lang": stored[side]["language"] for side in stored})
    task = SimpleNamespace(source_dictionary=counted, target_dictionary=tiny.dictionary(), cfg=languages)
    assert dictionary_checksum.checksums(task) == stored


def test_our_commands_reject_another_dictionary(saved, swapped):
    assert checkpoint.build(saved[0], saved[1]).model is not None
    with pytest.raises(UsageError, match="was trained with another source dictionary than that of the data"):
        checkpoint.build(saved[0], swapped)


def test_fairseq_generate_rejects_another_dictionary(saved, swapped):
    """As it loads its models: with a task of its own."""
    ours, other = (tasks.setup_task(tiny.configuration(folder).task) for folder in (saved[1], swapped))
    assert checkpoint_utils.load_model_ensemble([str(saved[0])], task=ours)
    with pytest.raises(UsageError, match="was trained with another source dictionary"):
        checkpoint_utils.load_model_ensemble([str(saved[0])], task=other)


def test_of_an_ensemble_every_model_is_checked(saved, swapped):
    second = swapped / "second.pt"
    trainer = tiny.trainer(tiny.configuration(swapped, "--optimizer", "sgd", "--lr", "0.1"))
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(second), {"train_iterator": {"epoch": 1}})
    task = tasks.setup_task(tiny.configuration(saved[1]).task)
    with pytest.raises(UsageError, match=f"{second} was trained with another source dictionary"):
        checkpoint_utils.load_model_ensemble([str(saved[0]), str(second)], task=task)


def test_a_training_rejects_a_checkpoint_of_another_dictionary(saved, swapped):
    trainer = tiny.trainer(tiny.configuration(swapped, "--optimizer", "sgd", "--lr", "0.1"))
    with pytest.raises(UsageError, match="was trained with another source dictionary"):
        trainer.load_checkpoint(str(saved[0]), reset_optimizer=True)


def test_a_training_resumes_no_checkpoint_of_the_other_direction_but_may_begin_with_it(saved):
    reversed_ = ["--source-lang", "en", "--target-lang", "de", "--optimizer", "sgd", "--lr", "0.1"]
    trainer = tiny.trainer(tiny.configuration(saved[1], *reversed_))
    with pytest.raises(UsageError, match=f"checkpoint {saved[0]} translates de-en, and the data is en-de"):
        trainer.load_checkpoint(str(saved[0]))
    assert trainer.load_checkpoint(str(saved[0]), reset_optimizer=True)


def test_a_head_may_be_fine_tuned_further_to_other_labels_but_not_resumed(saved, tmp_path):
    def trainer_of(labels):
        made = tiny.trainer(tiny.configuration(saved[1], "--optimizer", "sgd", "--lr", "0.1"))
        made.task.label_dictionary = SimpleNamespace(symbols=labels)
        return made

    before, after = trainer_of(["0", "1"]), trainer_of(["yes", "no"])
    before.consolidate_optimizer()
    before.save_checkpoint(str(tmp_path / "model.pt"), {"train_iterator": {"epoch": 1}})
    with pytest.raises(UsageError, match="was trained with another label dictionary"):
        after.load_checkpoint(str(tmp_path / "model.pt"))
    assert after.load_checkpoint(str(tmp_path / "model.pt"), reset_optimizer=True)


def test_symbols_that_a_task_appends_are_allowed():
    symbols = tiny.dictionary().symbols
    task = SimpleNamespace(source_dictionary=tiny.dictionary(), target_dictionary=tiny.dictionary())
    stored = dictionary_checksum.checksums(task)
    assert dictionary_checksum.check("model.pt", stored, {"source": [*symbols, "<mask>"], "target": symbols}, {})
    with pytest.raises(UsageError, match="was trained with another source dictionary"):
        dictionary_checksum.check(
            "model.pt", stored, {"source": [*reversed(symbols), "<mask>"], "target": symbols}, {}
        )


def test_a_checkpoint_without_checksums_is_said_not_to_be_checked(saved, tmp_path, caplog):
    state = torch.load(saved[0], weights_only=False)
    del state["extra_state"]["dictionary_checksums"]
    torch.save(state, tmp_path / "old.pt")
    with caplog.at_level(logging.WARNING):
        checkpoint.build(tmp_path / "old.pt", saved[1])
    assert f"checkpoint {tmp_path}/old.pt holds no checksum of its dictionaries" in caplog.text


def test_a_model_of_the_other_direction_is_rejected():
    """Both languages have one dictionary: the checksums do not tell."""
    symbols = {"source": ["a"], "target": ["a"]}
    known = {"symbols": 1, "sha256": dictionary_checksum._digest(["a"])}
    stored = {"source": known | {"language": "de"}, "target": known | {"language": "en"}}
    same, reversed_, other = (
        {side: name for side, name in zip(symbols, names, strict=True)}
        for names in (("de", "en"), ("en", "de"), ("nl", "en"))
    )
    for languages in (same, other, {}):
        assert dictionary_checksum.check("model.pt", stored, symbols, languages)
    with pytest.raises(UsageError, match="checkpoint model.pt translates de-en, and the data is en-de"):
        dictionary_checksum.check("model.pt", stored, symbols, reversed_)
    assert dictionary_checksum.check("model.pt", {"source": known, "target": known}, symbols, reversed_)


def test_fairseqs_commands_reject_the_other_direction(dataset, trained, tmp_path):
    for path in (dataset / "bin").glob("*.*"):
        (tmp_path / path.name.replace("de-en", "en-de")).symlink_to(path)
    flags = ["--task", "translation", "--path", trained.checkpoint, "--cpu"]
    said = commands.refused("generate", tmp_path, "--user-dir", commands.PLUGIN, *flags)
    assert "translates de-en, and the data is en-de" in said
