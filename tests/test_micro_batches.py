import contextlib
import itertools
from collections import Counter

import pytest
import tiny
import torch

from fairseq_intra.errors import UsageError
from fairseq_intra.task import joined_results, micro_batches, part_of

SENTENCES = tiny.SENTENCES + [([5, 6], [7, 8, 9, 10]), ([11, 4, 5], [6])]


@pytest.fixture
def task():
    return tiny.translation_task()


@pytest.mark.parametrize("parts,sizes", [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (5, [1] * 5), (9, [1] * 5)])
def test_parts_are_the_batch_in_its_order(task, parts, sizes):
    sample = tiny.sample(task, SENTENCES)
    pad = task.target_dictionary.pad()
    found = micro_batches(sample, parts, pad)
    assert [part["nsentences"] for part in found] == [len(part["target"]) for part in found] == sizes
    assert sum(part["ntokens"] for part in found) == sample["ntokens"]
    for name in ("id", "target"):
        assert torch.equal(torch.cat([part[name] for part in found]), sample[name])
    given = sample["net_input"]
    for name in ("src_lengths", "prev_output_tokens"):
        assert torch.equal(torch.cat([part["net_input"][name] for part in found]), given[name])
    sources = [[row[row.ne(pad)].tolist() for row in part["net_input"]["src_tokens"]] for part in found]
    assert sum(sources, []) == [row[row.ne(pad)].tolist() for row in given["src_tokens"]]
    if parts > 1:
        # The longest source fills its mini-batch, as fairseq's LSTM wants it.
        widths = [part["net_input"]["src_tokens"].shape[1] for part in found]
        assert widths == [part["net_input"]["src_lengths"].max() for part in found] and len(set(widths)) > 1


