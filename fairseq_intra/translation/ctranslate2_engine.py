"""CTranslate2's beam search on an exported model: neither torch nor fairseq is imported."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ..cores import core_count
from ..errors import UsageError, need_package
from .search import Hypothesis, Limits, Search, batches


class CTranslate2Engine:
    """Translates subwords.

    Args:
        folder: of CTranslate2's model.
        limits: the model's.
        device: cpu or cuda.
        threads: batches that are computed simultaneously on a CPU, with one thread each (None: one for each core).

    Raises:
        UsageError: if ctranslate2 is not installed, or cannot read the model.
    """

    def __init__(self, folder: Path, limits: Limits, device: str = "cpu", threads: int | None = None):
        need_package("ctranslate2", "serve")
        import ctranslate2

        self.limits = limits
        self._workers = 1 if device == "cuda" else threads or core_count()
        try:
            self._translator = ctranslate2.Translator(
                str(folder), device=device, inter_threads=self._workers, intra_threads=1
            )
        except (RuntimeError, ValueError) as error:
            raise UsageError(f"{folder} cannot be read by CTranslate2: {str(error).splitlines()[0]}") from None

    def translate(self, sources: list[list[str]], search: Search) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields the number of each source with its `nbest` hypotheses, batch by batch."""
        started: deque = deque()
        for batch in batches(sources, search.batch_tokens):
            started.append((batch, self._start([sources[number] for number in batch], search)))
            if len(started) > 2 * self._workers:
                yield from _results(*started.popleft())
        while started:
            yield from _results(*started.popleft())

    def _start(self, sources, search):
        return self._translator.translate_batch(
            sources,
            asynchronous=True,
            beam_size=search.beam,
            num_hypotheses=search.nbest,
            length_penalty=search.lenpen,
            max_decoding_length=self.limits.longest(1 + max(map(len, sources))),
            max_input_length=0,
            return_scores=True,
        )


def _results(batch, started):
    for number, found in zip(batch, started, strict=True):
        result = found.result()
        yield number, [Hypothesis(*each) for each in zip(result.hypotheses, result.scores, strict=True)]


def gpu_count() -> int:
    """The number of GPUs that CTranslate2 sees.

    Raises:
        UsageError: if it is not installed.
    """
    need_package("ctranslate2", "serve")
    import ctranslate2

    return ctranslate2.get_cuda_device_count()
