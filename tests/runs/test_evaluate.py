"""`fairseq-intra evaluate` in the process, on a model that was never trained; fairseq-generate is a stub."""

import errno
import json
import os
import re
import shutil
import signal
import tempfile

import commands
import corpus
import pytest
import sacrebleu
import small_dataset
import tiny
import torch

from fairseq_intra import checkpoint as checkpoints
from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.runs import arguments, evaluated_model, evaluation, generation
from fairseq_intra.runs.dataset import read_dataset
from fairseq_intra.runs.evaluation import Evaluation
from fairseq_intra.runs.scoring import bleu, tokenizer_of

PAIRS = corpus.sentences(8, 3)
SOURCE, TARGET = ([pair[side] for pair in PAIRS] for side in (0, 1))
CHINESE = ["今天天气很好。", "我们去公园散步吧。"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Not to be changed."""
    return small_dataset.write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint_best.pt")


@pytest.fixture
def data(tmp_path):
    return small_dataset.write_dataset(tmp_path / "data", SOURCE, TARGET)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    made = small_dataset.StubGenerate(tmp_path / "stub")
    monkeypatch.setattr(generation, "fairseq_command", lambda _name: made.command)
    made.translates([TARGET[0], *("wrong " + line for line in TARGET[1:])])
    return made


@pytest.fixture
def evaluate(checkpoint, data, tmp_path, stub):
    """The command, its results in a folder of their own; returns the record."""

    def run(*flags, model=checkpoint, dataset=data, split="test", name=None):
        given = ["--checkpoint", model, "--data", dataset, "--output", tmp_path / "out", *flags]
        cli.main(["evaluate", *map(str, given)])
        return Evaluation.read(tmp_path / "out" / f"{name or checkpoint.stem}.{split}.json")

    return run


def test_scores_come_with_all_that_decided_them(evaluate, stub, tmp_path, capsys):
    record = evaluate("--unkpen", "1", "--unkpen", "2", "--beam", 3)
    hypotheses = corpus.lines(tmp_path / "out/checkpoint_best.test.hyp")
    assert hypotheses[0] == TARGET[0] and hypotheses[1] == "wrong " + TARGET[1]
    assert record.bleu["score"] == pytest.approx(sacrebleu.corpus_bleu(hypotheses, [TARGET]).score)
    assert record.bleu["signature"] == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    # As they took effect: of a flag given twice, the last one.
    assert record.decoding == {
        "beam": 3,
        "lenpen": 1.0,
        "max_tokens": 8000,
        "max_len_a": 0.0,
        "max_len_b": 200,
        "flags": {"unkpen": 2.0},
    }
    assert (record.kind, record.dictionary, record.lowercase, record.method) == ("best", "checked", False, "intra")
    assert record.training["max_update"] == 0 and record.training["patience"] == -1
    said = capsys.readouterr().out.split("\n")
    assert said[0].startswith(f"BLEU {record.bleu['score']:.2f}  nrefs:1|") and said[1].startswith("chrF ")
    assert not list((tmp_path / "out").glob(".*"))


@pytest.fixture
def with_splits(data):
    """The dataset has its test text by these names, too."""

    def copy(*names):
        for name in names:
            for path in [*data.glob("raw/test.*"), *data.glob("bin/test.*")]:
                shutil.copyfile(path, path.with_name(path.name.replace("test.", f"{name}.", 1)))
        small_dataset.write_manifest(data)

    return copy


def test_a_tuned_length_penalty_is_chosen_on_valid_and_recorded(evaluate, stub, with_splits, capsys):
    with_splits("valid")
    record = evaluate("--tune-lenpen", "--beam", 3, split="test.tuned")
    assert record.tuning["split"] == "valid" and record.tuning["chosen"] == record.decoding["lenpen"] == 1.0
    assert len(set(record.tuning["bleu"])) == 1 and len(record.tuning["grid"]) == 11
    assert "length penalty 1: BLEU on valid" in capsys.readouterr().err
    valid, test = ([line for line in call if "=" not in line] for call in stub.calls)
    for call, split in ((valid, "valid"), (test, "test")):
        assert call[-2:] == ["--nbest", "3"] and call[call.index("--gen-subset") + 1] == split
        assert call[call.index("--lenpen") + 1] == "1.0"


def test_one_search_of_each_split_serves_both_length_penalties(evaluate, stub, with_splits, tmp_path, capsys):
    """With a higher one the longer hypothesis of two that are as good by the default is the best."""
    with_splits("valid", "test1")
    stub.translates([f"{' '.join(line.split()[:-2])}\t{line}" for line in TARGET])
    for split in ("test", "test1"):
        tuned = evaluate("--tune-lenpen", "--split", "test test1", split=f"{split}.tuned")
        default = Evaluation.read(tmp_path / f"out/checkpoint_best.{split}.json")
        assert (tuned.split, default.split) == (split, split)
        assert tuned.tuning["chosen"] == tuned.decoding["lenpen"] == 1.1 and tuned.bleu["score"] > 99
        assert default.tuning is None and default.decoding == tuned.decoding | {"lenpen": 1.0}
        assert default.bleu["score"] < 99 and default.decoding["flags"] == {}
    assert [call[call.index("--gen-subset") + 1] for call in stub.calls] == 2 * ["valid", "test", "test1"]
    written = [line for line in capsys.readouterr().out.split("\n") if line.startswith("written: ")]
    names = [f"{tmp_path}/out/checkpoint_best.{split}{end}" for split in ("test", "test1") for end in ("", ".tuned")]
    assert written == 2 * [f"written: {name}.json, {name}.hyp" for name in names]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--lenpen", 1), "--lenpen and --tune-lenpen exclude each other"),
        (("--split", "test valid"), "--tune-lenpen chooses on valid; score another split"),
        (("--engine", "ctranslate2"), "--tune-lenpen works with --engine fairseq, not ctranslate2"),
        (("--unnormalized",), "--tune-lenpen has no effect with --unnormalized"),
        (("--beam", 1), "--tune-lenpen has no effect with --beam 1"),
        ((), "manifest.json has no raw/valid.de: no such split"),
    ],
)
def test_a_penalty_that_cannot_be_tuned_is_one_line(evaluate, flags, named):
    with pytest.raises(UsageError, match=named):
        evaluate("--tune-lenpen", *flags)


def test_a_launcher_s_environment_and_the_current_folder_stay_outside(evaluate, stub, monkeypatch):
    slurm = {"SLURM_STEP_NODELIST": "node[7-8]", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_ID": "7"}
    for name, value in (commands.TORCHRUN | slurm).items():
        monkeypatch.setenv(name, value)
    evaluate()
    environment = dict(word.split("=", 1) for word in stub.call if re.match(r"\w+=", word))
    assert not {*commands.TORCHRUN, *slurm} & set(environment) and environment["PYTHONSAFEPATH"] == "1"
    if not torch.cuda.is_available():
        assert environment["GOMP_SPINCOUNT"] == "10000"


#: Of flags of fairseq-generate that take no number.
VALUES = dict.fromkeys(("score-reference", "skip-invalid-size-inputs-valid-test", "quiet", "remove-bpe"), [])
VALUES |= {"constraints": ["ordered"], "bpe": ["bytes"], "tokenizer": ["moses"]}


@pytest.mark.parametrize(
    "flag", [*(name.replace("_", "-") for name in generation.OWNED if name != "no_progress_bar"), "remove-bpe"]
)
def test_a_flag_that_would_falsify_the_record_is_rejected(evaluate, flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").mkdir()  # for --user-dir
    meant = flag if flag != "remove-bpe" else "post-process (--remove-bpe)"
    with pytest.raises(UsageError, match=rf"--{re.escape(meant)}.* cannot be passed to evaluate: ") as error:
        evaluate(f"--{flag}", *VALUES.get(flag, ["2"]))
    assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())


def test_a_flag_that_fairseq_does_not_know_is_named(evaluate):
    with pytest.raises(UsageError, match="fairseq-generate: unrecognized arguments: --unkpne 2"):
        evaluate("--unkpne", "2")


@pytest.mark.parametrize("name", ["raw/test.en", "raw/test.de", "bin/test.de-en.de.bin", "bin/dict.en.txt"])
def test_a_dataset_that_was_changed_is_not_scored(evaluate, data, name):
    """The reference replaced by a hypothesis would give BLEU 100."""
    path = data / name
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(UsageError, match=f"{name} was changed since the dataset was made"):
        evaluate()


def test_another_dictionary_of_the_same_size_is_rejected(evaluate, tmp_path):
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE, TARGET)
    path = other / "bin/dict.en.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(True))))
    small_dataset.write_manifest(other)
    with pytest.raises(UsageError, match="was trained with another target dictionary than that of the data"):
        evaluate(dataset=other)


def test_a_checkpoint_without_a_checksum_is_said_not_to_be_checked(evaluate, checkpoint, tmp_path, capsys):
    state = torch.load(checkpoint, weights_only=False)
    del state["extra_state"]["dictionary_checksums"]
    torch.save(state, tmp_path / "old.pt")
    assert evaluate(model=tmp_path / "old.pt", name="old").dictionary == "unchecked"
    assert "holds no checksum of its dictionaries" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("language", "tokenizer"), [("zh", "zh"), ("zh-CN", "zh"), ("zho_Hans", "zh"), ("de", "13a")]
)
def test_the_tokenizer_is_sacrebleu_s_for_the_target_language(language, tokenizer):
    assert tokenizer_of(language) == tokenizer


@pytest.mark.parametrize(("language", "extra"), [("ja", "ja"), ("ko_KR", "ko"), ("jpn", "ja")])
def test_a_tokenizer_that_is_not_installed_is_named_with_its_extra(evaluate, tmp_path, language, extra):
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE, TARGET, language=language)
    with pytest.raises(UsageError, match=rf"pip install 'sacrebleu\[{extra}\]'; .* another by --tokenize"):
        evaluate(dataset=other)
    assert evaluate("--tokenize", "char", dataset=other).bleu["signature"].split("|")[3] == "tok:char"


def test_chinese_is_scored_with_sacrebleu_s_chinese_tokenizer(evaluate, stub, tmp_path):
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE[:2], CHINESE, language="zh-CN")
    stub.translates([CHINESE[0], CHINESE[1].replace("公园", "海边")])
    record = evaluate(dataset=other)
    expected = sacrebleu.corpus_bleu(
        corpus.lines(tmp_path / "out/checkpoint_best.test.hyp"), [CHINESE], tokenize="zh"
    )
    assert record.bleu["score"] == pytest.approx(expected.score) and 30 < record.bleu["score"] < 100
    assert "|tok:zh|" in record.bleu["signature"]


@pytest.mark.parametrize("tokenize,warned", [("none", False), ("13a", True)])
def test_only_text_that_is_to_be_tokenised_is_suspected_of_being_so_already(tokenize, warned, caplog):
    bleu(tokenize).corpus_score(["a house ."] * 100, [["a house ."] * 100])
    assert ("forgot to detokenize" in caplog.text) is warned


def test_hypotheses_at_the_limit_of_their_length_are_counted(evaluate, stub, capsys):
    stub.translates(["a b c d e f g h i j", "a b c", *TARGET[2:]])
    assert evaluate("--max-len-b", 10).at_length_limit == 1
    assert "1 of 8 hypotheses are as long as their limit (--max-len-a 0 --max-len-b 10)" in capsys.readouterr().err
    assert evaluate().at_length_limit == 0
    # The limit is then that of the longest source of a mini-batch.
    assert evaluate("--max-len-a", 1).at_length_limit is None


def test_the_model_limits_the_length_of_hypotheses_too(evaluate, stub, tmp_path):
    """fairseq decodes no more than --max-target-positions less one, with the end of the sentence."""
    model = small_dataset.write_checkpoint(tmp_path / "model" / "checkpoint_best.pt", "--max-target-positions", 11)
    stub.translates(["a b c d e f g h i j", "a b c d e f g h i", *TARGET[2:]])
    assert evaluate(model=model).at_length_limit == 1


def test_a_reference_too_long_for_fairseq_is_left_out_of_decoding_whatever_the_model_takes(evaluate, stub, tmp_path):
    """fairseq-generate's own limit is 1,024, and it leaves out pairs that are longer."""
    flags = ("--max-source-positions", 2000, "--max-target-positions", 2000)
    model = small_dataset.write_checkpoint(tmp_path / "model" / "checkpoint_best.pt", *flags)
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE, ["y " * 1500, *TARGET[1:]])
    evaluate(model=model, dataset=other)
    assert stub.call[0] != str(other / "bin")


