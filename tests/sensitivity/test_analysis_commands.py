"""`fairseq-intra sensitivity`, `sensitivity-table`, `plot-sensitivity` and `prune`, on a trained model."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import small_dataset
import torch

from fairseq_intra import checkpoint, cli
from fairseq_intra.errors import UsageError
from fairseq_intra.files import sha256
from fairseq_intra.sensitivity import pruning
from fairseq_intra.sensitivity.report import Report

TIED = "encoder.embed_tokens.weight"
ALIASES = ["decoder.embed_tokens.weight", "decoder.output_projection.weight"]


def run(command, *arguments):
    cli.main([command, *map(str, arguments)])


@pytest.fixture(scope="module")
def report(dataset, trained, tmp_path_factory):
    """Path of the trained model's sensitivity. Not to be changed."""
    path = tmp_path_factory.mktemp("report") / "plain.sensitivity.json"
    run("sensitivity", "--checkpoint", trained.checkpoint, "--data", dataset, "--max-tokens", 90, "--output", path)
    return path


@pytest.fixture
def prune(trained, report, tmp_path):
    """Prunes the trained model; returns the parameters before and after."""

    def call(*arguments, model=trained.checkpoint):
        output = tmp_path / "pruned.pt"
        run("prune", "--checkpoint", model, "--scores", report, "--output", output, *arguments)
        assert list(tmp_path.glob("*pruned*")) == [output]
        return checkpoint.load(model)["model"], checkpoint.load(output)["model"]

    return call


def scores_of(report):
    return Report.read(report).read_scores(report)


def test_the_report_tells_what_was_measured_on_what(report, trained):
    found, scores = Report.read(report), scores_of(report)
    state = checkpoint.load(trained.checkpoint)
    assert (found.checkpoint, found.method, found.num_updates) == ("checkpoint_last.pt", "intra", 20)
    assert found.fingerprint == checkpoint.fingerprint(state["model"])
    assert (found.criterion, found.label_smoothing, found.split) == ("label_smoothed_cross_entropy", 0.1, "valid")
    assert found.batches == found.batches_of_split > 2 and found.sentences == 12
    assert found.tied == {TIED: ALIASES}
    assert set(scores) == {name for name in state["model"] if name not in ALIASES and "version" not in name}
    assert all(
        score.dtype == np.float32 and score.shape == state["model"][name].shape for name, score in scores.items()
    )
    assert found.groups["all"]["parameters"] == sum(score.size for score in scores.values())
    assert set(found.groups) > {"embeddings", "attention", "ffn", "norms", "encoder.layers.0", "decoder.layers.0"}
    assert sum(found.groups[name]["parameters"] for name in ("embeddings", "attention", "ffn", "norms")) == sum(
        score.size for score in scores.values()
    )
    logged = re.findall(r"\| valid \|.* \| loss ([\d.]+) ", trained.log)[-1]  # in bits a token
    assert found.loss == pytest.approx(math.log(2) * float(logged), rel=0.05)
    assert {path.name for path in report.parent.iterdir()} == {"plain.sensitivity.json", "plain.sensitivity.npz"}


def test_half_precision_checkpoints_are_computed_in_float32(dataset, trained, report, tmp_path):
    state = checkpoint.load(trained.checkpoint)
    state["model"] = {name: value.half() for name, value in state["model"].items()}
    torch.save(state, tmp_path / "half.pt")
    output = tmp_path / "half.json"
    more = ["--max-tokens", 90, "--batches", 2, "--output", output]
    run("sensitivity", "--checkpoint", tmp_path / "half.pt", "--data", dataset / "bin", *more)
    found = Report.read(output)
    assert (found.batches, found.batches_of_split) == (2, Report.read(report).batches_of_split)
    assert all(score.dtype == np.float32 for score in found.read_scores(output).values())
    # The same two batches, whenever it is asked; in half precision most of the small gradients would be zero.
    assert found.groups["all"]["quantiles"]["0.25"] > 0


