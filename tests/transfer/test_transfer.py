"""Cross-lingual transfer: the script from files to table, what it rejects, and the table itself."""

import json
import re
from types import SimpleNamespace

import asked
import commands
import corpus
import pytest
import tagged
import tiny
from training_stub import follow, shown

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.fine_tuning.token_classification import TokenClassificationTask
from fairseq_intra.json_files import write_record
from fairseq_intra.runs import workers
from fairseq_intra.transfer import scores
from fairseq_intra.transfer.evaluation import TransferEvaluation
from fairseq_intra.transfer.prepare import check_inputs, prepare
from fairseq_intra.transfer.recipes import recipe
from fairseq_intra.transfer.table import transfer_table
from fairseq_intra.transfer.xnli import languages, read_pairs

#: What writes each task's text, and fairseq's name of the task.
TASKS = {
    "ner": (tagged.write_wikiann, "token_classification"),
    "xnli": (tagged.write_xnli, "sentence_prediction"),
    "qa": (asked.write_questions, "question_answering"),
}
EACH = pytest.mark.parametrize("task", TASKS)
COLUMNS = ("premise", "hypo", "label")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """An archive such as xlmr.base: a masked language model of two updates, its dictionary and subwords."""
    folder = tmp_path_factory.mktemp("pretrained")
    encoder = folder / "encoder"
    tagged.write_encoder(encoder)
    processor = tagged.sentencepiece.SentencePieceProcessor(model_file=str(encoder / "sentencepiece.bpe.model"))
    subwords = [" ".join(processor.encode(text, out_type=str)) for text, _ in corpus.sentences(20, 0)]
    (folder / "text").write_text("\n".join(subwords) + "\n", encoding="utf-8")
    text = ["--trainpref", folder / "text", "--validpref", folder / "text", "--srcdict", encoder / "dict.txt"]
    commands.fairseq("preprocess", "--only-source", *text, "--destdir", folder / "bin", "--workers", 1)
    how = "--task masked_lm --criterion masked_lm --sample-break-mode eos --tokens-per-sample 64 --max-update 2"
    how += " --optimizer adam --lr 0.001 --batch-size 8"
    commands.train(folder, folder / "run", *how.split(), *tagged.SMALL)
    (folder / "run/checkpoint_last.pt").rename(encoder / "model.pt")
    return encoder


def zero_shot(task, pretrained, tmp_path):
    out = tmp_path / "out"
    command = ["scripts/zero-shot.sh", "--task", task, "--input", tmp_path / "in", "--pretrained", pretrained]
    command += ["--max-seq-length", 30, "--doc-stride", 8, "--max-query-length", 16] if task == "qa" else []
    return [*command, "--out", out, "--epochs", 2, "--batch", 10, "--max-positions", 64, "--lr", 0.01, *tagged.SMALL]


