"""fairseq's generator in this process: any translation model that fairseq trains."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig

from .. import checkpoint as checkpoints
from ..limits import DEFAULT_MAX_POSITIONS
from ..patches.dictionary_checksum import check_direction
from .search import Hypothesis, Limits, Search, batches


class FairseqEngine:
    """Translates subwords.

    Args:
        checkpoint: the model.
        data: the folder of dictionaries, bin/ of a dataset.
        device: cpu or cuda.
        languages: source and target of the dataset, where they are known.

    Raises:
        UsageError: if the model cannot be built on the dictionaries, or translates in the other direction.
    """

    def __init__(self, checkpoint: Path, data: Path, device: str = "cpu", languages: Sequence[str] = ()):
        built = checkpoints.build(checkpoint, data)
        if languages:
            check_direction(checkpoint, [built.cfg.task.source_lang, built.cfg.task.target_lang], list(languages))
        self.limits = limits_of(built.cfg)
        self._task, self._cuda = built.task, device == "cuda"
        # Convolutional models would be made for the beam size of their training's configuration.
        built.cfg.generation.no_beamable_mm = True
        built.model.prepare_for_inference_(built.cfg)
        self._models = [built.model.cuda() if self._cuda else built.model]

    def translate(self, sources: list[list[str]], search: Search) -> Iterator[tuple[int, list[Hypothesis]]]:
        """Yields the number of each source with its `nbest` hypotheses, batch by batch."""
        dictionary = self._task.source_dictionary
        generator = self._task.build_generator(
            self._models,
            GenerationConfig(
                beam=search.beam,
                lenpen=search.lenpen,
                nbest=search.nbest,
                max_len_a=self.limits.max_len_a,
                max_len_b=self.limits.max_len_b,
            ),
        )
        for batch in batches(sources, search.batch_tokens):
            tokens = [
                dictionary.encode_line(" ".join(sources[number]), add_if_not_exist=False).long() for number in batch
            ]
            dataset = self._task.build_dataset_for_inference(tokens, [len(line) for line in tokens])
            sample = dataset.collater([dataset[number] for number in range(len(tokens))])
            sample = utils.move_to_cuda(sample) if self._cuda else sample
            found = self._task.inference_step(generator, self._models, sample)
            for place, hypotheses in zip(sample["id"].tolist(), found, strict=True):
                yield batch[place], [self._hypothesis(each) for each in hypotheses[: search.nbest]]

    def _hypothesis(self, found):
        symbols, tokens = self._task.target_dictionary, found["tokens"].tolist()
        # An end of sentence; of Levenshtein's a beginning as well.
        around = {symbols.bos(), symbols.pad(), symbols.eos()}
        return Hypothesis([symbols[token] for token in tokens if token not in around], float(found["score"]))


def limits_of(cfg) -> Limits:
    """The limits in a checkpoint's configuration."""
    return Limits(
        *(
            min(
                int(getattr(section, f"max_{side}_positions", None) or DEFAULT_MAX_POSITIONS)
                for section in (cfg.model, cfg.task)
            )
            for side in ("source", "target")
        )
    )
