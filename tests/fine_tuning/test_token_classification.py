"""Token classification: subwords and labels, the task's mini-batches, the criteria, entities."""

import json
import logging

import pytest
import seqeval.metrics
import tagged
import tiny
import torch
import torch.nn.functional as F
from fairseq.data import Dictionary

from fairseq_intra.data.encoder_subwords import Gpt2, SentencePiece, segmenter_of
from fairseq_intra.data.encoder_text import EncoderText
from fairseq_intra.errors import UsageError
from fairseq_intra.fine_tuning.entities import count_entities
from fairseq_intra.fine_tuning.positionwise import head_input
from fairseq_intra.fine_tuning.token_classification_criterion import (
    IntraDistillationTokenClassificationCriterion,
    TokenClassificationCriterion,
    by_sentence,
)
from fairseq_intra.loss.definitions import reference_loss
from fairseq_intra.transfer.conll import Sentence
from fairseq_intra.transfer.tagged_text import binarise, encode, read_splits

HEAD = tagged.TokenClassificationIntraDistillationTask.HEAD
DROPOUT = {"dropout": 0.3, "attention_dropout": 0.3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    tagged.write_encoder(folder)
    return folder


def test_the_first_subword_of_a_word_has_its_label(encoder):
    words, (_, labels) = ["Bakemo", "\u200b", "ß", "dilanabo"], tagged.dictionaries()
    segmenter, dictionary = segmenter_of(encoder), Dictionary.load(str(encoder / "dict.txt"))
    tokens, tags = encode(Sentence(words, ["B-LOC", "I-LOC", "O", "B-LOC"]), labels, segmenter, dictionary)
    subwords = segmenter.encode_words(words)
    assert len(tokens) == len(tags) == sum(map(len, subwords)) + 1
    first = [sum(map(len, subwords[:number])) for number in range(4)]
    assert {n: labels[tag] for n, tag in enumerate(tags.tolist()) if tag != labels.pad()} == dict(
        zip(first, ["B-LOC", "I-LOC", "O", "B-LOC"], strict=True)
    )
    assert [len(subword) for subword in subwords][0] > 1 and dictionary[tokens[0]] == subwords[0][0]
    # A word that the model's normalisation takes away still has its place.
    assert subwords[1] == ["<unk>"] and tokens[first[1]] == dictionary.unk()
    assert tokens[-1] == dictionary.eos()


def test_words_one_by_one_are_cut_as_their_text_is(encoder):
    segmenter = SentencePiece(encoder / "sentencepiece.bpe.model")
    words = "Bakemo dilanabo , ß (nikomela)!".split()
    assert sum(segmenter.encode_words(words), []) == segmenter.encode(" ".join(words))


def test_byte_pairs_of_gpt2(tmp_path):
    """A vocabulary made by hand: Ġ stands for the space before a word."""
    symbols = ["a", "b", "Ġ", "ab", "Ġab", "Ã", "Ł"]
    (tmp_path / "encoder.json").write_text(json.dumps({symbol: n for n, symbol in enumerate(symbols)}))
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b\nĠ ab\n", encoding="utf-8")
    segmenter = segmenter_of(tmp_path)
    assert isinstance(segmenter, Gpt2)
    assert segmenter.encode_words(["ab", "abb", "ß"]) == [["3"], ["4", "1"], ["2", "5", "6"]]
    assert sum(segmenter.encode_words(["ab", "abb"]), []) == segmenter.encode("ab abb")


def test_an_encoder_without_subwords_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="holds no sentencepiece.bpe.model"):
        segmenter_of(tmp_path)


def test_a_tag_that_train_lacks_is_rejected(tmp_path):
    (tmp_path / "train").write_text("a\tB-PER\nb\tO\n")
    (tmp_path / "test").write_text("a\tB-LOC\n")
    with pytest.raises(UsageError, match="test has the tag B-LOC, which is not in .*train"):
        read_splits({"train": tmp_path / "train", "test.de": tmp_path / "test"})