@pytest.mark.slow
@EACH
def test_from_files_to_the_table(task, pretrained, tmp_path):
    TASKS[task][0](tmp_path / "in")
    command = zero_shot(task, pretrained, tmp_path)
    corpus.succeed(*command)
    table = (tmp_path / "out/table.md").read_text(encoding="utf-8")
    assert "| en (trained on) |" in table and "| de (zero-shot) |" in table
    log = (tmp_path / "out/intra.seed1/train.log").read_text(encoding="utf-8")
    assert "loaded checkpoint" in log.lower() and "intra-distillation: 3 passes, batched" in log
    # Repeated, nothing is done again; with other flags it is another run.
    before = corpus.checksums(tmp_path / "out" / "intra.seed1")
    corpus.succeed(*command)
    assert corpus.checksums(tmp_path / "out" / "intra.seed1") == before
    done = corpus.run(*command, "--lr", 0.1)
    assert done.returncode == 1 and "is a run with other arguments or data" in done.stderr
    assert done.stderr.split("\n")[-2].startswith(
        "fairseq_intra: error: 2 of 2 runs failed: plain.seed1, intra.seed1"
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", ["ner", "qa"])
def test_killed_amid_a_training_it_resumes_and_gives_the_table_of_an_uninterrupted_run(task, pretrained, tmp_path):
    TASKS[task][0](tmp_path / "in")
    command = zero_shot(task, pretrained, tmp_path)
    corpus.kill_during("out/plain.seed1/checkpoints/checkpoint_last.pt", tmp_path, *command)
    assert not list(tmp_path.glob("out/*/finished"))
    corpus.succeed(*command)
    corpus.succeed(*[tmp_path / "whole" if word == tmp_path / "out" else word for word in command])
    tables = [(tmp_path / out / "table.md").read_text(encoding="utf-8") for out in ("out", "whole")]
    assert tables[0] == tables[1]
    log = (tmp_path / "out/plain.seed1/train.log").read_text(encoding="utf-8")
    assert "checkpoint_last.pt (epoch " in log


@EACH
def test_every_language_is_scored_from_one_checkpoint(task, tmp_path):
    """In the process, and untrained: what prepare-transfer makes is what the tasks and evaluate-transfer take."""
    TASKS[task][0](tmp_path / "in")
    tagged.write_encoder(tmp_path / "encoder")
    given = ["--input", tmp_path / "in", "--pretrained", tmp_path / "encoder", "--out", tmp_path / "data"]
    more = ["--max-seq-length", "30", "--max-query-length", "16", "--doc-stride", "8"] if task == "qa" else []
    cli.main(["prepare-transfer", "--task", task, *map(str, given), *more])
    name = TASKS[task][1]
    how = f"--task {name}_intra_distillation --criterion intra_distillation_{name}"
    how += " --optimizer sgd --lr 1 --batch-size 4 --cpu"
    how += " --num-classes 2 --init-token 0 --separator-token 2" if task == "xnli" else ""
    # Of most sentences with tags the last words are cut off.
    positions = "16" if task == "ner" else "64"
    cfg = tiny.parsed(*how.split(), *tagged.SMALL, "--max-positions", positions, "--seed", "7")
    cfg.task.data = str(tmp_path / "data")
    trainer = tiny.trainer(cfg)
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(tmp_path / "best.pt"), {})
    cli.main(
        ["evaluate-transfer", "--checkpoint", str(tmp_path / "best.pt"), "--data", str(tmp_path / "data"), "--cpu"]
    )
    found = [json.loads((tmp_path / f"best.{language}.json").read_text()) for language in ("de", "en")]
    assert [(run["language"], run["source"], run["method"], run["seed"]) for run in found] == [
        ("de", "en", "intra", 7),
        ("en", "en", "intra", 7),
    ]
    if task == "ner":
        words = [word for text, _ in corpus.sentences(20, 12) for word in text.split()]
        # Every word with k is a named entity of its own, be it cut off.
        assert found[1]["details"]["gold"] == sum("k" in word for word in words)
        assert found[1]["details"]["words_cut"] > 0
    elif task == "qa":
        assert all(run["metric"] == "answer_f1" and run["details"].keys() == {"exact_match"} for run in found)
        answers = json.loads((tmp_path / "best.de.predictions.json").read_text())
        texts = [text for text, _ in corpus.sentences(20, 2)]
        assert all(answers[f"test-{number}"] in text for number, text in enumerate(texts)) and len(answers) == 20
    else:
        # Both languages have the same pairs.
        assert found[0]["score"] == found[1]["score"]
        assert found[0]["details"]["majority"] >= 50
    assert all(run["sentences"] == 20 for run in found)
    reject_a_split_that_is_not_there(tmp_path)
    reject_other_data(task, tmp_path)
    notice_changed_text(task, tmp_path)


def test_no_entity_is_found_where_a_sentence_was_cut_off_and_those_behind_are():
    task = SimpleNamespace(HEAD="head", tags=lambda _: [["B-LOC", "O", "O", "B-LOC"], ["B-LOC", "O"]])
    predictor = SimpleNamespace(task=task, split="test", predict=lambda *_: [["B-LOC"], ["B-LOC", "O"]])
    _, score = scores.SCORES[TokenClassificationTask]
    counts = {"correct": 2, "predicted": 2, "gold": 3, "precision": 1, "recall": 2 / 3, "words_cut": 3}
    assert score(predictor).details == counts


