"""`fairseq-intra grid multi30k`: the commands of its runs, and its table; `evaluate` on tokenised text."""

import json
import re
import shlex
import statistics

import corpus
import pytest
import sacrebleu
import small_dataset
from evaluated_runs import DECODING, HYPERPARAMETERS, SETTINGS, SIGNATURE, evaluated
from fairseq.data import Dictionary
from fairseq.scoring.bleu import BleuConfig, Scorer
from training_stub import MANIFEST

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs import generation, scoring, steps
from fairseq_intra.runs import multi30k_table as multi30k_module
from fairseq_intra.runs.evaluation import Evaluation, record_name
from fairseq_intra.runs.multi30k_grid import results_of
from fairseq_intra.runs.multi30k_table import multi30k_table
from fairseq_intra.runs.scoring import bleu_of, p_value, sentence_statistics
from fairseq_intra.runs.tables import results_table

TESTS = ("test", "test1", "test2")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Every table has dozens of p-values, and which they are counts, not how exact they are."""
    monkeypatch.setattr(scoring, "RESAMPLES", 100)


def listed(capsys, *flags):
    """The commands of every run as lists of words, from the package's command on."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("PYTHONPATH", raising=False)
        cli.main(["grid", "multi30k", "--out", "/runs", "--dry-run", *flags])
    lines = [shlex.split(line) for line in capsys.readouterr().out.split("\n")[:-1]]
    commands = []
    for line in lines:
        parts = " ".join(map(shlex.quote, line)).split(" '&&' ")
        commands.append([shlex.split(part) for part in parts])
    begin = len(steps.start_of("prepare")) - 1
    return [[words[begin:] for words in run] for run in commands]


def test_a_dry_run_shows_every_command_and_makes_nothing(capsys):
    prepare, plain, late = listed(capsys, "--methods", "plain late", "--input", "/text", "--plain-patience", "2")
    assert prepare == [["prepare", "multi30k", "--langs", "de", "--out", "/runs/data", "--input", "/text"]]
    for method, (train, evaluation) in (("plain", plain), ("late", late)):
        out = f"/runs/en-de.{method}.seed1"
        given = ["--data", "/runs/data/en-de", "--method", method, "--seed", "1", "--out", out]
        assert train == ["train", *given, "--preset", "multi30k", "--plain-patience", "2"]
        best = f"{out}/checkpoints/checkpoint_best.pt"
        asked = ["--data", "/runs/data/en-de", "--checkpoint", best, "--average", "10", "--split", "test test1 test2"]
        assert evaluation == ["evaluate", *asked, "--tune-lenpen"]


def test_another_preset_direction_and_language(capsys):
    prepare, run = listed(
        capsys,
        *["--methods", "plain", "--langs", "fr", "--reverse", "--merges", "500", "--preset=tiny", "--average", "3"],
    )
    assert (
        prepare[0][-3:] == ["--reverse", "--merges", "500"]
        and run[0][2] == "/runs/data/fr-en"
        and run[0][-1] == "--preset=tiny"
    )
    assert "multi30k" not in run[0] and run[1][run[1].index("--average") + 1] == "3"


@pytest.mark.parametrize("made", ["--dry-run", "--table"])
@pytest.mark.parametrize("content", ["{}", "[]", '{"source": "en"}'])
def test_a_damaged_manifest_is_one_line(tmp_path, made, content):
    (tmp_path / "data/en-de").mkdir(parents=True)
    path = tmp_path / "data/en-de/manifest.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"{path} is not a dataset's manifest: its '") as error:
        cli.main(["grid", "multi30k", "--out", str(tmp_path), made])
    assert "\n" not in str(error.value)


def test_the_test_sets_are_those_of_the_dataset(tmp_path, capsys):
    (tmp_path / "data/en-fr").mkdir(parents=True)
    file = {"sha256": "0", "bytes": 1}
    manifest = json.loads(MANIFEST) | {"files": {f"raw/{test}.de": file for test in ("valid", "test", "test2")}}
    (tmp_path / "data/en-fr/manifest.json").write_text(json.dumps(manifest))
    _, run = listed(capsys, "--out", str(tmp_path), "--methods", "plain", "--langs", "fr")
    assert run[1][run[1].index("--split") + 1] == "test test2"


