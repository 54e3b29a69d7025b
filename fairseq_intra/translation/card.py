"""The model card of an exported model."""

from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from .. import checkpoint as checkpoints
from ..errors import UsageError
from ..runs.dataset import read_dataset
from ..runs.evaluation import Evaluation, model_name, record_name
from ..runs.tables import decoding_text
from .exported import CARD, Settings

#: What of a training stands in the card, by section of its configuration.
SHOWN = {
    "model": ("arch", "encoder_layers", "decoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "dropout"),
    "criterion": ("label_smoothing", "num_iter", "alpha", "div"),
    "task": (
        "num_iter",
        "alpha",
        "div",
        "adaptive_alpha",
        "plain_updates",
        "plain_patience",
        "distill_interval",
        "distill_part",
        "encoder_once",
    ),
    "optimization": ("lr", "update_freq"),
    "dataset": ("max_tokens",),
}


class EngineComparison(NamedTuple):
    """The same sentences by both engines."""

    sentences: int
    identical: int
    bleu_fairseq: float
    bleu_ctranslate2: float
    signature: str

    def sentence(self, quantization: str) -> str:
        """What was found, in a line."""
        difference = self.bleu_ctranslate2 - self.bleu_fairseq
        return (
            f"{self.identical} of {self.sentences} sentences of valid ({self.identical / self.sentences:.1%}) are "
            f"translated identically by fairseq and by CTranslate2 ({quantization}); "
            f"BLEU {self.bleu_fairseq:.2f} and {self.bleu_ctranslate2:.2f} ({difference:+.2f})"
        )


def write_card(folder: Path, settings: Settings, checkpoint: Path, data: Path, compared: EngineComparison) -> None:
    """Writes the card into the exported model's folder."""
    state = checkpoints.load(checkpoint)
    training, dataset = checkpoints.training(state), read_dataset(data)
    made_with = ("ctranslate2", "torch", "sentencepiece", "sacrebleu")
    lines = [
        f"# {settings.source} to {settings.target}, {checkpoints.run_name(state) or checkpoint.stem}",
        "",
        "License: fill in, with regard to the license of the training text",
        "",
        f"- **Data**: {dataset.folder.absolute().name}, SHA-256 {dataset.corpus}"
        + (", lowercased" if settings.lowercase else ""),
        f"- **Method**: {training.method}, seed {training.seed}, {training.num_updates} updates",
        f"- **Flags**: {_flags(state['cfg'])}",
        *_test_score(checkpoint, dataset, training, state["model"]),
        f"- **Engines**: {compared.sentence(settings.quantization)}, signature `{compared.signature}`",
        f"- **Limits**: {settings.max_source_positions} subwords of a source, {settings.max_target_positions} of a "
        f"translation, which has at most {settings.max_len_a:g} times the source's and {settings.max_len_b}",
        f"- **Versions**: {', '.join(f'{name} {version(name)}' for name in made_with)}",
        f"- **Checkpoint**: {checkpoint.name}, SHA-256 {settings.checkpoint_sha256}",
        "",
        "```",
        'pip install "CHECKOUT[serve]"  # the folder of a checkout of fairseq_intra',
        "fairseq-intra translate --model FOLDER <text >translation",
        "```",
        "",
    ]
    (folder / CARD).write_text("\n".join(lines), encoding="utf-8")


def _flags(cfg):
    found = {}
    for section, names in SHOWN.items():
        for name in names:
            value = getattr(cfg[section], name, None)
            if value is not None:
                found.setdefault(name, value)
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in found.items())


def _test_score(checkpoint, dataset, training, model):
    """The score of `fairseq-intra evaluate` on test, where its record of this checkpoint lies beside it."""
    path = checkpoint.with_name(f"{record_name(model_name([checkpoint]), 'test', False)}.json")
    try:
        record = Evaluation.read(path)
    except UsageError:
        return []
    if (record.corpus, record.num_updates, record.seed) != (dataset.corpus, training.num_updates, training.seed):
        return []
    if record.fingerprint not in (None, checkpoints.fingerprint(model)):
        return []
    score = f"{record.bleu['score']:.2f} ({record.engine}), signature `{record.bleu['signature']}`"
    unfinished = "; its training was not finished" if record.unfinished else ""
    return [f"- **BLEU on test**: {score}; {decoding_text(record)}{unfinished}"]