def reject_a_split_that_is_not_there(folder):
    files = {"--checkpoint": folder / "best.pt", "--data": folder / "data", "--output": folder / "report.json"}
    given = [str(word) for pair in files.items() for word in pair]
    with pytest.raises(UsageError, match="--split nix: no such split in .*; there: test.de, test.en, train, valid$"):
        cli.main(["sensitivity", *given, "--split", "nix", "--cpu"])


def reject_other_data(task, folder):
    """Of another task, and of other labels or texts in the same number."""
    made = json.loads((folder / "data" / "manifest.json").read_text())
    evaluate = ["evaluate-transfer", "--checkpoint", str(folder / "best.pt"), "--data", str(folder / "data"), "--cpu"]
    other = "xnli" if task == "ner" else "ner"
    (folder / "data" / "manifest.json").write_text(json.dumps(made | {"kind": other}))
    with pytest.raises(
        UsageError, match=f"was trained for the task {TASKS[task][1]}.*, and .*data is of {TASKS[other][1]}"
    ):
        cli.main(evaluate)
    (folder / "data" / "manifest.json").write_text(json.dumps(made))
    labels = folder / "data" / "label" / "dict.txt"
    assert made["files"].keys() >= {"input0/train.bin", "input0/dict.txt"} and labels.exists() == (task != "qa")
    if labels.exists():
        lines = labels.read_text().split("\n")
        labels.write_text("\n".join([lines[1], lines[0], *lines[2:]]))
        with pytest.raises(UsageError, match="was trained with another label dictionary than that of the data"):
            cli.main(evaluate)


def notice_changed_text(task, folder):
    """Of every file that the data were made from."""
    inputs = json.loads((folder / "data" / "manifest.json").read_text())["inputs"]
    assert len(inputs) == (3 if task == "xnli" else 4)
    for name in inputs:
        check_inputs(folder / "data", folder / "in")
        text = (folder / "in" / name).read_bytes()
        (folder / "in" / name).write_bytes(text + b" ")
        with pytest.raises(UsageError, match=f"data was made when {folder / 'in' / name} was another"):
            check_inputs(folder / "data", folder / "in")
        (folder / "in" / name).write_bytes(text)


def test_mistakes_end_in_a_one_line_error_message(tmp_path):
    archive = tmp_path / "xlmr"
    archive.mkdir()
    (tmp_path / "in").mkdir()
    preparing = ["prepare-transfer", "--task", "ner", "--input", tmp_path / "in", "--pretrained", archive]
    preparing += ["--out", tmp_path / "made", "--max-seq-length", "60"]
    with pytest.raises(UsageError, match="--max-seq-length is for --task qa"):
        cli.main(list(map(str, preparing)))
    command = zero_shot("ner", archive, tmp_path)
    assert "holds no model.pt" in corpus.fail(*command)
    (archive / "model.pt").touch()
    (archive / "dict.txt").touch()
    assert "must be of plain rdrop intra late, as a quoted list, not 'r3f'" in corpus.fail(
        *command, "--methods", "r3f"
    )
    done = corpus.run(*command)
    assert done.returncode == 1 and "data failed: fairseq_intra: error: " in done.stderr
    assert "holds no LANG/test" in done.stderr and "error: not prepared: data" in done.stderr.split("\n")[-2]
    assert not (tmp_path / "out/data").exists()


@pytest.mark.parametrize("task", ["ner", "xnli"])
def test_a_run_is_the_recipe_and_plain_has_no_flag_of_the_method(task):
    summary = {
        "kind": task,
        "labels": ["a", "b"],
        "splits": {"train": {"sentences" if task == "ner" else "pairs": 95}},
    }
    plain, intra = (recipe(summary, method, 7, 2, 10) for method in ("plain", "intra"))
    name = "token_classification" if task == "ner" else "sentence_prediction"
    assert plain[:4] == ["--task", name, "--criterion", name]
    how = f"--task {name}_intra_distillation --criterion intra_distillation_{name} --num-iter 3 --alpha 1"
    assert intra == [*how.split(), *plain[4:]]
    given = dict(zip(plain, plain[1:], strict=False))
    assert (given["--max-update"], given["--warmup-updates"], given["--seed"]) == ("20", "1", "7")
    assert ("--num-classes" in plain) == (task == "xnli")