def test_a_few_mini_batches_are_not_the_shortest_and_sentences_too_long_for_the_model_are_left_out(tmp_path):
    lines = ["word " * length for length in (*range(1, 21), 1100)]
    data = small_dataset.write_dataset(tmp_path / "data", lines, lines)
    model = small_dataset.write_checkpoint(tmp_path / "model.pt")
    given = ["--checkpoint", model, "--data", data, "--split", "test", "--max-tokens", 21]
    tokens = {}
    for batches in (3, None):
        more = ["--batches", batches] if batches else []
        run("sensitivity", *given, *more, "--output", tmp_path / "found.json")
        tokens[batches] = Report.read(tmp_path / "found.json").tokens
    # Each sentence ends with a token more; of the shortest, four fit into a mini-batch, then two and two.
    shortest = sum(range(2, 10))
    assert tokens[None] == sum(range(2, 22)) and tokens[3] != shortest


def test_of_the_split_the_size_of_batches_does_not_matter(dataset, trained, tmp_path):
    reports = []
    for tokens in (60, 4000):
        output = tmp_path / f"{tokens}.json"
        more = ["--max-tokens", tokens, "--gradient-of", "split", "--output", output]
        run("sensitivity", "--checkpoint", trained.checkpoint, "--data", dataset, *more)
        reports.append(output)
    for name, score in scores_of(reports[0]).items():
        other = scores_of(reports[1])[name]
        np.testing.assert_allclose(score, other, rtol=1e-2, atol=1e-4 * other.max() + 1e-9, err_msg=name)


def test_table_and_picture(report, tmp_path, capsys):
    other = shutil.copy(report, tmp_path / "other.json")
    run("sensitivity-table", report, other)
    rows = capsys.readouterr().out.split("\n")
    assert rows[0].startswith("| model | loss | mean | std | mean / loss |")
    values = Report.read(report).groups["all"]
    assert rows[2].startswith("| plain | ") and f"| {values['std_over_loss']:.3g} |" in rows[2]
    assert rows[3] == rows[2].replace("plain", "other")
    run("sensitivity-table", report, "--groups")
    assert "| plain | decoder.layers.0 |" in capsys.readouterr().out
    run("plot-sensitivity", report, other, "--output", tmp_path / "picture")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "picture.svg").read_text()
    assert ">plain (loss" in drawn and ">other (loss" in drawn and ">encoder 0<" in drawn


def test_ratio_zero_changes_nothing(prune):
    before, after = prune("--order", "descending", "--ratio", 0)
    assert set(before) == set(after) and all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_the_exact_number_of_the_first_in_order_is_zero(prune, report, order):
    before, after = prune("--order", order, "--ratio", 0.3)
    scores = {n: s for n, s in scores_of(report).items() if "norm" not in n and not n.endswith("bias")}
    gone = {name: (before[name] != after[name]).numpy() for name in scores}
    removed = np.concatenate([scores[name][gone[name]] for name in scores])
    kept = np.concatenate([scores[name][~gone[name]] for name in scores])
    assert len(removed) == round(0.3 * (len(removed) + len(kept)))
    assert removed.max() <= kept.min() if order == "ascending" else removed.min() >= kept.max()
    assert all(not after[name][torch.from_numpy(gone[name])].any() for name in scores)
    for name in set(before) - set(scores) - set(ALIASES):
        assert torch.equal(before[name], after[name]), name
    assert all(torch.equal(after[TIED], after[name]) for name in ALIASES)


