"""Makes fairseq know the method: patches it, and imports all that registers a task or criterion."""

import importlib.util
import sys

if importlib.util.find_spec("fairseq") is None:
    raise ImportError(
        f"fairseq is not installed for Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform}; "
        "scripts/install.sh installs it, on Python 3.10 to 3.13. Without fairseq, only fairseq_intra.loss can be "
        "imported."
    )

from . import patches  # noqa: E402

patches.apply()

from . import criterion, self_distillation, task  # noqa: E402,F401
from .fine_tuning import (  # noqa: E402,F401
    question_answering,
    question_answering_criterion,
    sentence_prediction,
    token_classification,
    token_classification_criterion,
)