@pytest.fixture
def on_two_gpus(tmp_path, monkeypatch):
    """The words that show how an encoder is fine-tuned."""
    monkeypatch.setattr(workers, "gpu_count", lambda: 2)
    for name in commands.TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    summary = {"kind": "ner", "source": "en", "languages": [], "labels": ["a"], "splits": {"train": {"sentences": 9}}}
    (tmp_path / "manifest.json").write_text(json.dumps(summary))
    (tmp_path / "model.pt").touch()
    given = ["--data", tmp_path, "--pretrained", tmp_path, "--method", "intra", "--out", tmp_path / "out"]
    return ["finetune-transfer", *map(str, given), "--dry-run"]


def test_a_batch_that_two_gpus_cannot_share_is_rejected(on_two_gpus):
    with pytest.raises(UsageError, match="--batch 9 is no multiple of the 2 GPUs"):
        cli.main([*on_two_gpus, "--batch", "9"])


def test_several_gpus_work_by_what_takes_unused_parameters(on_two_gpus, capsys):
    """No task here uses the encoder's language model head."""
    cli.main(on_two_gpus)
    assert follow(shown(capsys.readouterr().out), "--ddp-backend", "legacy_ddp")


@pytest.mark.parametrize(
    "text, message",
    [
        ("premise\thypo\na\tb\n", "has no column label, only premise, hypo"),
        ("premise\thypo\tlabel\na\tb\tneutral\na\tb\n", "line 3 has 2 columns, the first line 3"),
        ("premise\thypo\tlabel\na\t\tneutral\n", "line 2: a text or its label is empty"),
        ("premise\thypo\tlabel\n", "holds no pair"),
        ("", "has no column premise, only nothing"),
    ],
)
def test_invalid_tables_are_rejected(tmp_path, text, message):
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_pairs(tmp_path / "train.tsv", COLUMNS)


def test_a_label_that_train_lacks_is_rejected(tmp_path):
    tagged.write_xnli(tmp_path / "in")
    test = tmp_path / "in/XNLI-1.0/xnli.test.tsv"
    test.write_text(test.read_text().replace("de\tneutral", "de\tother", 1))
    tagged.write_encoder(tmp_path / "encoder")
    with pytest.raises(UsageError, match="test.de has the label other, which is not in train"):
        prepare("xnli", tmp_path / "in", "en", [], tmp_path / "encoder", tmp_path / "data")
    assert not (tmp_path / "data").exists()