def test_longer_sources_are_cut_where_that_is_asked_for(evaluate, stub, tmp_path, capsys):
    """The model takes 1,024 subwords; the reference is too long as well."""
    source, target = ["x " * 1100, *SOURCE[1:]], ["y " * 1500, *TARGET[1:]]
    other = small_dataset.write_dataset(tmp_path / "other", source, target)
    with pytest.raises(
        UsageError, match=r"test.de: 1 sources are longer than the 1024 .* line 1; give --truncate-sou"
    ):
        evaluate(dataset=other)
    assert evaluate("--truncate-source", dataset=other).truncated == 1
    assert "--truncate-source" in stub.call and "1 of 8 sources were truncated" in capsys.readouterr().err
    # fairseq-generate leaves out a pair whose reference is too long, so it is given the source alone.
    assert stub.call[0] != str(other / "bin")


def test_confidence_intervals_stand_beside_the_same_score_and_signature(evaluate, capsys):
    plain, interval = evaluate(), evaluate("--confidence")
    assert interval.bleu["score"] == plain.bleu["score"] and interval.bleu["signature"] == plain.bleu["signature"]
    found = interval.bleu["confidence"]
    assert found["resamples"] == 1000 and found["half_width"] > 0 and "confidence" not in plain.bleu
    assert f"± {found['half_width']:.2f} (95 %)" in capsys.readouterr().out


