"""sacreBLEU's scores with their signatures, the tokenizer of a target language, and tests on sentence statistics."""

import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypedDict

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest

from ..errors import UsageError

RESAMPLES = 1000
#: How `p_value` is found, for a table's notes.
TEST = f"sacreBLEU's paired bootstrap, {RESAMPLES} resamples, in effect one-sided"
#: How `p_value_of_seeds` joins them.
MEDIAN = "the median of those of the seeds, where a seed that goes against the mean counts as 1"
#: What sacreBLEU takes for a target language, by primary subtag of ISO 639-1 or 639-3; 13a for all others.
OF_LANGUAGE = {"zh": "zh", "zho": "zh", "cmn": "zh", "yue": "zh", "ja": "ja-mecab", "jpn": "ja-mecab"} | {
    "ko": "ko-mecab",
    "kor": "ko-mecab",
}
#: The extra of sacreBLEU that a tokenizer needs.
EXTRAS = {"ja-mecab": "ja", "ko-mecab": "ko"}


class Confidence(TypedDict):
    """A 95 % confidence interval by bootstrap resampling: mean ± half_width."""

    mean: float
    half_width: float
    resamples: int


class Score(TypedDict):
    """A score in the metric's own unit, 0 to 100, and sacreBLEU's signature."""

    score: float
    signature: str


class ScoreWithConfidence(Score):
    """A score for which `--confidence` was asked."""

    confidence: Confidence


def tokenizer_of(language: str) -> str:
    """sacreBLEU's tokenizer for a target language such as zh, zh-CN or zho_Hans."""
    return OF_LANGUAGE.get(re.split("[-_]", language.lower())[0], "13a")


def bleu(tokenize: str) -> BLEU:
    """BLEU with a tokenizer.

    Raises:
        UsageError: if the tokenizer's package is not installed.
    """
    try:
        # Text whose tokens count as they are is tokenised on purpose: no warning.
        return BLEU(tokenize=tokenize, force=tokenize == "none")
    except (ImportError, RuntimeError) as error:
        extra = EXTRAS.get(tokenize)
        if extra is None:
            raise UsageError(f"sacreBLEU has no tokenizer '{tokenize}': {str(error).splitlines()[0]}") from None
        raise UsageError(
            f"sacreBLEU's tokenizer {tokenize} needs packages that are not installed: "
            f"pip install 'sacrebleu[{extra}]'; evaluate also takes another by --tokenize"
        ) from None


def score_all(
    hypotheses: list[str], reference: list[str], metrics: Sequence[str], tokenize: str, confidence: bool
) -> dict[str, Score | ScoreWithConfidence | None]:
    """The scores bleu, chrf and ter, None where it is not asked for."""
    makers: dict[str, Callable[[], Metric]]
    makers = {"bleu": lambda: bleu(tokenize), "chrf": CHRF, "ter": TER}
    return {
        name: _score(make(), hypotheses, reference, confidence) if name in metrics else None
        for name, make in makers.items()
    }


def _score(metric, hypotheses, reference, confidence):
    found = metric.corpus_score(hypotheses, [reference])
    # Taken first: with resampling, sacreBLEU adds its settings, and the score would look like another one.
    score: dict = {"score": found.score, "signature": str(metric.get_signature())}
    if confidence:
        resampled = metric.corpus_score(hypotheses, [reference], n_bootstrap=RESAMPLES)
        score["confidence"] = {
            "mean": float(resampled._mean),
            "half_width": float(resampled._ci),
            "resamples": RESAMPLES,
        }
    return score


def sentence_statistics(hypotheses: list[str], reference: list[str], tokenize: str) -> list[list[int]]:
    """What BLEU counts, by sentence: lengths of hypothesis and reference, 4 counts of matching n-grams, 4 of all."""
    rows = bleu(tokenize)._extract_corpus_statistics(hypotheses, [reference])
    return [[int(count) for count in row] for row in rows]


class _FromStatistics(BLEU):
    """BLEU in which statistics by sentence stand in the hypotheses' place."""

    def __init__(self):
        super().__init__()
        self.num_refs = 1

    def _extract_corpus_statistics(self, hypotheses, references):
        return hypotheses


def bleu_of(statistics: list[list[int]]) -> float:
    """BLEU of `sentence_statistics`."""
    return _FromStatistics()._aggregate_and_compute(statistics).score


def p_value(plain: list[list[int]], other: list[list[int]]) -> float:
    """sacreBLEU's paired bootstrap test on the `sentence_statistics` of two systems.

    It is that of Moses: whether the resampled differences, without their signs, exceed their mean by the real one.
    For a large difference that is a one-sided test, and a two-sided one would have twice the value; for one near zero
    it is still less (down to a third of the two-sided value, and equal systems never have more than about 0.5). The
    same translations have 1: sacreBLEU's would be the smallest possible, as no resample of theirs differs.
    """
    if plain == other:
        return 1.0
    # sacreBLEU only hands them on: statistics do in place of text.
    systems: Any = [("plain", plain), ("other", other)]
    _, scores = PairedTest(systems, {"BLEU": _FromStatistics()}, None, "bs", RESAMPLES)()
    result: Any = scores["BLEU"][1]
    return result.p_value


def p_value_of_seeds(
    pairs: Sequence[tuple[list[list[int]], list[list[int]]]], difference: float | None = None
) -> tuple[float, list[float]]:
    """The p-value of several seeds, and that of each.

    It is their median, of an even number the larger of the two in the middle. `p_value` does not tell which of two
    systems is better: a seed that speaks against the difference counts as 1.

    Args:
        pairs: of `sentence_statistics`, plain's first, one for each seed.
        difference: in BLEU, of which the p-value is (default: the mean of the seeds').
    """
    gains = [bleu_of(other) - bleu_of(plain) for plain, other in pairs]
    difference = statistics.mean(gains) if difference is None else difference
    values = [
        p_value(plain, other) if gain * difference > 0 else 1.0
        for (plain, other), gain in zip(pairs, gains, strict=True)
    ]
    return statistics.median_high(values), values
