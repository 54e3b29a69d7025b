"""fairseq_intra/runs/evaluated_model.py: what a record calls a checkpoint, by its name and content."""

from pathlib import Path

import pytest

from fairseq_intra.runs.evaluated_model import _kind


@pytest.mark.parametrize(
    ("names", "content", "kind"),
    [
        (["checkpoint_best.pt"], {}, "best"),
        (["checkpoint_last.pt"], {}, "last"),
        (["checkpoint12.pt"], {}, "numbered"),
        (["checkpoint_3_1500.pt"], {}, "numbered"),
        (["checkpoint.best_bleu_41.25.pt"], {}, "other"),
        (["checkpoint_best2.pt"], {}, "other"),
        (["model12.pt"], {}, "other"),
        (["checkpoint.pt"], {}, "other"),
        (["average5.pt"], {"averaged_checkpoints": ["checkpoint4.pt", "checkpoint5.pt"]}, "average of 2"),
        # It was given the name by hand.
        (["checkpoint_best.pt"], {"averaged_checkpoints": ["checkpoint5.pt"]}, "average of 1"),
        (["checkpoint_best.pt", "checkpoint_last.pt"], {}, "ensemble of 2"),
    ],
)
def test_a_checkpoint_is_called_by_what_it_is(names, content, kind):
    assert _kind([Path("run", name) for name in names], [content] * len(names)) == kind
