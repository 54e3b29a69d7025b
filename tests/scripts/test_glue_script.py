"""scripts/glue.sh: from GLUE's files to the table, on made-up ones, with a tiny model from scratch."""

import json
import re
import shutil

import commands
import corpus
import pytest
import tagged
from preparing import prepare, rejected

from fairseq_intra import files
from fairseq_intra.data import glue_tasks
from fairseq_intra.errors import UsageError
from fairseq_intra.runs.task_table import task_table

TINY = """--arch roberta --encoder-layers 1 --encoder-embed-dim 8 --encoder-ffn-embed-dim 8
--encoder-attention-heads 2 --max-positions 64 --lr 0.01 --epochs 1""".split()
#: A task's line in the table: its name and measure.
ROW = re.compile(r"^\| ([\w-]+) \| ([\w ]+) \| -?[\d.]+ \| -?[\d.]+ \| [+-][\d.]+ \|$", re.MULTILINE)
#: First lines as GLUE has them, MRPC's with its mark of byte order; CoLA has none.
HEADERS = {
    "CoLA": None,
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "STS-B": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
}


def example(task, number):
    text = f'Dile la "{corpus.SYLLABLES[number % 24]}"'
    label = number % 2
    if task == "CoLA":
        return f"gj04\t{label}\t\t{text}"
    if task == "MRPC":
        return f"{label}\t1\t2\t{text}\tdo {text}"
    return f"{number}\tmain\tx\t2012\t1\tnone\tnone\t{text}\tdo {text}\t{number % 6}.000"


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    """GLUE's layout, and a vocabulary as XLM-R's archives hold it."""
    folder = tmp_path_factory.mktemp("glue")
    for task, header in HEADERS.items():
        (folder / task).mkdir()
        for split, count in {"train": 24, "dev": 12}.items():
            rows = [example(task, number) for number in range(count)]
            if split == "train":
                rows.append("1\ta line of another form")
            text = "\n".join(([header] if header else []) + rows) + "\n"
            (folder / task / f"{split}.tsv").write_text(text, encoding="utf-8")
    tagged.write_encoder(folder / "vocabulary")
    # The subwords are of text without quotation marks.
    with (folder / "vocabulary" / "dict.txt").open("a", encoding="utf-8") as dictionary:
        dictionary.write('" 1\n')
    return folder


@pytest.fixture(scope="module")
def made(glue, tmp_path_factory):
    """One task, one seed, and what the script said when it was repeated."""
    out = tmp_path_factory.mktemp("made") / "out"
    flags = ["--glue", glue, "--vocabulary", glue / "vocabulary", "--out", out, "--tasks", "CoLA"]
    flags += ["--seeds", "1", *TINY, "--alpha", "1.5", "--adaptive-alpha", "1"]
    corpus.succeed("scripts/glue.sh", *flags)
    before = corpus.checksums(out)
    again = corpus.succeed("scripts/glue.sh", *flags)
    return out, before, again


def test_table_has_every_task_with_its_measure(made):
    table = (made[0] / "table.md").read_text(encoding="utf-8")
    assert dict(ROW.findall(table)) == {"CoLA": "Matthews correlation"}


def test_files_with_a_mark_of_byte_order_are_read(glue):
    examples, labels, lines, left_out = glue_tasks.read(glue / "MRPC" / "train.tsv", glue_tasks.TASKS["MRPC"])
    first = f'Dile la "{corpus.SYLLABLES[0]}"'
    assert examples[0] == (first, f"do {first}")
    assert labels[:2] == ["0", "1"] and len(labels) == 24 and left_out == 1 and lines == list(range(2, 26))


def test_examples_are_counted(made):
    splits = json.loads((made[0] / "data" / "CoLA" / "manifest.json").read_text())["splits"]
    assert splits["train"] == {"examples": 24, "left_out": 1}


def test_repeated_it_leaves_finished_runs_alone(made):
    out, before, again = made
    after = corpus.checksums(out)
    assert {name: sum for name, sum in after.items() if "/logs/" not in f"/{name}"} == {
        name: sum for name, sum in before.items() if "/logs/" not in f"/{name}"
    }
    assert " failed:" not in again