def test_translations_are_kept_when_scoring_fails(evaluate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation.Evaluation, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(UsageError, match="no space left on the disk"):
        evaluate()
    kept = tmp_path / "out/checkpoint_best.test.unscored.hyp"
    assert corpus.lines(kept)[0] == TARGET[0] and f"the translations are kept in {kept}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (None, f"no space left for temporary files in {re.escape(tempfile.gettempdir())}; .* by TMPDIR=DIR"),
        ("/other/file", "no space left on the disk of /other/file; free some"),
    ],
)
def test_a_full_temporary_folder_is_not_taken_for_that_of_the_results(evaluate, monkeypatch, name, named):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", name)

    monkeypatch.setattr("fairseq_intra.runs.evaluate.generate", full)
    with pytest.raises(UsageError, match=named):
        evaluate()


def test_a_checkpoint_that_its_training_replaces_meanwhile_is_not_scored(
    evaluate, checkpoint, stub, with_splits, tmp_path, monkeypatch
):
    with_splits("valid")
    mine = shutil.copy(checkpoint, tmp_path)
    generate = generation.generate

    def replacing(*given):
        generate(*given)
        other = shutil.copy(checkpoint, tmp_path / "other.pt")
        os.replace(other, mine)

    monkeypatch.setattr("fairseq_intra.runs.evaluate.generate", replacing)
    assert evaluate(model=mine).seed == 1
    # Written again is not replaced by another model: the mean of checkpoints, evaluated on another split.
    state = checkpoints.load(checkpoint)
    next(iter(state["model"].values())).add_(1)
    checkpoint = tmp_path / "changed.pt"
    checkpoints.save(state, checkpoint)
    with pytest.raises(UsageError, match="checkpoint_best.pt was replaced while it was evaluated"):
        evaluate("--split", "valid", model=mine)
    assert not list((tmp_path / "out").glob("*.valid.json"))