def test_data_comes_out_as_it_went_in_and_long_sentences_are_cut(encoder, tmp_path, caplog):
    sentences = [Sentence(["Bakemo", "la"], ["B-LOC", "I-LOC"]), Sentence(["mo"] * 20, ["O"] * 19 + ["B-LOC"])]
    _, labels = tagged.dictionaries()
    counts = binarise(
        {"valid": sentences}, labels, EncoderText(encoder), Dictionary.load(str(encoder / "dict.txt")), tmp_path
    )
    assert counts["valid"]["sentences"] == 2 and counts["valid"]["words"] == 22
    settings = {"data": str(tmp_path), "max_positions": 16}
    task = tagged.TokenClassificationIntraDistillationTask.setup_task(tagged.task(**settings).cfg)
    assert task.labels == ["B-LOC", "I-LOC", "O"]
    with caplog.at_level(logging.WARNING):
        dataset = task.load_dataset("valid")
    assert "valid: 1 of 2 sentences have more than --max-positions 16 subwords and are truncated" in caplog.text
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["net_input"]["src_tokens"].shape == batch["target"].shape == (2, 16)
    assert batch["net_input"]["src_tokens"][:, 0].tolist() == [task.dictionary.bos()] * 2
    keep = batch["target"].ne(task.IGNORE)
    rows = dict(zip(batch["id"].tolist(), by_sentence(keep, batch["target"][keep]), strict=True))
    assert rows[0] == [0, 1] and set(rows[1]) == {2} and 1 < len(rows[1]) < 20
    # What is cut off counts in the evaluation.
    assert task.tags("valid") == [sentence.tags for sentence in sentences]


@pytest.mark.parametrize("there", [False, True])
def test_data_that_is_not_there_is_rejected(tmp_path, there):
    message = "holds no split valid" if there else "is not data of fairseq-intra prepare-transfer"
    for kind, dictionary in zip(("input0", "label"), tagged.dictionaries(), strict=True):
        if there:
            (tmp_path / kind).mkdir()
            dictionary.save(str(tmp_path / kind / "dict.txt"))
    with pytest.raises(UsageError, match=message):
        tagged.TokenClassificationIntraDistillationTask.setup_task(tagged.task(data=str(tmp_path)).cfg).load_dataset(
            "valid"
        )


@pytest.mark.parametrize("arch", ["transformer", "bart_base"])
def test_a_model_with_a_decoder_is_rejected(arch):
    """BART takes heads, as RoBERTa does."""
    task = "--task token_classification_intra_distillation"
    with pytest.raises(UsageError, match=f"{task} needs a RoBERTa model, such as --arch roberta_base"):
        tiny.model(tagged.task(), arch)


def test_plain_loss_is_cross_entropy_of_labelled_words():
    task = tagged.task()
    model, sample = tiny.roberta(task), tagged.sample()
    loss, size, log = TokenClassificationCriterion(task)(model, sample)
    logits = model(**head_input(sample, HEAD))[0].flatten(0, 1)
    assert size == 5 and log["nsentences"] == 3
    assert loss.item() == pytest.approx(
        F.cross_entropy(logits, sample["target"].flatten(), ignore_index=-1, reduction="sum").item()
    )


def test_one_pass_without_divergence_is_the_plain_criterion():
    task = tagged.task(head_dropout=0.3)
    model, sample = tiny.roberta(task, **DROPOUT), tagged.sample()
    found = []
    plain = TokenClassificationCriterion(task)
    for criterion in (plain, IntraDistillationTokenClassificationCriterion(task, num_iter=1, alpha=0.0)):
        model.zero_grad()
        with tiny.seeded(3):
            loss, size, _ = criterion(model, sample)
        loss.backward()
        found.append((loss.item(), size, {name: grad.clone() for name, grad in tiny.gradients(model).items()}))
    (loss, size, grads), (loss_1, size_1, grads_1) = found
    assert loss_1 == pytest.approx(loss, rel=1e-6) and size == size_1
    assert f"classification_heads.{HEAD}.dense.weight" in grads
    for name, grad in grads.items():
        torch.testing.assert_close(grads_1[name], grad)