def test_the_method_and_its_flags_reach_the_runs_of_intra_alone(made):
    plain, intra = ((made[0] / f"CoLA.{method}.seed1" / "arguments.txt").read_text() for method in ("plain", "intra"))
    assert "intra_distillation_sentence_prediction\n" in intra and "--alpha\n1.5\n" in intra
    assert "--alpha" not in plain and "intra" not in plain
    assert "intra-distillation: 3 passes, batched" in (made[0] / "CoLA.intra.seed1" / "train.log").read_text()


@pytest.mark.slow
def test_two_workers_measure_the_predictions_of_both(made, tmp_path):
    """A correlation of what a model says that never learns: with one worker or two, of all of the dev set."""
    shutil.copytree(made[0] / "data" / "CoLA" / "input0", tmp_path / "data" / "input0")
    (tmp_path / "data" / "label").mkdir()
    for split, count in {"train": 24, "valid": 12}.items():
        (tmp_path / "data" / "label" / f"{split}.label").write_text("".join(f"{n % 5}\n" for n in range(count)))
    flags = ["--task", "sentence_prediction_intra_distillation", "--regression-target", "--num-classes", 1]
    flags += ["--criterion", "intra_distillation_sentence_prediction", "--report-pearson-and-spearman"]
    flags += [*tagged.SMALL, "--max-positions", 64, "--init-token", 0, "--optimizer", "adam", "--lr", 0]
    flags += ["--batch-size", 5, "--max-epoch", 1, "--no-save", "--ddp-backend", "legacy_ddp"]
    flags += ["--log-format", "simple", "--save-dir", tmp_path / "run"]
    alone = commands.fairseq("train", tmp_path / "data", "--user-dir", commands.PLUGIN, "--cpu", *flags)
    together = commands.train_on_two_workers(tmp_path / "data", *flags)
    found = [re.findall(r"\| loss ([\d.]+) .*\| pearson (\S+) \| spearman (\S+) ", log) for log in (alone, together)]
    assert found[0] == found[1] and len(found[0]) == 1


@pytest.mark.slow
def test_failed_run_is_named_and_the_others_make_the_table(glue, tmp_path):
    out = tmp_path / "out"
    # A run with other arguments stands in the way of one of the six.
    (out / "CoLA.intra.seed1" / "checkpoints").mkdir(parents=True)
    (out / "CoLA.intra.seed1" / "checkpoints" / "checkpoint1.pt").touch()
    (out / "CoLA.intra.seed1" / "arguments.txt").write_text("other\n")
    flags = ["--glue", glue, "--vocabulary", glue / "vocabulary", "--out", out, "--tasks", " ".join(HEADERS)]
    done = corpus.run("scripts/glue.sh", *flags, "--seeds", "1", *TINY)
    assert done.returncode == 1 and "1 of 6 runs failed: CoLA.intra.seed1" in done.stderr
    table = (out / "table.md").read_text(encoding="utf-8")
    assert dict(ROW.findall(table)) == {"MRPC": "F1", "STS-B": "Pearson correlation"}
    shares = corpus.lines(out / "data" / "STS-B" / "label" / "valid.label")
    assert shares[:6] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--tasks", "QNLI"], "has no folder QNLI"),
        (["--checkpoint", "/nowhere.pt"], "--checkpoint /nowhere.pt: no such file"),
    ],
    ids=["task", "checkpoint"],
)
def test_rejects_in_one_line(glue, tmp_path, flags, message):
    always = ["--glue", glue, "--vocabulary", glue / "vocabulary", "--out", tmp_path / "out", "--tasks", "CoLA"]
    assert message in corpus.fail("scripts/glue.sh", *always, *flags)
    assert not (tmp_path / "out").exists()


def test_table_refuses_what_cannot_be_compared(made):
    with pytest.raises(UsageError, match="CoLA has no intra run of seed 1"):
        task_table([made[0] / "CoLA.plain.seed1"])
    with pytest.raises(UsageError, match="are both plain runs of CoLA with seed 1"):
        task_table([made[0] / "CoLA.plain.seed1"] * 2)
    with pytest.raises(UsageError, match="is no run of scripts/finetune.sh"):
        task_table([made[0]])


