"""The whole way in small: text, dataset, training, evaluation, table, as scripts/test.sh --quick runs it."""

import commands
import corpus

from fairseq_intra import cli


def test_from_text_to_the_table(dataset, tmp_path, capsys):
    def trained_and_evaluated(method):
        run = tmp_path / method
        flags = ["--method", method, "--preset", "tiny", "--updates", 3, "--seed", 1, "--out", run]
        corpus.succeed("scripts/train.sh", "--data", dataset, *flags, OMP_NUM_THREADS="1")
        best = run / "checkpoints/checkpoint_best.pt"
        corpus.succeed(
            "scripts/evaluate.sh", "--checkpoint", best, "--data", dataset, "--max-len-b", 9, OMP_NUM_THREADS="1"
        )
        return run

    plain, intra = commands.at_once(lambda: trained_and_evaluated("plain"), lambda: trained_and_evaluated("intra"))
    assert "intra-distillation: 3 passes, batched" in (intra / "train.log").read_text()
    cli.main(["table", str(plain), str(intra)])
    assert "\n| de-en |" in capsys.readouterr().out
