"""Two workers, and the one process they are compared with: an update in every case.

python data_parallel_worker.py FOLDER. FOLDER holds the dictionaries; each process writes FOLDER/RANK-WORLD_SIZE.pt:
{case: {"gradients": {parameter: tensor}, "losses": the worker's own}}, and why a training was stopped.
"""

import itertools
import multiprocessing
import sys
from pathlib import Path

import tiny
import torch

from fairseq_intra.patches import data_parallel as distribution

#: (rank, world size) of every process.
PLACES = [(0, 2), (1, 2), (0, 1)]
BACKENDS = ("pytorch_ddp", "legacy_ddp")
#: How the passes run: fields of the criterion's and of the task's configuration.
WAYS = {
    "batched": {"passes": "batched"},
    "sequential": {"passes": "sequential"},
    "recompute": {"passes": "recompute"},
    "encoder once": {"encoder_once": True},
    "split": {"split_batch": 2},
    "on logits": {"id_loss": "reference"},
}
#: What either worker has to do in one update: mini-batches of sentences, none where it ran out of data.
WORK = {
    "update": ([[0, 1]], [[2, 3]]),
    "update-freq 2, uneven": ([[0, 1], [4]], [[2, 3], None]),
    "uneven": ([[0, 1]], [None]),
}
SENTENCES = [*tiny.SENTENCES, ([6, 6, 9], [4, 4]), ([11, 5], [7, 10, 9]), ([8, 9, 10, 11], [5])]
CASES = list(itertools.product(BACKENDS, WAYS, WORK, (0.0, 0.3)))
CASES = [case for case in CASES if case[2:] != ("uneven", 0.0)]
SAME_WORK = ([[0, 1]], [[0, 1]])


def main(folder):
    """Raises where a process did not do its work."""
    # Importing torch and fairseq takes longer than most of the updates.
    fork = multiprocessing.get_context("fork")
    running = [fork.Process(target=update_in_every_case, args=(*place, folder)) for place in PLACES]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]


def update_in_every_case(rank, world_size, folder):
    # An update with which the model stays as it was.
    flags = ["--optimizer", "sgd", "--lr", "0", "--distributed-world-size", str(world_size)]
    cfg = tiny.configuration(folder, *flags)
    if world_size > 1:
        meeting = f"file://{folder / 'meeting'}"
        torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    found = {}
    for backend, way, work, dropout in CASES:
        trainer = made(cfg, backend, dropout, WAYS[way])
        found[backend, way, work, dropout] = updated(trainer, WORK[work], rank, world_size)
    if world_size > 1:
        found["same work"] = updated(made(cfg, BACKENDS[0], 0.3, {}), SAME_WORK, rank, world_size)
        found["through its parts"] = why_stopped(made(cfg, BACKENDS[0], 0.3, {}), WORK["update"], rank, world_size)
    torch.save(found, folder / f"{rank}-{world_size}.pt")


def made(cfg, backend, dropout, fields):
    """A trainer in which the passes run in one of the WAYS."""
    cfg = cfg.copy()
    cfg.distributed_training.ddp_backend = backend
    cfg.model.dropout = dropout
    for name, value in fields.items():
        for section in (cfg.criterion, cfg.task):
            if name in section:
                section[name] = value
    return tiny.trainer(cfg)


def updated(trainer, work, rank, world_size):
    """What one update of a worker's own work leaves behind; one process alone does that of both."""
    losses = recorded(trainer.task)
    if world_size > 1:
        trainer.reset_dummy_batch(batch(trainer, [0, 1]))
        trainer.train_step([batch(trainer, numbers) for numbers in work[rank]])
    elif trainer.cfg.model.dropout:
        update_with_the_masks_of_the_workers(trainer, work)
    else:
        trainer.train_step([batch(trainer, joined(parts)) for parts in zip(*work, strict=True)])
    return {"gradients": tiny.gradients(trainer.get_model()), "losses": losses}


def batch(trainer, numbers):
    """fairseq's trainer is given None where a worker has run out of data."""
    return numbers and tiny.sample(trainer.task, [SENTENCES[number] for number in numbers])


def joined(parts):
    return [number for numbers in parts for number in numbers or []]


def update_with_the_masks_of_the_workers(trainer, work):
    """The gradients of an update, worker after worker, each with the random numbers that it draws."""
    trainer.zero_grad()
    total = 0
    for rank, batches in enumerate(work):
        torch.manual_seed(distribution.worker_seed(trainer.cfg.common.seed, rank))
        for sample in filter(None, (batch(trainer, numbers) for numbers in batches)):
            step = (sample, trainer.model, trainer.criterion, trainer.optimizer, trainer.get_num_updates())
            total += trainer.task.train_step(*step)[1]
    trainer.optimizer.multiply_grads(1 / total)


def recorded(task):
    """The list to which every further mini-batch's loss is added."""
    losses, train_step = [], task.train_step

    def recording(*args, **kwargs):
        loss, *more = train_step(*args, **kwargs)
        losses.append(float(loss))
        return loss, *more

    task.train_step = recording
    return losses


def why_stopped(trainer, *work):
    """What is raised where the criterion goes around what distributed training hangs on the model."""
    trainer.criterion.forward = through_the_parts
    # What fairseq would write before it stops.
    trainer.save_checkpoint = lambda *_: None
    reasons = []
    try:
        updated(trainer, *work)
    except Exception as error:
        # fairseq looks for a NaN before it raises the error again, and may stumble there.
        while error:
            reasons.append(str(error))
            error = error.__context__
    return reasons


def through_the_parts(model, sample):
    """A criterion's forward that calls encoder and decoder by hand."""
    net_input = sample["net_input"]
    encoded = model.encoder(net_input["src_tokens"], net_input["src_lengths"])
    logits, _ = model.decoder(net_input["prev_output_tokens"], encoded)
    return logits.logsumexp(-1).sum(), sample["ntokens"], {"loss": 0.0, "ntokens": sample["ntokens"]}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