@pytest.mark.parametrize("number", [2, 3, 5, 9])
def test_a_part_is_one_in_so_many_sentences_in_their_order(task, number):
    sample, pad = tiny.sample(task, SENTENCES), task.target_dictionary.pad()
    for part in (part_of(sample, number, update, pad) for update in range(9)):
        assert part["nsentences"] in (len(SENTENCES) // number, -(-len(SENTENCES) // number), 1)
        rows = [sample["id"].tolist().index(number) for number in part["id"].tolist()]
        assert {later - row for row, later in itertools.pairwise(rows)} <= {number}
        assert torch.equal(part["target"], sample["target"][rows])
        assert part["ntokens"] == sample["target"][rows].ne(pad).sum()
    assert part_of(sample, 1, 4, 0) is sample


@pytest.mark.parametrize("number", [2, 3, 9])
@pytest.mark.parametrize("interval", [1, 2, 3, 9, 11])
def test_at_whatever_interval_a_mini_batch_comes_all_its_sentences_are_taken_alike(task, number, interval):
    sample, pad = tiny.sample(task, SENTENCES), task.target_dictionary.pad()
    parts = [part_of(sample, number, interval * count, pad) for count in range(600)]
    taken = Counter(sentence for part in parts for sentence in part["id"].tolist())
    share = 600 / min(number, len(SENTENCES))
    assert all(0.75 * share < taken[sentence] < 1.25 * share for sentence in sample["id"].tolist())


def test_results_are_added_up():
    one = (torch.tensor(2.0), 3, {"loss": torch.tensor(2.0), "ntokens": 3, "alpha": 15.0})
    two = (torch.tensor(1.0), 4, {"loss": torch.tensor(1.0), "ntokens": 4, "alpha": 20.0})
    loss, sample_size, logged = joined_results([one, two])
    assert (loss, sample_size) == (3, 7)
    assert logged == {"loss": 3, "ntokens": 7, "alpha": 35}


class Syncing(torch.nn.Module):
    """A model as distributed training wraps it, that remembers which calls are to synchronise gradients."""

    def __init__(self, module):
        super().__init__()
        self.module, self.synced, self.sync = module, [], True

    def forward(self, **net_input):
        self.synced.append(self.sync)
        return self.module(**net_input)

    def set_num_updates(self, num_updates):
        self.module.set_num_updates(num_updates)

    def get_targets(self, sample, net_output):
        return self.module.get_targets(sample, net_output)

    @contextlib.contextmanager
    def no_sync(self):
        self.sync = False
        yield
        self.sync = True


@pytest.mark.parametrize("arch", ["transformer", "lstm"])
@pytest.mark.parametrize("passes", ["batched", "recompute"])
@pytest.mark.parametrize("ignore_grad", [False, True])
def test_gradients_and_log_are_those_of_the_whole_batch(make_task, arch, passes, ignore_grad):
    found = []
    for parts in (1, 2, 5):
        task, criterion = make_task(split_batch=parts, passes=passes)
        model = Syncing(tiny.model(task, arch))
        # The longest first, as fairseq's loader has them.
        sample = tiny.sample(task, sorted(SENTENCES, key=lambda pair: -len(pair[0])))
        result = task.train_step(sample, model, criterion, tiny.Optimizer(), 3, ignore_grad)
        calls = 1 if passes == "batched" else 3
        assert model.synced == [False] * calls * (parts - 1) + [True] * calls
        found.append((*result, tiny.gradients(model)))
    for other in found[1:]:
        torch.testing.assert_close(other[0].detach(), found[0][0].detach())
        assert other[1] == found[0][1] and other[2].keys() == found[0][2].keys()
        for name in other[2]:
            torch.testing.assert_close(float(other[2][name]), float(found[0][2][name]), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(other[3], found[0][3], rtol=1e-4, atol=1e-5)


@pytest.fixture
def make_task():
    """(task, criterion) with some values of the task's configuration."""
    from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterionConfig
    from omegaconf import OmegaConf

    from fairseq_intra.task import TranslationIntraDistillationConfig, TranslationIntraDistillationTask

    def make(**values):
        cfg = OmegaConf.structured(TranslationIntraDistillationConfig(max_update=10, **values))
        task = TranslationIntraDistillationTask(cfg, tiny.dictionary(), tiny.dictionary())
        plain = OmegaConf.structured(LabelSmoothedCrossEntropyCriterionConfig(label_smoothing=0.1))
        OmegaConf.set_struct(plain, False)
        plain._name, plain.sentence_avg = "label_smoothed_cross_entropy", False
        return task, task.build_criterion(plain)

    return make


def test_an_update_of_intra_distillation_takes_its_part_and_a_plain_one_all(make_task):
    """Its loss and gradients are those of a mini-batch of these sentences."""
    task, criterion = make_task(distill_part=2, plain_updates=3)
    sample, pad = tiny.sample(task, SENTENCES), task.target_dictionary.pad()
    for update, number in ((2, 1), (3, 2), (4, 2), (5, 2)):
        taken = part_of(sample, number, update, pad)["id"]
        model = tiny.model(task, dropout=0.0)
        _, size, logged = task.train_step(sample, model, criterion, tiny.Optimizer(), update)
        kept = {name: sample[name][taken] for name in ("id", "target")}
        net_input = {name: value[taken] for name, value in sample["net_input"].items()}
        tokens = int(kept["target"].ne(pad).sum())
        assert size == logged["ntokens"] == tokens and logged["nsentences"] == len(kept["target"])
        expected = tiny.model(task, dropout=0.0)
        whole = {**kept, "net_input": net_input, "nsentences": len(kept["target"]), "ntokens": tokens}
        criterion.intra_distillation.is_plain = update < 3
        criterion(expected, whole)[0].backward()
        torch.testing.assert_close(tiny.gradients(model), tiny.gradients(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["split_batch", "distill_part"])
def test_parts_are_counted_from_one(make_task, name):
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} must be at least 1, not 0"):
        make_task(**{name: 0})


def test_sharded_parameters_and_micro_batches_exclude_each_other(make_task, monkeypatch):
    monkeypatch.setattr("fairseq_intra.task.FullyShardedDataParallel", Syncing)
    for parts, refused in ((1, contextlib.nullcontext()), (2, pytest.raises(UsageError, match="use --update-freq"))):
        task, criterion = make_task(split_batch=parts)
        with refused:
            task.train_step(tiny.sample(task), Syncing(tiny.model(task)), criterion, tiny.Optimizer(), 0)