def test_everything_prunable_and_everything(prune):
    _, after = prune("--order", "ascending", "--ratio", 1)
    for name, value in after.items():
        stays = "norm" in name or name.endswith("bias") or "version" in name
        assert stays or not value.any(), name
    assert after["encoder.layers.0.final_layer_norm.weight"].any()
    _, after = prune("--order", "ascending", "--ratio", 1, "--norms-and-biases")
    assert not any(value.any() for name, value in after.items() if "version" not in name)


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        (("encoder.layers.0.fc1.weight", "encoder.layers.0.fc1.weight_v"), "has weight-normalised layers"),
        (("encoder.layers.0.fc1.weight", "encoder.layers.0.fc.weight"), "has names of an earlier fairseq"),
    ],
)
def test_what_would_not_be_zero_is_rejected(trained, report, tmp_path, renamed, message):
    """Parameters that are measured under another name, and those whose zeros are a division by zero."""
    name, other = renamed
    content, scores = json.loads(report.read_text()), scores_of(report)
    state = checkpoint.load(trained.checkpoint)
    if message.startswith("has weight"):
        scores[other] = scores.pop(name)
    state["model"][other] = state["model"].pop(name)
    torch.save(state, tmp_path / "other.pt")
    np.savez(tmp_path / "other.npz", **scores)
    content |= {"fingerprint": checkpoint.fingerprint(state["model"]), "scores": "other.npz"}
    content["scores_sha256"] = sha256(tmp_path / "other.npz")
    (tmp_path / "other.json").write_text(json.dumps(content))
    files = {"--checkpoint": "other.pt", "--scores": "other.json", "--output": "out.pt"}
    given = [word for flag, name in files.items() for word in (flag, tmp_path / name)]
    with pytest.raises(UsageError, match=message):
        run("prune", *given, "--order", "ascending", "--ratio", 0.5)
    assert not (tmp_path / "out.pt").exists()


def test_biases_of_recurrent_layers_stay():
    names = ("decoder.layers.0.bias_ih", "encoder.lstm.bias_hh_l0_reverse", "encoder.layers.0.fc1.bias", "bias")
    assert all(map(pruning._is_norm_or_bias, names))
    others = ("encoder.lstm.weight_ih_l0", "decoder.biased.weight", "decoder.embed_tokens.weight")
    assert not any(map(pruning._is_norm_or_bias, others))


def test_tied_copies_stay_tied(prune, trained, tmp_path):
    """As in checkpoints written on a GPU, whose names share no memory."""
    state = checkpoint.load(trained.checkpoint)
    state["model"] = {name: value.clone() for name, value in state["model"].items()}
    torch.save(state, tmp_path / "copies.pt")
    _, after = prune("--order", "descending", "--ratio", 0.5, model=tmp_path / "copies.pt")
    assert (after[TIED] == 0).sum() > 50 and all(torch.equal(after[TIED], after[name]) for name in ALIASES)


def test_a_model_is_not_replaced_by_a_pruned_one(trained, report, tmp_path):
    mine = tmp_path / "mine.pt"
    mine.write_bytes(before := trained.checkpoint.read_bytes())
    given = ["--checkpoint", mine, "--scores", report, "--order", "ascending", "--ratio", 0.9, "--output", mine]
    with pytest.raises(UsageError, match="mine.pt is a model that was not pruned; give another file"):
        run("prune", *given)
    assert mine.read_bytes() == before


def test_a_seed_that_numpy_does_not_take_is_reported(prune):
    with pytest.raises(UsageError, match="--seed must be a whole number from 0 to"):
        prune("--order", "random", "--ratio", 0.4, "--seed", -1)


