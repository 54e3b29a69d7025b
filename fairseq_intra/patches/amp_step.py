"""`--amp` on a GPU divides the gradients by the loss scale once.

torch's scaler remembers by the optimizer whether it has done so. fairseq gives it torch's optimizer before it clips
and its own for the step (fairseq/optim/amp_optimizer.py): the scaler would divide again, and Adam's eps would be as
much larger beside what is left of a gradient.
"""

from fairseq.optim.amp_optimizer import AMPOptimizer


def apply():
    """Puts the patch into fairseq's optimizer."""
    AMPOptimizer.step = _step


def _step(self):
    self.scaler.step(self.optimizer)
    self.scaler.update()
