"""How a pretrained encoder is fine-tuned on one language: XLM-R's recipe, and the paper's K = 3 and alpha = 1."""

from typing import NamedTuple

from ..fine_tuning.recipe import METHOD_FLAGS, WARM_UP


class Recipe(NamedTuple):
    """What a task has of its own."""

    task: str  #: of fairseq; its criterion has the same name
    metric: str  #: what chooses the best epoch
    epochs: int
    flags: str = ""
    lr: str = "2e-5"
    warm_up: int | None = None  #: updates; None: 6 % of all
    weight_decay: str = "0.01"
    adam: str = "--adam-betas (0.9,0.98) --adam-eps 1e-6"
    tested: str = "checkpoint_best.pt"


RECIPES = {
    "ner": Recipe("token_classification", "f1", 10),
    "xnli": Recipe(
        "sentence_prediction",
        "accuracy",
        3,
        "--num-classes {classes} --init-token 0 --separator-token 2 --shorten-method truncate",
    ),
    # As the authors' scripts/train_qa.sh and run_squad.py; their alpha of 1 is --alpha 8 here (see
    # `question_answering_criterion`). They test the last checkpoint: TyDiQA has no dev set beside its test.
    "qa": Recipe(
        "question_answering",
        "accuracy",
        15,
        lr="3e-5",
        warm_up=500,
        weight_decay="1e-4",
        adam="--adam-betas (0.9,0.999) --adam-eps 1e-8",
        tested="checkpoint_last.pt",
    ),
}


def recipe(summary: dict, method: str, seed: int, epochs: int | None, batch: int) -> list[str]:
    """The flags of fairseq-train that make a run what it is, wherever it runs.

    Args:
        summary: of the data, see `prepare.read_summary`.
        method: of `methods.METHODS`.
        seed: of the training.
        epochs: None: as many as the task's recipe has.
        batch: examples of an update (sentences, pairs or windows), over all GPUs.
    """
    its = RECIPES[summary["kind"]]
    train = summary["splits"]["train"]
    examples = next(train[name] for name in ("sentences", "pairs", "examples") if name in train)
    updates = (epochs or its.epochs) * -(-examples // batch)
    warm_up = updates * WARM_UP // 100 if its.warm_up is None else min(its.warm_up, updates // 2)
    task = its.task
    how = f"--task {task} --criterion {task}"
    if method != "plain":
        how = (
            f"--task {task}_intra_distillation --criterion intra_distillation_{task} {' '.join(METHOD_FLAGS[method])}"
        )
    return f"""{how} --seed {seed} --arch roberta_base --max-positions 512 --dropout 0.1 --attention-dropout 0.1
        --weight-decay {its.weight_decay} --optimizer adam {its.adam} --lr {its.lr}
        --lr-scheduler polynomial_decay --warmup-updates {warm_up} --total-num-update {updates}
        --max-update {updates} --clip-norm 1 --best-checkpoint-metric {its.metric} --maximize-best-checkpoint-metric
        --no-epoch-checkpoints --log-interval 50 {its.flags.format(classes=len(summary["labels"]))}""".split()
