"""One of two workers on GPUs: three updates of its own sentences.

python gpu_worker.py RANK FOLDER. NCCL where there are two GPUs, else gloo and the same GPU twice. FOLDER holds the
dictionaries; FOLDER/RANK.pt is written: the parameters by name.
"""

import sys
from pathlib import Path

import tiny
import torch

SENTENCES = [*tiny.SENTENCES, ([6, 6, 9], [4, 4])]


def main(rank, folder):
    gpus = torch.cuda.device_count()
    torch.cuda.set_device(rank % gpus)
    backend = "nccl" if gpus > 1 else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    flags = "--optimizer sgd --lr 0.1 --dropout 0 --ddp-backend pytorch_ddp --distributed-world-size 2"
    cfg = tiny.configuration(folder, *flags.split(), "--device-id", str(rank % gpus))
    cfg.common.cpu = False
    trainer = tiny.trainer(cfg)
    trainer.reset_dummy_batch(tiny.sample(trainer.task, SENTENCES[:2]))
    for _ in range(3):
        trainer.train_step([tiny.sample(trainer.task, SENTENCES[2 * rank : 2 * rank + 2])])
    torch.save({name: value.cpu() for name, value in trainer.get_model().named_parameters()}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
