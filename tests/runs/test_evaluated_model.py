"""fairseq_intra/runs/evaluated_model.py: what a record calls a checkpoint, by its name and content."""

from pathlib import Path

import pytest
import tiny

from fairseq_intra.runs.evaluated_model import _is_restored, _kind, _runs, _training_rules


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
        (["average5.pt"], {"averaged_checkpoints": ["checkpoint4.pt", "checkpoint5.pt"]}, "average of 2 epochs"),
        (["average5.pt"], {"averaged_checkpoints": ["checkpoint_2_500.pt", "checkpoint_last.pt"]}, "average of 2"),
        # It was given the name by hand.
        (["checkpoint_best.pt"], {"averaged_checkpoints": ["checkpoint_1_5.pt"]}, "average of 1"),
        (["checkpoint_best.pt", "checkpoint_last.pt"], {}, "ensemble of 2"),
    ],
)
def test_a_checkpoint_is_called_by_what_it_is(names, content, kind):
    assert _kind([Path("run", name) for name in names], [content] * len(names)) == kind


@pytest.fixture
def run(tmp_path):
    """A checkpoint's content, the file's path, and a function that gives its run other arguments."""
    path = tmp_path / "run" / "checkpoints" / "checkpoint_best.pt"
    path.parent.mkdir(parents=True)
    state = {"cfg": tiny.configuration("data", "--save-dir", path.parent, "--max-update", 15, "--patience", 3)}

    def arguments(*words):
        (tmp_path / "run" / "arguments.txt").write_text("\n".join(["# data 00", *words]) + "\n")
        return _runs([path])

    return state, path, arguments


def test_limits_are_those_that_the_run_came_to(run):
    """The best checkpoint may have been written before the run went on to more updates."""
    state, path, arguments = run
    assert _training_rules([state], _runs([path]))["max_update"] == 15
    runs = arguments("--max-update", "40", "--stop-time-hours", "1.5", "--patience", "3")
    found = _training_rules([state], runs)
    assert [found[name] for name in ("max_update", "max_epoch", "stop_time_hours", "patience")] == [40, 0, 1.5, 3]
    # Of an ensemble whose other model went on elsewhere.
    assert _training_rules([state, state], [*runs, []]) is None


def test_a_run_that_began_with_another_ones_checkpoint_is_told_from_one_that_began_with_none(run):
    state, path, arguments = run
    last = path.with_name("checkpoint_last.pt")
    for own in ("checkpoint_last.pt", str(last)):
        state["cfg"].checkpoint.restore_file = own
        assert not _is_restored([state], arguments("--max-update", "40"))
    # Resumed, its checkpoints have the name of its own.
    assert _is_restored([state], arguments("--restore-file", "other/checkpoint_last.pt"))
    state["cfg"].checkpoint.restore_file = "other/checkpoint_last.pt"
    assert _is_restored([state], [[]])
