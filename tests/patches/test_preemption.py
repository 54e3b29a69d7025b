"""SIGUSR1 with several workers; that of one process is in scripts/test_train_script.py."""

from fairseq_intra.patches import preemption


def test_the_mark_of_a_worker_is_seen_by_all_and_is_no_training_time(monkeypatch):
    """One of two workers was asked; fairseq logs the mean of their times."""

    class Trainer:
        data_parallel_world_size = 2

        def _sync_stats(self):
            return True

        def _local_cumulative_training_time(self):
            return 10.0

        def train_step(self):
            self._cumulative_training_time = (self._local_cumulative_training_time() + 12.0) / 2

    monkeypatch.setattr(preemption, "Trainer", Trainer)
    monkeypatch.setattr(preemption._State, "agreed", False)
    preemption._agree_in_every_update()
    trainer = Trainer()
    for asked in (False, True):
        monkeypatch.setattr(preemption._State, "asked", asked)
        trainer.train_step()
        assert preemption._State.agreed is asked and abs(trainer._cumulative_training_time - 11) < 0.01
