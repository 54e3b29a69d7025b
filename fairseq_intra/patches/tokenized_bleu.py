"""With --eval-tokenized-bleu, sacreBLEU does not ask after every mini-batch whether detokenising was forgotten."""

import functools
import logging

from fairseq.tasks.translation import TranslationTask

logger = logging.getLogger("sacrebleu")


def apply():
    """Puts the patch into fairseq's task."""
    infer = TranslationTask._inference_with_bleu

    @functools.wraps(infer)
    def _inference_with_bleu(self, *args, **kwargs):
        if not self.cfg.eval_tokenized_bleu:
            return infer(self, *args, **kwargs)
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            return infer(self, *args, **kwargs)
        finally:
            logger.setLevel(level)

    TranslationTask._inference_with_bleu = _inference_with_bleu
