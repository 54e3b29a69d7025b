"""fairseq_intra/runs/wmt_sets.py: a test set that no score of ours is comparable on."""

import pytest
import sacrebleu

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import wmt_sets


@pytest.mark.parametrize("file", [wmt_sets.source_file, wmt_sets.reference_file])
def test_a_set_of_several_references_is_rejected(monkeypatch, file):
    chosen = sacrebleu.DATASETS["wmt14/full"]
    monkeypatch.setattr(chosen, "get_source_file", lambda _: "source")
    monkeypatch.setattr(chosen, "get_reference_files", lambda _: ["one", "another"])
    with pytest.raises(UsageError, match="wmt14/full has 2 references for de-en; only sets with one are scored"):
        file("wmt14/full", "de-en")
