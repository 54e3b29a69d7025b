"""`fairseq-intra export`, and `fairseq-intra evaluate --engine ctranslate2`."""

import json
import shutil

import commands
import corpus
import pytest

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs.evaluation import Evaluation


def export(model, output, *flags, checkpoint=None):
    given = ["--checkpoint", checkpoint or model.checkpoint, "--data", model.data, "--output", output, *flags]
    cli.main(["export", *map(str, given)])


def test_the_folder_holds_all_that_translating_needs(translating):
    folder = translating.exported
    names = {"README.md", "config.json", "model.bin", "sentencepiece.model", "settings.json"}
    assert {path.name for path in folder.iterdir()} == names | {"shared_vocabulary.json"}
    card = (folder / "README.md").read_text()
    for part in ("de to en", "License: fill in", "plain, seed 1, 800 updates", "signature `nrefs:1|case:mixed"):
        assert part in card
    assert " of 40 sentences of valid (" in card and "CTranslate2 (float32); BLEU " in card
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["max_len_a"], settings["max_len_b"], settings["max_source_positions"]) == (1.0, 200, 1024)


def test_repeated_it_is_left_alone_and_nothing_else_is_replaced(translating, tmp_path, capsys):
    before = corpus.checksums(translating.exported)
    export(translating, translating.exported)
    assert "is finished" in capsys.readouterr().err and corpus.checksums(translating.exported) == before
    with pytest.raises(UsageError, match="was made of another checkpoint or --quantization; give another"):
        export(translating, translating.exported, "--quantization", "int8")
    (tmp_path / "mine").write_text("text")
    with pytest.raises(UsageError, match="exists and is not an exported model; give another"):
        export(translating, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


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