def test_the_grid_s_table_shows_differences_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "en-de.plain.seed1"
    for split in TESTS:
        for tuned in (False, True):
            for path in results_of(folder / "checkpoints", "average10", split, tuned):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    (folder / "finished").touch()
    monkeypatch.setattr(multi30k_module, "multi30k_table", lambda paths, asked: f"{len(paths)} {asked}")
    given = ["grid", "multi30k", "--out", str(tmp_path), "--methods", "plain", "--table"]
    cli.main(given)
    cli.main([*given, "--show-differences"])
    assert capsys.readouterr().out == "12 False\n12 True\n"


@pytest.fixture
def results(tmp_path):
    """Records of plain and late, two seeds, three tests, default and tuned."""
    made = []
    for seed in (1, 2):
        for method, share in (("plain", 2), ("late", 4)):
            for number, split in enumerate(TESTS):
                for tuned in (False, True):
                    folder = tmp_path / f"{method}{seed}"
                    name = record_name("average10", split, tuned)
                    choice = {"split": "valid", "grid": [1.0, 1.1], "bleu": [1.0, 2.0], "chosen": 1.1}
                    more = {"split": split, "seed": seed, "dataset": "en-de", "source": "en", "target": "de"}
                    if tuned:
                        more |= {"tuning": choice, "decoding": DECODING | {"lenpen": 1.1}}
                    of_tokens = more | {"share": share + number + seed, "tokenize": "13a"}
                    evaluated(folder, method, name=name, **of_tokens)
                    evaluated(folder / "detokenised", method, name=name, **of_tokens)
                    made += results_of(folder, "average10", split, tuned)
    return made


def scores(results, method, split):
    runs = [Evaluation.read(path) for path in results if path.parent.name != "detokenised"]
    return [run.bleu["score"] for run in runs if (run.method, run.split, run.tuning) == (method, split, None)]


def test_ours_stand_beside_published_figures(results):
    lines = multi30k_table(results).split("\n")
    assert "| text only (arXiv 2105.14462) | 41.02 | | |" in lines
    for method, title in (("plain", "plain"), ("late", "late intra-distillation")):
        means = " | ".join(f"{statistics.mean(scores(results, method, split)):.2f}" for split in TESTS)
        assert (
            f"| ours, {title} | {means} |" in lines and f"| ours, {title}, length penalty tuned | {means} |" in lines
        )
    tokens = [path for path in results if path.parent.name != "detokenised"]
    assert results_table(tokens) in "\n".join(lines)
    # Of another pair nothing is published here.
    for path in results:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"source": "de", "target": "en"}))
    assert "arXiv" not in multi30k_table(results)


def test_a_test_set_that_lacks_a_seed_is_named(results):
    without = [path for path in results if (path.parent.name, path.name) != ("late2", "average10.test1.json")]
    with pytest.raises(UsageError, match=r"en-de .test1. has no late run of seed 2 to compare with"):
        multi30k_table(without)


def test_other_settings_are_compared_only_where_asked_for(results):
    for path in results:
        if "late2" in path.parts:
            record = json.loads(path.read_text())
            path.write_text(json.dumps(record | {"training": record["training"] | {"max_update": 5200}}))
    with pytest.raises(UsageError, match="runs differ in max update: 100 of .*, 5200 of "):
        multi30k_table(results)
    tokens, detokenised = multi30k_table(results, show_differences=True).split("## Detokenised")
    shown = "| max update 100 / 100, 5200 |"
    assert shown in tokens and shown in detokenised
    late = [path for path in results if Evaluation.read(path).method == "late"]
    with pytest.raises(UsageError, match="runs differ in max update"):
        multi30k_table(late)
    assert "late" in multi30k_table(late, show_differences=True)


def test_an_unfinished_run_of_one_method_is_named(results):
    plain = [path for path in results if Evaluation.read(path).method == "plain"]
    assert "Not finished" not in multi30k_table(plain)
    for path in plain:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"unfinished": True, "run": "mine"}))
    assert multi30k_table(plain).endswith("\nNot finished: mine.")


def test_one_method_stands_beside_published_figures(results):
    plain = [path for path in results if Evaluation.read(path).method == "plain"]
    both, alone = multi30k_table(results).split("\n"), multi30k_table(plain).split("\n")
    assert [line for line in both[: both.index("## Test sets together")] if "late" not in line][:-1] == alone


def test_p_values_are_of_all_tests_together_for_each_seed(results):
    lines = multi30k_table(results).split("\n")
    gains = [b - a for t in TESTS for a, b in zip(*(scores(results, m, t) for m in ("plain", "late")), strict=True)]
    by_seed = []
    for seed in (1, 2):
        sides = []
        for method in ("plain", "late"):
            (folder,) = {path.parent for path in results if path.parent.name == f"{method}{seed}"}
            paths = [folder / f"average10.{split}.json" for split in TESTS]
            sides.append(sum((Evaluation.read(path).sentence_statistics(path) for path in paths), []))
        by_seed.append(p_value(*sides))
    line = f"| late intra-distillation | {statistics.mean(gains):+.2f} | {max(by_seed):.3f} | "
    assert line + ", ".join(f"{value:.3f}" for value in by_seed) + " |" in lines
    assert "en-de, length penalty tuned: test2016, test2017, MSCOCO" in lines