def test_random_depends_on_the_seed_alone(prune):
    first, again, other = (prune("--order", "random", "--ratio", 0.4, "--seed", seed)[1][TIED] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_equal_scores_are_told_apart_by_their_place():
    """The number is exact, and whoever goes at a lower ratio goes at a higher."""
    scores, before = np.array([2, 1, 1, 1, 0, 1], np.float32), np.zeros(6, bool)
    for count in range(7):
        mask, found = pruning._first(scores, "ascending", count / 6, seed=1)
        assert found == mask.sum() == count and (mask | before == mask).all()
        before = mask


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--split tset", "--split tset: no such split in .*bin; there: test, train, valid"),
        ("--max-tokens 5", "of valid has .* tokens, and a mini-batch holds 5 .--max-tokens"),
        ("--max-tokens 0", "--max-tokens must be at least 1, not 0"),
        ("--batches 0", "--batches must be at least 1, not 0"),
        ("--data {0}", "{0} holds no dictionary"),
        (
            "--checkpoint {0}/other.pt",
            r"other\.pt does not fit the dictionaries .*: size mismatch for .*embed_tokens",
        ),
        ("--checkpoint {0}/strange.pt", r"strange\.pt cannot be built on .*"),
        ("--checkpoint {0}/none.pt", r"no checkpoint .*none\.pt"),
        ("--output {0}/none/x.json", "--output .*/none/x.json: its folder does not exist"),
        ("--output {0}/x", r"--output must end in \.json, not be .*x"),
    ],
)
def test_sensitivity_names_what_is_wrong(dataset, trained, tmp_path, arguments, named):
    state = checkpoint.load(trained.checkpoint)
    shorter = {n: v[:-3] if "embed_tokens" in n or "projection" in n else v for n, v in state["model"].items()}
    torch.save(state | {"model": shorter}, tmp_path / "other.pt")
    state["cfg"].model.encoder_attention_heads = 3  # of 16 dimensions
    torch.save(state, tmp_path / "strange.pt")
    given = ["--checkpoint", trained.checkpoint, "--data", dataset, "--output", tmp_path / "s.json"]
    with pytest.raises(UsageError, match=named.format(tmp_path)):
        run("sensitivity", *given, *arguments.format(tmp_path).split())
    assert {path.name for path in tmp_path.iterdir()} == {"other.pt", "strange.pt"}


@pytest.mark.parametrize("ratio", ["-0.1", "1.1", "nan"])
def test_a_ratio_out_of_range_is_named(prune, ratio):
    with pytest.raises(UsageError, match="--ratio must be between 0 and 1, not"):
        prune("--order", "random", f"--ratio={ratio}")


def test_scores_of_another_model_are_refused(prune, trained, report, tmp_path):
    other = checkpoint.last_checkpoints(trained.folder, 2)[0]
    with pytest.raises(UsageError, match=r"has the scores of another model \(checkpoint_last\.pt\) than .*_15\.pt"):
        prune("--order", "ascending", "--ratio", 0.1, model=other)
    copied = shutil.copytree(report.parent, tmp_path / "copied")
    np.savez(copied / "plain.sensitivity.npz", weight=np.ones(3))
    with pytest.raises(UsageError, match=r"npz does not hold the scores that .*plain\.sensitivity\.json tells of"):
        run("prune", "--checkpoint", trained.checkpoint, "--scores", copied / report.name, "--order", "random",
            "--ratio", 0.1, "--output", tmp_path / "p.pt")  # fmt: skip
    (copied / "plain.sensitivity.npz").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*plain\.sensitivity\.npz: No such file"):
        scores_of(copied / report.name)


def test_reports_that_cannot_be_compared_are_refused(report, tmp_path):
    content = json.loads(report.read_text())
    (tmp_path / "plain.json").write_text(json.dumps(content))
    (tmp_path / "test.json").write_text(json.dumps(content | {"split": "test"}))
    with pytest.raises(UsageError, match="two of the files are called plain"):
        run("sensitivity-table", report, tmp_path / "plain.json")
    with pytest.raises(UsageError, match="cannot be compared: split is valid for plain, test for test"):
        run("plot-sensitivity", report, tmp_path / "test.json", "--output", tmp_path / "picture")
    with pytest.raises(UsageError, match="is not a JSON file that fairseq-intra sensitivity wrote"):
        (tmp_path / "x.json").write_text("{}")
        run("sensitivity-table", tmp_path / "x.json")
