"""R-Drop as fairseq has it is twice this loss at K = 2, where it adds two cross-entropies."""

import pytest
import tiny
import torch

from fairseq_intra.criterion import IntraDistillationCriterion

rdrop = pytest.importorskip("fairseq.criterions.label_smoothed_cross_entropy_with_rdrop")
ALPHA, SMOOTHING = 5.0, 0.1


class TwoPasses(torch.nn.Module):
    """Stands for a model under dropout: its two passes differ, always in the same way."""

    def __init__(self, task, interleaved):
        super().__init__()
        target = tiny.sample(task)["target"]
        shape = (2, *target.shape, len(task.target_dictionary))
        self.passes = torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
        self.interleaved = interleaved

    def forward(self, **_):
        # Rows of the doubled batch: fairseq appends the second pass to the first, ours has them side by side.
        logits = self.passes.transpose(0, 1) if self.interleaved else self.passes
        return logits.flatten(0, 1), None

    def get_targets(self, sample, _net_output):
        return sample["target"]

    def get_normalized_probs(self, net_output, log_probs):
        return net_output[0].log_softmax(-1) if log_probs else net_output[0].softmax(-1)


def test_same_loss_and_gradients_up_to_the_factor_two(monkeypatch):
    task = tiny.translation_task()
    ours, theirs = TwoPasses(task, True), TwoPasses(task, False)
    criterion = IntraDistillationCriterion(
        task, False, SMOOTHING, num_iter=2, alpha=ALPHA, passes="batched", id_loss="torch"
    )
    loss, size, log = criterion(ours.train(), tiny.sample(task))
    loss.backward()
    fairseqs = rdrop.RdropLabelSmoothedCrossEntropyCriterion(task, False, SMOOTHING, rdrop_alpha=ALPHA)
    expected, expected_size, expected_log = fairseqs(theirs.train(), tiny.sample(task))
    expected.backward()
    assert size == expected_size
    torch.testing.assert_close(2 * loss, expected)
    torch.testing.assert_close(2 * ours.passes.grad, theirs.passes.grad)
    assert log["intra_distillation_loss"].item() == pytest.approx(expected_log["rdrop_kl_loss"] / 2)
    assert ours.passes.grad.any()
