"""The whole way in small: text, dataset, training, evaluation, table, as scripts/test.sh --quick runs it."""

import json

import corpus

from fairseq_intra import cli


def test_from_text_to_the_table(dataset, tmp_path, capsys):
    run = tmp_path / "run"
    flags = ["--method", "intra", "--preset", "tiny", "--updates", 3, "--seed", 1, "--out", run]
    corpus.succeed("scripts/train.sh", "--data", dataset, *flags, OMP_NUM_THREADS="1")
    assert "intra-distillation: 3 passes, batched" in (run / "train.log").read_text()
    corpus.succeed("scripts/evaluate.sh", "--checkpoint", run / "checkpoints/checkpoint_best.pt", "--data", dataset)
    (found,) = run.rglob("*.test.json")
    assert json.loads(found.read_text())["bleu"]["score"] >= 0
    cli.main(["table", str(run)])
    assert "\n| de-en |" in capsys.readouterr().out
