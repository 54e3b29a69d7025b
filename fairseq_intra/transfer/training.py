"""How a pretrained encoder is fine-tuned on one language: XLM-R's recipe, and the paper's K = 3 and alpha = 1."""

#: Task of fairseq, what chooses the best epoch, epochs, and the flags of the task alone.
RECIPES = {
    "ner": ("token_classification", "f1", 10, ""),
    "xnli": (
        "sentence_prediction",
        "accuracy",
        3,
        "--num-classes {classes} --init-token 0 --separator-token 2 --shorten-method truncate",
    ),
}
WARM_UP = 6  # percent of all updates


def recipe(summary: dict, method: str, seed: int, epochs: int | None, batch: int) -> list[str]:
    """The flags of fairseq-train that make a run what it is, wherever it runs.

    Args:
        summary: of the data, see `prepare.read_summary`.
        method: "plain" or "intra".
        seed: of the training.
        epochs: None: as many as the task's recipe has.
        batch: sentences of an update, over all GPUs.
    """
    task, metric, its_epochs, more = RECIPES[summary["kind"]]
    train = summary["splits"]["train"]
    batches = -(-train.get("sentences", train.get("pairs")) // batch)
    updates = (epochs or its_epochs) * batches
    how = f"--task {task} --criterion {task}"
    if method == "intra":
        how = f"--task {task}_intra_distillation --criterion intra_distillation_{task} --num-iter 3 --alpha 1"
    return f"""{how} --seed {seed} --arch roberta_base --max-positions 512 --dropout 0.1 --attention-dropout 0.1
        --weight-decay 0.01 --optimizer adam --adam-betas (0.9,0.98) --adam-eps 1e-6 --lr 2e-5
        --lr-scheduler polynomial_decay --warmup-updates {updates * WARM_UP // 100} --total-num-update {updates}
        --max-update {updates} --clip-norm 1 --best-checkpoint-metric {metric} --maximize-best-checkpoint-metric
        --no-epoch-checkpoints --log-interval 50 {more.format(classes=len(summary["labels"]))}""".split()