def test_a_seed_that_speaks_against_the_difference_counts_as_1(results):
    for path in results:
        if path.parent.name in ("plain1", "late1"):
            # What was plain's is the late start's, and the other way round.
            record = json.loads(path.read_text())
            other = {"plain": "late", "late": "plain"}[record["method"]]
            settings = HYPERPARAMETERS | (SETTINGS if other == "late" else {})
            path.write_text(json.dumps(record | {"method": other, "hyperparameters": settings}))
    row = next(line for line in multi30k_table(results).split("\n") if re.match(r"\| late .* \| [-+]", line))
    *_, difference, median, by_seed = row.strip("| ").split(" | ")
    # The two gains are not equally large: one seed speaks for the mean, and one against it.
    assert median == "1.000" and sorted(by_seed.split(", "))[1] == "1.000" and sorted(by_seed.split(", "))[0] < "0.05"


def test_tokenised_text_is_scored_by_its_tokens_and_detokenised(tmp_path, monkeypatch):
    reference = ["a man , who runs .", "two dogs don &apos;t run ."]
    hypotheses = ["a man , who runs .", "two dogs do n&apos;t walk ."]
    data = small_dataset.write_dataset(tmp_path / "data", ["ein mann", "zwei hunde"], reference)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["settings"] = {"lowercase": True, "tokenized": True, "subwords": "subword-nmt"}
    (data / "manifest.json").write_text(json.dumps(manifest))
    stub = small_dataset.StubGenerate(tmp_path / "stub")
    monkeypatch.setattr(generation, "fairseq_command", lambda _name: stub.command)
    stub.translates(hypotheses)
    checkpoint = small_dataset.write_checkpoint(tmp_path / "checkpoint_best.pt")
    cli.main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(data)])
    assert stub.call[stub.call.index("--post-process") + 1] == "subword_nmt"
    tokens, words = (Evaluation.read(path) for path in results_of(tmp_path, "checkpoint_best", "test", False))
    assert tokens.bleu["signature"] == SIGNATURE.replace("13a", "none")
    assert tokens.bleu["score"] == sacrebleu.corpus_bleu(hypotheses, [reference], tokenize="none", force=True).score
    detokenised = (tmp_path / "detokenised/checkpoint_best.test.ref").read_text().split("\n")
    assert detokenised[:2] == ["a man, who runs.", "two dogs don't run."]
    assert words.bleu["signature"] == SIGNATURE and words.tokenize == "13a"


def test_bleu_of_tokens_is_fairseq_s_own():
    reference = [target.lower() for _, target in corpus.sentences(30, 3)]
    hypotheses = [" ".join([*line.split()[:-1], "x"]) if n % 2 else line for n, line in enumerate(reference)]
    words = Dictionary()
    scorer = Scorer(BleuConfig(pad=words.pad(), eos=words.eos(), unk=words.unk()))
    for hypothesis, line in zip(hypotheses, reference, strict=True):
        scorer.add(words.encode_line(line), words.encode_line(hypothesis))
    rows = sentence_statistics(hypotheses, reference, "none")
    assert scorer.score() == pytest.approx(bleu_of(rows)) and 80 < scorer.score() < 95


def test_validation_by_bleu_joins_the_dataset_s_subwords(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fairseq_intra.runs.workers.gpu_count", lambda: 0)
    monkeypatch.setattr("fairseq_intra.runs.lengths.check_lengths", lambda *_: None)
    flags = ["train", "--data", str(data), "--method", "plain", "--out", str(tmp_path / "out"), "--dry-run"]
    for settings, expected in (
        ({}, "--eval-bleu-remove-bpe sentencepiece"),
        (
            {"tokenized": True, "subwords": "subword-nmt"},
            "--eval-bleu-remove-bpe subword_nmt \\\n  --eval-tokenized-bleu",
        ),
    ):
        (data / "manifest.json").write_text(json.dumps(json.loads(MANIFEST) | {"settings": settings}))
        cli.main([*flags, "--valid-bleu"])
        assert f"{expected} \\\n  --best-checkpoint-metric" in capsys.readouterr().out