def test_another_model_s_evaluation_is_not_replaced(evaluate, tmp_path):
    evaluate()
    for flags, earlier in ((("--seed", "2"), "intra, seed 1"), (("--num-iter", "1"), "intra, seed 1")):
        other = small_dataset.write_checkpoint(tmp_path / "other" / "checkpoint_best.pt", *flags)
        with pytest.raises(UsageError, match=rf"test.json is an evaluation of another model \({earlier}\).*--output"):
            evaluate(model=other)


def test_what_another_model_s_evaluation_has_written_meanwhile_is_not_replaced(
    evaluate, tmp_path, monkeypatch, capsys
):
    written, aside = tmp_path / "out/checkpoint_best.test.json", tmp_path / "aside.json"
    evaluate()
    written.rename(aside)
    before = aside.read_bytes()
    generate = generation.generate

    def meanwhile(*given):
        generate(*given)
        aside.rename(written)

    monkeypatch.setattr("fairseq_intra.runs.evaluate.generate", meanwhile)
    other = small_dataset.write_checkpoint(tmp_path / "other" / "checkpoint_best.pt", "--seed", "2")
    with pytest.raises(UsageError, match=r"test.json is an evaluation of another model \(intra, seed 1\).*--output"):
        evaluate(model=other)
    assert written.read_bytes() == before
    kept = tmp_path / "out/checkpoint_best.test.unscored.hyp"
    assert corpus.lines(kept)[0] == TARGET[0] and f"the translations are kept in {kept}" in capsys.readouterr().err


