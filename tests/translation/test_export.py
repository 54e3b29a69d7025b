"""`fairseq-intra export`, and `fairseq-intra evaluate --engine ctranslate2`."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import commands
import corpus
import pytest
import small_dataset
from evaluated_runs import SIGNATURE, evaluated

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.files import sha256
from fairseq_intra.json_files import write_record
from fairseq_intra.runs.dataset import read_dataset
from fairseq_intra.runs.evaluation import Evaluation
from fairseq_intra.translation import ctranslate2_engine
from fairseq_intra.translation import export as module
from fairseq_intra.translation.card import EngineComparison, write_card
from fairseq_intra.translation.exported import FORMAT, Settings
from fairseq_intra.translation.search import Limits

SETTINGS = Settings(FORMAT, "de", "en", False, 1024, 1024, 1.0, 200, "float32", "0")


def export(model, output, *flags, checkpoint=None):
    given = ["--checkpoint", checkpoint or model.checkpoint, "--data", model.data, "--output", output, *flags]
    cli.main(["export", *map(str, given)])


def test_the_folder_holds_all_that_translating_needs(translating):
    folder = translating.exported
    names = {"README.md", "config.json", "model.bin", "sentencepiece.model", "settings.json"}
    assert {path.name for path in folder.iterdir()} == names | {"shared_vocabulary.json"}
    card = (folder / "README.md").read_text()
    for part in ("de to en", "License: fill in", "plain, seed 1, 300 updates", "signature `nrefs:1|case:mixed"):
        assert part in card
    assert " of 40 sentences of valid (" in card and "CTranslate2 (float32); BLEU " in card
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["max_len_a"], settings["max_len_b"], settings["max_source_positions"]) == (1.0, 200, 1024)
    assert settings["corpus"] == read_dataset(translating.data).corpus


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """(checkpoint, data) of a model that was never trained, of seed 1. Not to be changed."""
    folder = tmp_path_factory.mktemp("untrained")
    data = small_dataset.write_dataset(folder / "data", ["x"], ["y"])
    (data / "spm").mkdir()
    (data / "spm/joint.model").touch()
    small_dataset.write_manifest(data)
    return small_dataset.write_checkpoint(folder / "run/checkpoints/checkpoint_best.pt"), data


#: Of the test's record: what differs from the checkpoint, and what the card adds to its score; None: it has none.
RECORDS = {
    "the same": ({}, ""),
    "unfinished": ({"unfinished": True}, "; its training was not finished"),
    "another corpus": ({"corpus": "another"}, None),
    "other updates": ({"num_updates": 1}, None),
    "another seed": ({"seed": 2}, None),
    "other parameters": ({"fingerprint": "another"}, None),
    "no record": (None, None),
}


@pytest.mark.parametrize(("other", "added"), RECORDS.values(), ids=RECORDS)
def test_the_card_has_the_score_of_this_checkpoint_and_dataset_alone(untrained, tmp_path, other, added):
    checkpoint, data = Path(shutil.copy(untrained[0], tmp_path)), untrained[1]
    if other is not None:
        same = {"corpus": read_dataset(data).corpus, "num_updates": 0, "seed": 1}
        bleu = {"score": 41.254, "signature": SIGNATURE}
        evaluated(tmp_path, bleu=bleu, engine="ctranslate2", **(same | other))
    write_card(tmp_path, SETTINGS, checkpoint, data, EngineComparison(1, 1, 1.0, 1.0, SIGNATURE))
    line = f"- **BLEU on test**: 41.25 (ctranslate2), signature `{SIGNATURE}`; "
    line += "beam 5, lenpen 1.0, max-tokens 8000, max-len-a 1.0, max-len-b 200"
    shown = [line for line in corpus.lines(tmp_path / "README.md") if "on test" in line]
    assert shown == ([] if added is None else [line + added])


def test_a_checkpoint_that_its_training_replaces_meanwhile_is_not_exported(untrained, tmp_path, monkeypatch):
    checkpoint, data = Path(shutil.copy(untrained[0], tmp_path)), untrained[1]

    def convert(given, _data, folder, _quantization):
        folder.mkdir()
        (tmp_path / "later.pt").write_text("of more updates")
        os.replace(tmp_path / "later.pt", given)

    monkeypatch.setattr(module, "FairseqEngine", lambda *_, **__: SimpleNamespace(limits=Limits(1024, 1024)))
    monkeypatch.setattr(module, "convert", convert)
    for name in ("CTranslate2Engine", "Subwords", "compare", "write_card"):
        monkeypatch.setattr(module, name, lambda *_: None)
    with pytest.raises(UsageError, match="checkpoint_best.pt was replaced while it was exported; export again when"):
        module.export(checkpoint, data, tmp_path / "out", "float32")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_best.pt"]


def test_repeated_it_is_left_alone_and_nothing_else_is_replaced(translating, tmp_path, capsys):
    before = corpus.checksums(translating.exported)
    export(translating, translating.exported)
    assert "is finished" in capsys.readouterr().err and corpus.checksums(translating.exported) == before
    with pytest.raises(UsageError, match="was made with another --quantization; give another --output"):
        export(translating, translating.exported, "--quantization", "int8")
    (tmp_path / "mine").write_text("text")
    with pytest.raises(UsageError, match="exists and is not an exported model; give another"):
        export(translating, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture
def exported(tmp_path):
    """Makes a folder as `export` leaves it, as far as it is looked at before a model is loaded."""

    def make(settings=SETTINGS):
        for name in ("model.bin", "sentencepiece.model"):
            (tmp_path / name).touch()
        write_record(tmp_path / "settings.json", settings)
        return tmp_path

    return make


def test_a_folder_of_another_checkpoint_or_dataset_is_not_finished(untrained, exported, tmp_path_factory, capsys):
    checkpoint, data = untrained
    other = Path(shutil.copytree(data, tmp_path_factory.mktemp("other") / "data"))
    (other / "raw/test.en").write_text("z\n")
    small_dataset.write_manifest(other)
    made = {"checkpoint_sha256": sha256(checkpoint), "corpus": read_dataset(data).corpus}
    folder = exported(dataclasses.replace(SETTINGS, **made))
    module.export(checkpoint, data, folder, "float32")
    assert f"{folder} is finished" in capsys.readouterr().err
    with pytest.raises(UsageError, match="was made with another --data; give another --output"):
        module.export(checkpoint, other, folder, "float32")
    # What an earlier version did not record is not known.
    folder = exported(dataclasses.replace(SETTINGS, **made | {"corpus": None}))
    module.export(checkpoint, other, folder, "float32")
    assert f"{folder} is finished" in capsys.readouterr().err
    folder = exported(dataclasses.replace(SETTINGS, **made | {"checkpoint_sha256": "0"}))
    with pytest.raises(UsageError, match="was made with another --checkpoint; give another --output"):
        module.export(checkpoint, data, folder, "float32")


def test_int8_is_smaller_and_its_card_says_what_it_costs(translating, tmp_path, capsys):
    export(translating, tmp_path / "int8", "--quantization", "int8")
    small, large = (folder / "model.bin" for folder in (tmp_path / "int8", translating.exported))
    assert small.stat().st_size < 0.6 * large.stat().st_size
    found = capsys.readouterr().out.splitlines()[0]
    assert "by CTranslate2 (int8); BLEU " in found and found in (tmp_path / "int8/README.md").read_text()


def test_another_model_is_rejected_by_export_and_translated_with_by_fairseq(translating, tmp_path):
    sizes = ["--encoder-embed-dim=8", "--decoder-embed-dim=8", "--encoder-hidden-size=8", "--decoder-hidden-size=8"]
    training = ["--arch=lstm", *sizes, "--decoder-out-embed-dim=8", "--optimizer=sgd", "--lr=0.1", "--max-update=1"]
    commands.train(translating.data, tmp_path / "lstm", *training, "--max-tokens=500", "--task=translation")
    checkpoint = tmp_path / "lstm/checkpoint_last.pt"
    with pytest.raises(UsageError) as error:
        export(translating, tmp_path / "out", checkpoint=checkpoint)
    assert f"CTranslate2 cannot read {checkpoint}, a lstm (" in str(error.value) and "\n" not in str(error.value)
    command = str(error.value).partition("translate with fairseq-intra ")[2].split()
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
    (tmp_path / "in").write_text("Ein Satz.\n\n")
    cli.main([*command, "--input", str(tmp_path / "in"), "--output", str(tmp_path / "translated")])
    assert len(corpus.lines(tmp_path / "translated")) == 2


def test_an_evaluation_by_ctranslate2_is_recorded_and_not_mixed(translating, tmp_path):
    runs = {}
    for engine in ("ctranslate2", "fairseq"):
        out = tmp_path / engine
        given = ["--checkpoint", translating.checkpoint, "--data", translating.data, "--output", out]
        cli.main(["evaluate", *map(str, given), "--engine", engine])
        runs[engine] = Evaluation.read(out / "checkpoint_last.test.json")
    ours, theirs = runs["ctranslate2"], runs["fairseq"]
    assert (ours.engine, theirs.engine) == ("ctranslate2", "fairseq") and "ctranslate2" in ours.versions
    assert ours.bleu["score"] == pytest.approx(theirs.bleu["score"], abs=0.3) and ours.bleu["score"] > 60
    assert ours.decoding == theirs.decoding and ours.at_length_limit == theirs.at_length_limit
    for engine, method in (("ctranslate2", "intra"), ("fairseq", "plain")):
        path = tmp_path / engine / "checkpoint_last.test.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"method": method}))
    with pytest.raises(UsageError, match="scores cannot be compared: runs differ in engine"):
        cli.main(["table", str(tmp_path / "ctranslate2"), str(tmp_path / "fairseq")])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--unkpen", "2"], "translates without fairseq: --unkpen goes to fairseq-generate"),
        (["--checkpoint", "MODEL:MODEL"], "translates without fairseq: an ensemble is for fairseq"),
    ],
)
def test_what_only_fairseq_does_is_rejected(translating, tmp_path, flags, message):
    words = [word.replace("MODEL", str(translating.checkpoint)) for word in flags]
    given = ["--checkpoint", translating.checkpoint, "--data", translating.data, "--output", tmp_path]
    with pytest.raises(UsageError, match=message):
        cli.main(["evaluate", *map(str, given), "--engine", "ctranslate2", *words])


def test_a_folder_that_lacks_a_file_is_reported(translating, tmp_path):
    shutil.copytree(translating.exported, tmp_path / "copy")
    (tmp_path / "copy/model.bin").unlink()
    with pytest.raises(UsageError, match="model.bin is missing; export the model again"):
        cli.main(["translate", "--model", str(tmp_path / "copy"), "--input", str(tmp_path / "copy/README.md")])


@pytest.mark.parametrize("content", ["", "text"])
def test_subwords_that_are_damaged_are_reported(exported, monkeypatch, content):
    monkeypatch.setattr(ctranslate2_engine, "CTranslate2Engine", lambda *_: None)
    folder = exported()
    (folder / "sentencepiece.model").write_text(content)
    (folder / "text").touch()
    named = f"{folder}/sentencepiece.model is damaged or cannot be read; export the model again"
    with pytest.raises(UsageError, match=named) as error:
        cli.main(["translate", "--model", str(folder), "--input", str(folder / "text")])
    assert "\n" not in str(error.value)


def test_a_gpu_that_is_not_there_is_reported(exported, tmp_path):
    (tmp_path / "text").touch()
    given = ["translate", "--model", str(exported()), "--input", str(tmp_path / "text")]
    with pytest.raises(UsageError, match="--device cuda: no GPU is seen; leave the flag out, or give --device cpu"):
        cli.main([*given, "--device", "cuda"])