def test_a_folder_of_something_else_is_left_alone(glue, tmp_path, monkeypatch):
    flags = ["--input", glue / "CoLA", "--vocabulary", glue / "vocabulary"]
    (tmp_path / "notes").write_text("mine")
    assert "is a folder with other files; give another one" in rejected("glue", *flags, "--out", tmp_path)
    assert (tmp_path / "notes").read_text() == "mine"
    prepare("glue", *flags, "--out", tmp_path / "data")
    assert "is finished already" in prepare("glue", *flags, "--out", tmp_path / "data")
    assert {path.name for path in tmp_path.iterdir()} == {"notes", "data"}
    monkeypatch.chdir(tmp_path / "data")
    assert "is finished already" in prepare("glue", *flags, "--out", ".")
    with files.locked(tmp_path, lock=".data.lock"):
        prepare("glue", *flags, "--out", tmp_path / "other")
    (tmp_path / "cola").symlink_to(glue / "CoLA")
    said = prepare("glue", "--input", tmp_path / "cola", *flags[2:], "--out", tmp_path / "link")
    assert "none of GLUE's tasks" not in said
    assert json.loads((tmp_path / "link" / "manifest.json").read_text())["task"] == "CoLA"
    assert "made for --task CoLA" in rejected("glue", *flags, "--task", "SST-2", "--out", tmp_path / "data")
    (tmp_path / "data" / "input0" / "train.bin").unlink()
    error = rejected("glue", *flags, "--out", tmp_path / "data")
    assert "train.bin is missing; delete" in error and "to make it again" in error


@pytest.mark.parametrize("score", ["nan", "5.1", "-1"])
def test_a_score_of_sts_b_that_is_none_is_named(glue, tmp_path, score):
    shutil.copytree(glue / "STS-B", tmp_path / "STS-B")
    text = (tmp_path / "STS-B" / "dev.tsv").read_text()
    (tmp_path / "STS-B" / "dev.tsv").write_text(re.sub(r"\t[^\t]*$", f"\t{score}", text.rstrip("\n")) + "\n")
    flags = ["--input", tmp_path / "STS-B", "--vocabulary", glue / "vocabulary", "--out", tmp_path / "data"]
    assert f"has the score {score}; scores are from 0 to 5" in rejected("glue", *flags)
    assert not (tmp_path / "data").exists()


def test_a_dictionary_of_other_subwords_is_rejected(glue, tmp_path):
    shutil.copytree(glue / "vocabulary", tmp_path / "other")
    (tmp_path / "other" / "dict.txt").write_text("".join(f"{number} 1\n" for number in range(200)))
    flags = ["--input", glue / "CoLA", "--vocabulary", tmp_path / "other", "--out", tmp_path / "data"]
    error = rejected("glue", *flags)
    assert f"100.0% of the subwords of {glue}/CoLA/train.tsv are not in {tmp_path}/other/dict.txt" in error
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda folder: (folder / "dev.tsv").unlink(), "dev.tsv is missing"),
        (lambda folder: (folder / "dev.tsv").write_text("sentence\tlabel\na b\t7\n"), "has the label '7'"),
        (
            lambda folder: (folder / "train.tsv").write_text("sentence\tlabel\nba\t0\n\nbe\t<unk>\n"),
            "train.tsv line 4 has the label '<unk>', which is one of fairseq's own symbols",
        ),
        (lambda folder: (folder / "train.tsv").write_text("text\tlabel\na\t1\n"), "no column 'sentence'"),
        (lambda folder: (folder / "train.tsv").write_bytes(b"sentence\tlabel\n\xe9\t1\n"), "train.tsv is not UTF-8"),
        (lambda folder: (folder / "train.tsv").write_bytes(b"sentence\tlabel\na\rb 1\n"), "no example of 2 columns"),
    ],
    ids=["missing", "label", "symbol", "column", "latin-1", "carriage return"],
)
def test_data_that_is_wrong_is_refused_by_name(glue, tmp_path, change, message):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text("sentence\tlabel\nba be\t0\nbi bo\t1\n")
    change(folder)
    flags = ["--input", folder, "--vocabulary", glue / "vocabulary", "--out", tmp_path / "out"]
    assert message in rejected("glue", *flags)
    assert not (tmp_path / "out").exists()
