"""The length penalty chosen on valid: from n-best lists, as fairseq itself sorts them."""

import corpus
import pytest
import sacrebleu
import tiny
import torch
from fairseq.sequence_generator import SequenceGenerator

from fairseq_intra.runs.generation import NbestEntry
from fairseq_intra.runs.length_penalty import GRID, best_of, choose

REFERENCE = [target for _, target in corpus.sentences(6, 3)]


@pytest.mark.parametrize("spread", [0.2, 0.4, 0.6])
def test_the_best_of_a_list_is_what_fairseq_finds_with_that_penalty(spread):
    """Its search does not depend on the penalty: one list of a beam's worth serves all of them."""
    task = tiny.translation_task()
    torch.manual_seed(3)
    model = tiny.model(task).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    sample = tiny.sample(task)

    def generated(lenpen):
        generator = SequenceGenerator([model], task.target_dictionary, beam_size=5, len_penalty=lenpen, max_len_b=30)
        return generator.generate([model], sample)

    lists = [
        [NbestEntry(str(one["tokens"].tolist()), float(one["score"]), len(one["tokens"])) for one in hypotheses]
        for hypotheses in generated(1.0)
    ]
    found = {}
    for lenpen in (0.0, *GRID, 3.0):
        found[lenpen] = [best.text for best in best_of(lists, lenpen)]
        assert found[lenpen] == [str(hypotheses[0]["tokens"].tolist()) for hypotheses in generated(lenpen)]
    assert found[0.0] != found[3.0]


def lists(best_at):
    """Of every sentence the reference, which is best from a penalty on, and a shorter one, which is best below."""
    short = [" ".join(line.split()[:-2]) for line in REFERENCE]
    # -1 / 5 ** lenpen and that of the longer one, both as sums, are equal at best_at.
    equal = (7 / 5) ** best_at
    return [[NbestEntry(a, -1 / 5, 5), NbestEntry(b, -equal / 7, 7)] for a, b in zip(short, REFERENCE, strict=True)]


@pytest.mark.parametrize(("best_at", "chosen"), [(1.25, 1.3), (0.65, 1.0), (9.0, 1.0)])
def test_the_penalty_with_the_highest_bleu_and_of_equals_the_default(best_at, chosen):
    found = choose(lists(best_at), REFERENCE, "valid", "13a")
    texts = [[best.text for best in best_of(lists(best_at), lenpen)] for lenpen in found["grid"]]
    scores = [sacrebleu.corpus_bleu(hypotheses, [REFERENCE]).score for hypotheses in texts]
    assert found["bleu"] == [round(score, 2) for score in scores] and found["grid"] == list(GRID)
    assert found["chosen"] == chosen and found["split"] == "valid"