@EACH
def test_a_dictionary_of_other_subwords_is_rejected(task, tmp_path):
    TASKS[task][0](tmp_path / "in")
    tagged.write_encoder(tmp_path / "encoder")
    (tmp_path / "encoder/dict.txt").write_text("".join(f"{number} 1\n" for number in range(200)))
    message = "100.0% of the subwords of train are not in .*encoder/dict.txt .such as .*▁.*: they are the subwords of"
    with pytest.raises(UsageError, match=message):
        prepare(task, tmp_path / "in", "en", [], tmp_path / "encoder", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_few_unknown_subwords_are_reported(tmp_path, capsys):
    tagged.write_xnli(tmp_path / "in")
    test = tmp_path / "in/XNLI-1.0/xnli.test.tsv"
    test.write_text(test.read_text().replace("de\tneutral\t", "de\tneutral\tж ", 1))
    tagged.write_encoder(tmp_path / "encoder")
    prepare("xnli", tmp_path / "in", "en", [], tmp_path / "encoder", tmp_path / "data")
    said = [line for line in capsys.readouterr().err.split("\n") if "unknown" in line]
    assert len(said) == 1 and re.search(r"test\.de: 1 of \d+ subwords are unknown to the dictionary$", said[0])


def test_a_table_with_a_byte_order_mark_and_carriage_returns(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text("\ufefflanguage\tpremise\thypo\tlabel\r\nfr\ta\tb\tneutral\r\nde\tc\td\tneutral\r\n")
    assert languages(path) == ["de", "fr"]
    assert read_pairs(path, COLUMNS, "fr") == [("a", "b", "neutral")]


def test_invalid_lines_of_the_training_file_are_left_out_and_counted(tmp_path, caplog):
    (tmp_path / "train.tsv").write_text("premise\thypo\tlabel\na\tb\tneutral\na\t\tneutral\na\tb\n")
    assert read_pairs(tmp_path / "train.tsv", COLUMNS, leave_out=True) == [("a", "b", "neutral")]
    assert caplog.messages == [f"{tmp_path}/train.tsv: 2 lines left out; line 3: a text or its label is empty"]


def test_the_training_file_of_xnli_says_contradictory(tmp_path):
    (tmp_path / "train.tsv").write_text("premise\thypo\tlabel\na b\tc\tcontradictory\n")
    assert read_pairs(tmp_path / "train.tsv", COLUMNS) == [("a b", "c", "contradiction")]


def evaluations(tmp_path, scores, **more):
    """Files of evaluations, for scores by language, method and seed."""
    paths = []
    for (language, method, seed), score in scores.items():
        values = {"score": score, "language": language, "method": method, "seed": seed, "format": 1, "metric": "f1"}
        values |= {"details": {}, "source": "en", "num_updates": 1, "checkpoint": "", "sentences": 1, "versions": {}}
        paths.append(tmp_path / f"{language}.{method}.{seed}.json")
        write_record(paths[-1], TransferEvaluation(**values | {"labels_sha256": language} | more))
    return paths


SCORES = {
    ("en", "plain", 1): 80.0, ("en", "intra", 1): 82.0, ("en", "plain", 2): 82.0, ("en", "intra", 2): 82.0,
    ("de", "plain", 1): 50.0, ("de", "intra", 1): 60.0, ("de", "plain", 2): 50.0, ("de", "intra", 2): 56.0,
    ("ar", "plain", 1): 10.0, ("ar", "intra", 1): 10.0, ("ar", "plain", 2): 12.0, ("ar", "intra", 2): 14.0,
}  # fmt: skip


def test_runs_of_two_metrics_or_two_trained_languages_have_no_common_table(tmp_path):
    first = {("en", "plain", 1): 80.0, ("en", "intra", 1): 82.0}
    second = {("de", "plain", 1): 50.0, ("de", "intra", 1): 60.0}
    for other in ({"metric": "accuracy"}, {"source": "de"}):
        with pytest.raises(UsageError, match="not all of one metric and one language trained on"):
            transfer_table(evaluations(tmp_path, first) + evaluations(tmp_path, second, **other))


def test_a_late_run_that_is_still_plain_is_counted_below_the_table(tmp_path):
    plain = {("en", "plain", 1): 80.0, ("de", "plain", 1): 50.0}
    late = {("en", "late", 1): 80.0, ("de", "late", 1): 50.0}
    for before, note in ((True, ["1 of the late checkpoints is of before the switch: plain training."]), (False, [])):
        paths = evaluations(tmp_path, plain) + evaluations(tmp_path, late, before_switch=before)
        assert [line for line in transfer_table(paths).split("\n") if "switch" in line] == note


def test_the_table_has_means_over_seeds_and_languages(tmp_path):
    assert transfer_table(evaluations(tmp_path, SCORES)).split("\n")[2:7] == [
        "| en (trained on) | 81.00 ± 1.41 | 82.00 ± 0.00 | +1.00 ± 1.41 |",
        "| ar (zero-shot) | 11.00 ± 1.41 | 12.00 ± 2.83 | +1.00 ± 1.41 |",
        "| de (zero-shot) | 50.00 ± 0.00 | 58.00 ± 2.83 | +8.00 ± 2.83 |",
        "| average, zero-shot | 30.50 ± 0.71 | 35.00 ± 0.00 | +4.50 ± 0.71 |",
        "| average, all | 47.33 ± 0.94 | 50.67 ± 0.00 | +3.33 ± 0.94 |",
    ]


def test_the_table_of_answers_has_their_exact_match(tmp_path):
    paths = []
    for (language, method, seed), score in SCORES.items():
        more = {"metric": "answer_f1", "details": {"exact_match": score / 2 + seed}}
        paths += evaluations(tmp_path, {(language, method, seed): score}, **more)
    lines = transfer_table(paths).split("\n")
    assert lines[0].endswith("| difference | exact match, plain | exact match, intra-distillation |")
    assert lines[2].endswith("| +1.00 ± 1.41 | 42.00 ± 1.41 | 42.50 ± 0.71 |")
    assert (
        lines[5]
        == "| average, zero-shot | 30.50 ± 0.71 | 35.00 ± 0.00 | +4.50 ± 0.71 | 16.75 ± 1.06 | 19.00 ± 0.71 |"
    )
    assert lines[-1].startswith("F1 of answers and exact match by SQuAD's normalisation, in percent; means and")


def test_the_table_of_classes_has_the_share_of_the_most_frequent_one(tmp_path):
    shares, paths = {"en": 30.0, "de": 40.0, "ar": 60.0}, []
    for run, score in SCORES.items():
        paths += evaluations(tmp_path, {run: score}, metric="accuracy", details={"majority": shares[run[0]]})
    head, _, *rows = lines = transfer_table(paths).split("\n")[:7]
    assert head.endswith("| difference | most frequent label |") and len({line.count("|") for line in lines}) == 1
    assert rows[0] == "| en (trained on) | 81.00 ± 1.41 | 82.00 ± 0.00 | +1.00 ± 1.41 | 30.00 |"
    assert [row.split(" | ")[-1] for row in rows] == ["30.00 |", "60.00 |", "40.00 |", "50.00 |", "43.33 |"]


def test_the_recipe_of_question_answering_is_the_authors():
    """Their scripts/train_qa.sh: 8 windows in each of 4 accumulated mini-batches, 15 epochs."""
    summary = {"kind": "qa", "labels": [], "splits": {"train": {"examples": 3700, "questions": 3600, "left_out": 1}}}
    words = " ".join(recipe(summary, "intra", 1, None, 32))
    for flags in ("--lr 3e-5", "--weight-decay 1e-4", "--warmup-updates 500", "--max-update 1740", "--clip-norm 1"):
        assert flags in words
    assert "--task question_answering_intra_distillation" in words and "--num-iter 3 --alpha 1" in words
    # A short training is not all warm-up.
    assert "--warmup-updates 58 " in " ".join(recipe(summary, "plain", 1, 1, 32))


def test_an_unfinished_run_is_named_below_the_table(tmp_path):
    paths = []
    for method in ("plain", "intra"):
        folder = tmp_path / method / "checkpoints"
        folder.mkdir(parents=True)
        (folder.parent / "arguments.txt").touch()
        paths += evaluations(folder, {("en", method, 1): 50.0})
    assert transfer_table(paths).endswith("\nNot finished: plain, intra.")
    for method in ("plain", "intra"):
        (tmp_path / method / "finished").touch()
    assert "Not finished" not in transfer_table(paths)


@pytest.mark.parametrize("flag", ["--max-epoch", "--max-update", "--lr"])
def test_runs_of_other_settings_are_not_compared(tmp_path, flag):
    paths = []
    for method, epochs in (("plain", 10), ("intra", 3)):
        folder = tmp_path / method / "checkpoints"
        folder.mkdir(parents=True)
        (folder.parent / "arguments.txt").write_text(f"# data a\n{flag}\n{epochs}\n")
        paths += evaluations(folder, {("en", method, 1): 50.0})
    with pytest.raises(UsageError, match=f"plain and .*intra cannot be compared: {flag} is 10 and 3"):
        transfer_table(paths)


def test_runs_that_cannot_be_compared_are_rejected(tmp_path, capsys):
    paths = evaluations(tmp_path, SCORES)
    with pytest.raises(UsageError, match="ar has no intra run of seed 2 to compare with"):
        transfer_table(paths[:-1])
    with pytest.raises(UsageError, match="are both plain runs of en with seed 1"):
        transfer_table([*paths, paths[0]])
    (other,) = evaluations(tmp_path, {("de", "plain", 1): 1.0}, labels_sha256="other")
    with pytest.raises(UsageError, match="runs of de were scored on different texts"):
        transfer_table(paths)
    assert other in paths
    with pytest.raises(UsageError, match="is not data of fairseq-intra prepare-transfer"):
        cli.main(["evaluate-transfer", "--checkpoint", str(paths[0]), "--data", str(tmp_path)])