def test_an_evaluation_of_another_run_of_the_same_method_and_seed_is_not_replaced(evaluate, tmp_path):
    first, second = (
        small_dataset.write_checkpoint(tmp_path / name / "checkpoint_best.pt", "--save-dir", f"{name}/checkpoints")
        for name in ("dropout1", "dropout3")
    )
    assert evaluate(model=first).run == "dropout1"
    with pytest.raises(UsageError, match=r"test.json is an evaluation of another model \(run dropout1\).*--output"):
        evaluate(model=second)
    evaluate(model=first)


def test_an_evaluation_of_other_parameters_after_as_many_updates_is_not_replaced(evaluate, checkpoint, tmp_path):
    """As of a run of the same name that another folder holds."""
    assert evaluate().fingerprint
    state = checkpoints.load(checkpoint)
    state["model"]["decoder.embed_tokens.weight"] += 1
    torch.save(state, tmp_path / checkpoint.name)
    with pytest.raises(UsageError, match=r"test.json is an evaluation of other parameters, after 0 updates, too"):
        evaluate(model=tmp_path / checkpoint.name)
    state["optimizer_history"][-1]["num_updates"] = 9
    torch.save(state, tmp_path / checkpoint.name)
    assert evaluate(model=tmp_path / checkpoint.name).num_updates == 9


def test_the_score_of_an_unfinished_training_is_called_so(evaluate, checkpoint, tmp_path, capsys):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    mine = shutil.copy(checkpoint, run / "checkpoints")
    # In no run's folder it is not known.
    assert evaluate(model=mine).unfinished is None
    assert "not finished" not in capsys.readouterr().err
    (run / "arguments.txt").touch()
    assert evaluate(model=mine).unfinished is True
    assert f"{run} is not finished" in capsys.readouterr().err
    # The average of its checkpoints lies elsewhere.
    shutil.copy(checkpoint, run / "checkpoints" / "checkpoint1.pt")
    assert evaluate("--average", 1, model=mine, name="average1").unfinished is True
    assert f"{run} is not finished" in capsys.readouterr().err
    (run / "finished").touch()
    assert evaluate(model=mine).unfinished is False
    assert "not finished" not in capsys.readouterr().err


def test_the_record_tells_the_data_that_the_model_was_trained_on(evaluate, checkpoint, data, tmp_path):
    """Not that which it is evaluated on, where these are two."""
    run = tmp_path / "run"
    mine = run / "checkpoints" / checkpoint.name
    mine.parent.mkdir(parents=True)
    shutil.copy(checkpoint, mine)
    # In no run's folder it is not known.
    assert evaluate(model=mine).trained_on is None
    (run / "arguments.txt").write_text(f"{arguments.data_line(data)}\n")
    assert evaluate(model=mine).trained_on == read_dataset(data).corpus
    (run / "arguments.txt").write_text("# data of another\n")
    assert evaluate(model=mine).trained_on is None
    # Another dataset, which still lies where the training had it.
    other = small_dataset.write_dataset(tmp_path / "other", TARGET, SOURCE)
    (run / "arguments.txt").write_text(f"{arguments.data_line(other)}\n")
    state = checkpoints.load(mine)
    state["cfg"].task.data = str(other / "bin")
    torch.save(state, mine)
    found = evaluate(model=mine)
    assert found.trained_on == read_dataset(other).corpus != found.corpus


def test_an_evaluation_of_a_training_with_another_setting_is_not_replaced(evaluate, checkpoint, tmp_path):
    """As of the same name in the folder of another experiment."""
    evaluate()
    state = checkpoints.load(checkpoint)
    state["cfg"].criterion.label_smoothing = 0.2
    state["optimizer_history"][-1]["num_updates"] = 9
    torch.save(state, tmp_path / checkpoint.name)
    with pytest.raises(UsageError, match=r"test.json is an evaluation of another model \(label smoothing 0.1\)"):
        evaluate(model=tmp_path / checkpoint.name)


