"""The distillation loss against the definition by autograd, in float64."""

import loss_oracle
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq_intra.loss import closed_form
from fairseq_intra.loss.distillation import Teacher, distillation_loss

OPTIONS = {"weight": 0.3, "temperature": 2.0, "label_smoothing": 0.1}


def compare(logits, target, teacher_logits, upstream=1.0, **options):
    """Values and gradient, in any dtype, against those of the oracle in float64."""
    exact = logits.detach().double().requires_grad_()
    expected = loss_oracle.distillation_oracle(exact, target, teacher_logits.double(), **options)
    (upstream * expected[0]).backward()
    found = distillation_loss(logits, target, Teacher(teacher_logits), **options)
    assert [part.requires_grad for part in found] == [True, False, False]
    (upstream * found.loss).backward()
    tolerance, of_gradient = loss_oracle.TOLERANCE[logits.dtype]
    for name, ours, theirs in zip(found._fields, found, expected, strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=tolerance, abs=tolerance), name
        assert ours.dtype == torch.promote_types(logits.dtype, torch.float32)
    size = max([upstream, *exact.grad.abs().flatten().tolist()])
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=of_gradient, atol=of_gradient * size)


def make(positions, vocab, dtype=torch.float64, scale=2.0):
    """Logits that want a gradient, targets, logits of a teacher."""
    logits, target = loss_oracle.make(1, positions, vocab, dtype, scale)
    teacher, _ = loss_oracle.make(1, positions, vocab, dtype, scale, seed=1)
    return logits, target, teacher.detach()


@settings(deadline=None, max_examples=120, derandomize=True)
@given(
    positions=st.integers(0, 7),
    vocab=st.sampled_from([2, 3, 11, 40]),
    dtype=st.sampled_from(list(loss_oracle.TOLERANCE)),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    temperature=st.sampled_from([1.0, 0.5, 4.0]),
    label_smoothing=st.sampled_from([0.0, 0.1]),
    chunk=loss_oracle.CHUNKS,
)
def test_equals_the_definition(positions, vocab, dtype, chunk, **options):
    with loss_oracle.chunk_size(chunk):
        compare(*make(positions, vocab, dtype), upstream=3.0, **options)


def test_no_position_at_all():
    logits, target, teacher = make(0, 5)
    found = distillation_loss(logits, target, Teacher(teacher), **OPTIONS)
    found.loss.backward()
    assert [value.item() for value in found] == [0, 0, 0] and logits.grad.shape == (1, 0, 5)


def test_chunks_do_not_matter_and_no_temporary_is_larger(monkeypatch):
    logits, target, teacher = make(20, 9)
    features, weight, bias = torch.randn(1, 20, 4).double(), torch.randn(9, 4).double(), torch.randn(9).double()
    projected = []
    made = Teacher.logits
    monkeypatch.setattr(Teacher, "logits", lambda self, chunk: projected.append(made(self, chunk)) or projected[-1])
    monkeypatch.setattr(closed_form, "CHUNK_SIZE", {"cpu": 3 * 9})
    compare(logits, target, teacher, **OPTIONS)
    assert {rows.size(1) for rows in projected} == {3, 2}
    # The teacher's features make the same logits, chunk by chunk.
    whole = F.linear(features, weight, bias)
    results, gradients = [], []
    for one in (Teacher(whole), Teacher(features, weight, bias)):
        student = logits.detach().clone().requires_grad_()
        results.append(distillation_loss(student, target, one, **OPTIONS))
        results[-1].loss.backward()
        gradients.append(student.grad)
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_gradcheck():
    logits, target, teacher = make(3, 5)
    for options in (OPTIONS, OPTIONS | {"weight": 1.0, "temperature": 1.0}):
        assert torch.autograd.gradcheck(
            lambda z, options=options: distillation_loss(z, target, Teacher(teacher), **options).loss, logits
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_extreme_logits(dtype, temperature):
    compare(*make(6, 8, dtype, scale=1e4), **(OPTIONS | {"temperature": temperature}))


def test_a_student_that_is_its_teacher_is_at_no_distance():
    logits, target, _ = make(6, 8, torch.float32, scale=1e4)
    for temperature in (1.0, 3.0):
        options = {"weight": 1.0, "temperature": temperature, "label_smoothing": 0.1}
        found = distillation_loss(logits, target, Teacher(logits.detach()), **options)
        (gradient,) = torch.autograd.grad(found.loss, logits)
        assert found.loss.item() == found.distillation.item() == 0 and not gradient.any()


def test_by_hand():
    """V = 2, T = 1: p = 1/2 each, q = (3/4, 1/4), so that KL = log 2 - H(q)."""
    logits = torch.zeros(1, 1, 2, requires_grad=True)
    teacher = Teacher(torch.tensor([[[3.0, 1.0]]]).log())
    found = distillation_loss(logits, torch.tensor([1]), teacher, weight=0.25, temperature=1.0, label_smoothing=0.0)
    found.loss.backward()
    assert found.nll.item() == pytest.approx(0.693147, abs=1e-6)
    assert found.distillation.item() == pytest.approx(0.130812, abs=1e-6)
    assert found.loss.item() == pytest.approx(0.75 * 0.693147 + 0.25 * 0.130812, abs=1e-6)
    # 3/4 (p - 1_t) + 1/4 (p - q)
    assert logits.grad.flatten().tolist() == pytest.approx([0.75 * 0.5 - 0.25 * 0.25, -0.75 * 0.5 + 0.25 * 0.25])


def test_small_gradients_survive_fp16_with_the_loss_scale():
    logits, target, teacher = make(4, 6, torch.float16)
    scale, upstream = 2.0**14, 2.0**-14
    compare(logits, target, teacher, upstream=scale * upstream, **OPTIONS)
    small = logits.detach().clone().requires_grad_()
    (distillation_loss(small, target, Teacher(teacher), **OPTIONS).loss * 1e-6 * scale).backward()
    torch.testing.assert_close(small.grad.float(), logits.grad.float() * 1e-6 * scale, rtol=2e-3, atol=1e-6)


def test_the_gradient_may_take_the_logits_place():
    logits, target, teacher = make(3, 5)
    (expected,) = torch.autograd.grad(distillation_loss(logits, target, Teacher(teacher), **OPTIONS).loss, logits)
    given = logits.clone()
    loss = distillation_loss(given, target, Teacher(teacher), overwrite_logits=True, **OPTIONS).loss
    (found,) = torch.autograd.grad(loss, given, retain_graph=True)
    assert found.data_ptr() == given.data_ptr() and torch.equal(found, expected)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("outputs", "weight", "message"),
    [
        ((1, 1, 7), None, r"teacher's outputs \[1, N, ...\] expected, not .* \[1, 1, 7\]"),
        ((1, 4, 1), None, "the teacher has 1 types, and the student 7"),
        ((1, 4, 3), (6, 3), "the teacher has 6 types, and the student 7"),
    ],
)
def test_a_teacher_of_other_shapes_is_rejected_not_broadcast(outputs, weight, message):
    teacher = Teacher(torch.zeros(outputs), None if weight is None else torch.zeros(weight))
    settings = {"weight": 0.5, "temperature": 1.0, "label_smoothing": 0.1}
    with pytest.raises(ValueError, match=message):
        distillation_loss(torch.zeros(1, 4, 7), torch.zeros(4, dtype=torch.long), teacher, **settings)