@pytest.mark.parametrize("div", ["X", "JS"])
@pytest.mark.parametrize("passes", ["batched", "sequential"])
def test_loss_and_gradient_are_those_of_the_definition(div, passes):
    task = tagged.task(head_dropout=0.3)
    model, sample = tiny.roberta(task, **DROPOUT).double(), tagged.sample()
    criterion = IntraDistillationTokenClassificationCriterion(task, num_iter=3, alpha=2.0, div=div, passes=passes)
    with tiny.seeded(5):
        loss, size, log = criterion(model, sample)
    loss.backward()
    grads = {name: grad.clone() for name, grad in tiny.gradients(model).items()}
    model.zero_grad()
    keep = sample["target"].ne(-1)
    with tiny.seeded(5):
        if passes == "batched":
            copies = {name: value.repeat_interleave(3, 0) for name, value in sample["net_input"].items()}
            logits = model(**head_input({"net_input": copies}, HEAD))[0].unflatten(0, (3, 3)).transpose(0, 1)
        else:
            logits = torch.stack([model(**head_input(sample, HEAD))[0] for _ in range(3)])
    expected = reference_loss(
        logits[:, keep], sample["target"][keep], alpha=2.0, label_smoothing=0.0, divergence=div.lower()
    )
    expected[0].backward()
    assert loss.item() == pytest.approx(expected[0].item()) and size == 5
    assert log["intra_distillation_loss"].item() == pytest.approx(expected[2].item()) and expected[2] > 0
    for name, grad in tiny.gradients(model).items():
        torch.testing.assert_close(grads[name], grad)


def test_padding_changes_nothing():
    task = tagged.task()
    model, criterion = tiny.roberta(task), IntraDistillationTokenClassificationCriterion(task, num_iter=2)
    whole = criterion(model, tagged.sample(width=9))[0]
    alone = [
        criterion(model, tagged.sample([tokens], [target], len(tokens)))[0]
        for tokens, target in zip(tagged.TOKENS, tagged.TARGET, strict=True)
    ]
    assert whole.item() == pytest.approx(sum(alone).item(), rel=1e-5)


def test_alpha_follows_the_updates():
    task = tagged.task(adaptive_alpha=1, temperature_p=5, temperature_q=10)
    criterion = IntraDistillationTokenClassificationCriterion(task, alpha=4.0)
    task.max_alpha = criterion.intra_distillation.alpha
    assert [task.alpha_at(update) for update in (0, 10, 20)] == [0, pytest.approx(1), 4]


def test_validation_logs_what_seqeval_finds():
    task = tagged.task()
    model, sample = tiny.roberta(task).eval(), tagged.sample()
    log = TokenClassificationCriterion(task)(model, sample)[2]
    best = model(**head_input(sample, HEAD))[0].argmax(-1)
    keep = sample["target"].ne(-1)
    gold, predicted = (
        [[task.labels[n] for n in row] for row in by_sentence(keep, x[keep])] for x in (sample["target"], best)
    )
    assert gold == [["B-LOC", "I-LOC"], ["O", "O"], ["O"]]
    assert (log["correct"], log["predicted"], log["gold"]) == count_entities(gold, predicted) and log["gold"] == 1


def test_what_is_logged_are_means_a_word_and_the_f1_of_all_mini_batches():
    criterion = IntraDistillationTokenClassificationCriterion
    log = {"loss": 4.0, "ncorrect": 3, "sample_size": 5, "correct": 1, "predicted": 2, "gold": 3}
    more = {"loss": 2.0, "ncorrect": 5, "sample_size": 5, "correct": 3, "predicted": 3, "gold": 5}
    found = tiny.logged(criterion, log, more)
    # Of eight entities four are found, among five guesses.
    assert found == {"loss": 0.866, "accuracy": 80, "f1": 61.54}
    training = {"loss": 4.0, "task_loss": 3.0, "intra_distillation_loss": 1.0, "alpha": 15.0}
    training |= {"ncorrect": 3, "sample_size": 5}
    expected = {"loss": 1.154, "accuracy": 60, "task_loss": 0.8656, "intra_distillation_loss": 0.2885, "alpha": 3}
    assert tiny.logged(criterion, training) == expected


def test_f1_is_seqevals():
    """By hand: of four entities one is found, one of another type, one too long; and one is made up. F1 = 2/8."""
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O", "O"], ["B-ORG"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-LOC", "I-LOC", "B-PER"], ["O"]]
    counts = count_entities(gold, predicted)
    assert counts == (1, 4, 4) and counts.f1 == counts.precision == counts.recall == 0.25
    assert counts.f1 == seqeval.metrics.f1_score(gold, predicted)
    # An entity does not go on in the next sentence.
    assert count_entities([["O", "B-LOC"], ["I-LOC"]], [["O", "B-LOC"], ["I-LOC"]]) == (2, 2, 2)
    assert count_entities([["O"]], [["O"]]).f1 == 0