def test_a_folder_that_cannot_be_written_to_is_named_before_the_work(checkpoint, data, stub, monkeypatch):
    def read_only(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    named = rf"{checkpoint.parent} cannot be written to \(Read-only file system\); give another by --output"
    with pytest.raises(UsageError, match=named):
        cli.main(["evaluate", "--checkpoint", str(checkpoint), "--data", str(data)])
    assert not (stub.folder / "calls").exists()


def test_what_stopped_fairseq_generate_is_reported_and_nothing_is_left(evaluate, stub, tmp_path):
    stub.fails("out of luck")
    with pytest.raises(UsageError, match="fairseq-generate failed: out of luck"):
        evaluate()
    stub.command[1:] = ["-c", f"import os; os.kill(os.getpid(), {signal.SIGKILL})"]
    with pytest.raises(UsageError, match=r"fairseq-generate was ended by the signal SIGKILL .out of memory"):
        evaluate()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("number,status", [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_a_stop_signal_ends_fairseq_generate_too(evaluate, stub, capsys, number, status):
    stub.command[1:] = ["-c", f"import os, time; os.kill({os.getpid()}, {int(number)}); time.sleep(600)"]
    with pytest.raises(SystemExit, match=str(status)):
        evaluate()
    assert capsys.readouterr().err.endswith(f"stopped by {number.name}; the same command starts over\n")


def test_progress_is_shown_on_a_terminal(tmp_path, stub):
    """fairseq-generate's output is counted as it comes."""
    shown = []

    class Terminal:
        def write(self, text):
            shown.append(text)

        def flush(self):
            pass

        def isatty(self):
            return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", Terminal())
        generation.generate([], tmp_path / "generated", 8, cpu=True)
    assert "8/8" in "".join(shown) and "sentence/s" in "".join(shown)


def test_colons_in_paths_and_ensembles(evaluate, checkpoint, stub, tmp_path):
    folder = tmp_path / "run:1"
    folder.mkdir()
    for name in ("a.pt", "b.pt"):
        shutil.copy(checkpoint, folder / name)
    one = evaluate(model=folder / "a.pt", name="a")
    assert (one.checkpoint, one.kind) == ("a.pt", "other")
    both = evaluate(model=f"{folder}/a.pt:{folder}/b.pt", name="a+b")
    assert (both.checkpoint, both.kind, both.method) == ("a.pt:b.pt", "ensemble of 2", "intra")
    assert stub.call[stub.call.index("--path") + 1] == f"{folder}/a.pt:{folder}/b.pt"


def test_an_ensemble_of_many_has_a_name_that_files_can_have(evaluate, checkpoint, tmp_path):
    evaluate(model=":".join([str(checkpoint)] * 16), name=evaluation.model_name([checkpoint] * 16))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert len(names) == 3 and all(
        re.match("checkpoint_best[+]15-more-[0-9a-f]{8}[.]test[.]", name) for name in names
    )


def test_an_average_goes_to_the_folder_of_the_results(evaluate, checkpoint, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("checkpoint1.pt", "checkpoint2.pt", "checkpoint_best.pt"):
        shutil.copy(checkpoint, run / name)
    record = evaluate("--average", 2, model=run / "checkpoint_best.pt", name="average2")
    assert (record.checkpoint, record.kind) == ("average2.pt", "average of 2 epochs")
    assert len(list(run.iterdir())) == 3 and (tmp_path / "out/average2.pt").is_file()
    assert evaluate("--average", 2, model=run / "checkpoint_best.pt", name="average2") == record


def test_an_average_of_another_model_is_not_replaced(evaluate, checkpoint, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(checkpoint, run / "checkpoint1.pt")
    plain = small_dataset.write_checkpoint(tmp_path / "out/average1.pt", "--num-iter", "1")
    before = plain.read_bytes()
    with pytest.raises(
        UsageError, match=r"average1.pt is an average of another model \(plain, seed 1, run .*--output"
    ):
        evaluate("--average", 1, model=run / "checkpoint1.pt", name="average1")
    assert plain.read_bytes() == before


@pytest.mark.parametrize(
    "manifest",
    ["[]", "null", "{}", '{"source": 1, "target": "en", "settings": {}, "files": {}}']
    + ['{"source": "../de", "target": "en", "settings": {}, "files": {}}']
    + ['{"source": "de", "target": "en", "settings": {}, "files": {"raw/test.en": 1}}'],
)
def test_a_manifest_of_the_wrong_shape_is_one_line(evaluate, data, manifest):
    (data / "manifest.json").write_text(manifest)
    with pytest.raises(UsageError, match="manifest.json is not a dataset's manifest: its '") as error:
        evaluate()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--checkpoint /nowhere.pt", "--checkpoint /nowhere.pt: no such file"),
        ("--data /nowhere", "--data /nowhere is not a prepared dataset: no manifest.json"),
        ("--data ${x}", "--data ${x}: fairseq takes ${ for a variable; give the folder another name"),
        ("--split train", "--split must be some of valid, test, test1, test2, each once, not 'train'"),
        ("--split=", "--split must be some of valid, test, test1, test2, each once, not ''"),
        ("--beam 0", "--beam must be at least 1, not 0"),
        ("--beam=x", "argument --beam: invalid int value: 'x'"),
        ("--lenpen -1", "--lenpen must be a number from 0 to 100, not '-1'"),
        ("--average 0", "--average must be at least 1, not 0"),
        ("--split valid --wmt-set wmt17", "--split and --wmt-set exclude each other"),
        ("--metrics chrf", "--metrics must be bleu, and with it any of chrf and ter, not 'chrf'"),
        ("--metrics bleu,ter", "--metrics must be bleu, and with it any of chrf and ter, not 'bleu,ter'"),
        ("--split", "argument --split: expected one argument"),
        ("--split valid", "has no raw/valid.de: no such split"),
    ],
)
def test_a_flag_that_is_wrong_is_named(evaluate, flags, named):
    with pytest.raises(UsageError, match=re.escape(named)):
        evaluate(*flags.split())


@pytest.mark.parametrize("missing", ["--checkpoint", "--data"])
def test_what_is_required_is_asked_for(missing):
    given = {"--checkpoint": "a.pt", "--data": "data"}
    del given[missing]
    with pytest.raises(UsageError, match=f"required: {missing} .see fairseq-intra evaluate --help"):
        cli.main(["evaluate", *[word for pair in given.items() for word in pair]])


@pytest.mark.parametrize(
    ("name", "language", "named"),
    [
        ("wmt14/empty", "en", "sacreBLEU has no test set 'wmt14/empty'"),
        ("wmt20", "sw", "test set wmt20 is not there for de-sw, only for cs-en, "),
        ("wmt14/full", "en", "sacreBLEU cannot get wmt14/full for de-en into .*: no network here"),
        ("lowercased", "en", "was lowercased, and WMT's sets are scored as they are written"),
    ],
)
def test_a_wmt_set_that_cannot_be_had_is_named(evaluate, tmp_path, name, language, named, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for place in ("_outdir", "_rawdir"):
        monkeypatch.setattr(sacrebleu.DATASETS["wmt14/full"], place, str(tmp_path / place))
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE, TARGET, name == "lowercased", language)
    (other / "spm").mkdir()
    (other / "spm/joint.model").write_text("model")
    small_dataset.write_manifest(other, language, name == "lowercased")
    with pytest.raises(UsageError, match=named):
        evaluate("--wmt-set", name, dataset=other)


def refuse(*_):
    raise OSError("no network here")


def test_records_say_how_they_were_made_as_json(evaluate, tmp_path):
    evaluate()
    written = json.loads((tmp_path / "out/checkpoint_best.test.json").read_text())
    assert written["format"] == 3 and len(written["statistics"]) == 8 and len(written["corpus"]) == 64
    assert {"lr": "[0.1]", "optimizer": "sgd", "alpha": "2"}.items() <= written["hyperparameters"].items()


def test_the_batch_of_an_update_is_that_of_all_workers_and_mini_batches():
    cfg = tiny.configuration("data", "--max-tokens=100", "--batch-size=5", "--update-freq=4")
    cfg.distributed_training.distributed_world_size = 2
    found = evaluated_model._training_rules([{"cfg": cfg}], [[]])
    assert (found["batch_tokens"], found["batch_sentences"]) == (800, 40)
    other = tiny.configuration("data", "--max-tokens=100", "--batch-size=5", "--max-update=9")
    # Of an ensemble there are none where they differ.
    assert evaluated_model._training_rules([{"cfg": cfg}, {"cfg": cfg}], [[]]) == found
    assert evaluated_model._training_rules([{"cfg": cfg}, {"cfg": other}], [[]]) is None


def test_of_an_ensemble_the_smallest_limits_of_positions_count():
    flags = ("--max-source-positions={}", "--max-target-positions={}")
    sizes = ((30, 20), (10, 40))
    states = [
        {"cfg": tiny.configuration("data", *(flag.format(n) for flag, n in zip(flags, given, strict=True)))}
        for given in sizes
    ]
    assert evaluated_model.position_limits(states) == (10, 20)


def test_other_text_is_another_corpus(tmp_path):
    texts = {"one": TARGET, "same": TARGET, "other": TARGET[::-1]}
    folders = [small_dataset.write_dataset(tmp_path / name, SOURCE, text) for name, text in texts.items()]
    one, same, other = (read_dataset(folder).corpus for folder in folders)
    assert one == same != other


def test_an_ensemble_of_two_methods_is_of_neither(evaluate, checkpoint, tmp_path):
    plain = small_dataset.write_checkpoint(tmp_path / "plain.pt", "--num-iter", "1")
    assert evaluate(model=f"{plain}:{checkpoint}", name="plain+checkpoint_best").method == "mixed"


def test_of_an_ensemble_the_record_holds_the_hyperparameters_that_its_models_share(evaluate, checkpoint, tmp_path):
    other = small_dataset.write_checkpoint(tmp_path / "other.pt", "--alpha", "1")
    one, both = (
        evaluate(model=model, name=name)
        for model, name in ((checkpoint, checkpoint.stem), (f"{checkpoint}:{other}", f"{checkpoint.stem}+other"))
    )
    # By what the best was chosen decides the score of it alone.
    for name, value in {"best_checkpoint_metric": "loss", "valid_subset": "valid"}.items():
        assert one.hyperparameters.pop(name) == value and name not in both.hyperparameters
    assert both.hyperparameters == one.hyperparameters | {"alpha": "mixed"} and one.hyperparameters["alpha"] != "1"


def test_a_pruned_model_is_not_the_trained_one(evaluate, checkpoint, tmp_path):
    state = checkpoints.load(checkpoint) | {"pruned": {"ratio": 0.5}}
    (tmp_path / "pruned").mkdir()
    checkpoints.save(state, tmp_path / "pruned" / "checkpoint_best.pt")
    assert evaluate(model=tmp_path / "pruned" / "checkpoint_best.pt").kind == "pruned"


def test_an_evaluation_on_another_dataset_is_not_replaced(evaluate, data, tmp_path, stub):
    first = evaluate()
    other = small_dataset.write_dataset(tmp_path / "other", SOURCE, [f"{line}." for line in TARGET])
    with pytest.raises(UsageError, match=r"test.json is an evaluation on another dataset \(data, de-en\).*--output"):
        evaluate(dataset=other)
    assert len(stub.calls) == 1
    assert evaluate("--beam", 2).corpus == first.corpus
    (tmp_path / "out/checkpoint_best.test.json").unlink()
    assert evaluate(dataset=other).corpus != first.corpus


def test_a_folder_in_place_of_a_checkpoint_is_told_which_file_to_give(evaluate, tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    for folder, file in (("run", "run/checkpoints/checkpoint_best.pt"), ("run/checkpoints", "checkpoint_best.pt")):
        with pytest.raises(UsageError, match=f"{folder} is a folder; give a checkpoint in it, such as .*{file}"):
            evaluate(model=tmp_path / folder)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], None),
        (["--plain-updates", "1"], True),
        (["--plain-patience", "2"], True),
    ],
)
def test_a_late_start_that_has_not_switched_is_recorded(evaluate, tmp_path, flags, expected):
    path = small_dataset.write_checkpoint(tmp_path / "model" / "checkpoint_best.pt", *flags)
    assert evaluate(model=path).before_switch is expected


def test_a_late_start_counts_as_plain_up_to_its_switch():
    cfg = tiny.configuration("data", "--plain-patience", "2")
    assert checkpoints.training({"cfg": cfg}).method == "late"
    state = {"cfg": cfg, "optimizer_history": [{"num_updates": 7}]}
    for switch, expected in ((None, True), (7, True), (6, False)):
        state["extra_state"] = {"task_state": {"late_start": {"switch_update": switch}}}
        assert checkpoints.training(state).before_switch == expected
