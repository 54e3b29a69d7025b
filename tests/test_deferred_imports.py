"""What a process that imports the package before fairseq does not import, and what works all the same."""

import subprocess
import sys

import commands
import corpus

from fairseq_intra.runs.workers import gpu_count

SCORES = """
import gc, sys, fairseq_intra
collections = []
gc.callbacks.append(lambda *_: collections.append(True))
import torch, fairseq
assert gc.isenabled() and len(collections) < 20
import fairseq_cli.train
assert not {"sklearn", "scipy.stats", "seqeval"} & set(sys.modules)
import numpy as np
from fairseq.criterions import sentence_prediction as scores
from fairseq.tasks import audio_classification
gold, found = np.array([1, 0, 1, 1]), np.array([1, 0, 0, 1])
print(scores.acc_and_f1(found, gold)["f1"], scores.matthews_corrcoef(found, gold))
print(scores.pearson_and_spearman(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0]))["corr"])
curve = getattr(audio_classification, "sklearn_metrics", None)
print(curve is None or curve.roc_auc_score(gold, found))
import sklearn, scipy.stats
assert isinstance(scipy.stats.norm.cdf(0), float) and sklearn.__version__
"""


def test_scores_of_classification_import_what_they_need_when_they_are_computed():
    done = subprocess.run(
        [sys.executable, "-c", SCORES], env=corpus.environment(), capture_output=True, encoding="utf-8", timeout=300
    )
    assert done.returncode == 0, done.stderr
    # 2 of 3 ones found, none in vain: F1 = 2 / 2.5; phi = (2 * 1 - 0 * 1) / sqrt(3 * 1 * 2 * 2); AUC = (2/3 + 1) / 2.
    f1, phi, corr, area = done.stdout.split()
    assert [round(float(value), 6) for value in (f1, phi, corr)] == [0.8, 0.57735, 1.0]
    assert area == "True" or round(float(area), 6) == 0.833333


COMPILER = """
import sys, fairseq_intra, torch
from argparse import Namespace
from fairseq.optim.adam import FairseqAdam

def trained(run):
    weight = torch.nn.Parameter(torch.ones(3))
    flags = {"lr": [0.1], "adam_betas": "(0.9, 0.98)", "adam_eps": 1e-8, "weight_decay": 0.0}
    optimizer = FairseqAdam(Namespace(**flags, use_old_adam=True, fp16_adam_stats=False), [weight])

    def update():
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()

    for _ in range(2):
        run(update)
    optimizer.load_state_dict(optimizer.state_dict())
    return weight

plain = trained(lambda update: update())
assert "torch._dynamo" not in sys.modules
assert torch.equal(plain, trained(lambda update: torch.compile(update, backend="eager")()))
assert "torch._dynamo" in sys.modules
"""


def test_training_imports_torchs_compiler_only_where_something_is_compiled():
    done = subprocess.run([sys.executable, "-c", COMPILER], capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_launcher_is_fairseqs_command_without_the_current_folder(tmp_path):
    """A download that is called as a module must not run."""
    (tmp_path / "sacremoses.py").write_text("raise SystemExit('ran')")
    (tmp_path / "torch.py").write_text("raise SystemExit('ran')")
    command = [sys.executable, "-m", "fairseq_intra.run_fairseq", "train", "--user-dir", commands.PLUGIN, tmp_path]
    flags = ["--task", "translation_intra_distillation", "--arch", "transformer_iwslt_de_en", "--max-tokens", "9"]
    done = subprocess.run(
        [*map(str, command), *flags],
        cwd=tmp_path,
        env=corpus.environment(PYTHONPATH=str(corpus.CHECKOUT)),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 1 and done.stderr.strip() != "ran"
    assert done.stderr.endswith(f"data {tmp_path} holds no binarised text: no dict.LANGUAGE.txt\n"), done.stderr


def test_the_launcher_knows_fairseqs_commands_alone():
    done = subprocess.run(
        [sys.executable, "-m", "fairseq_intra.run_fairseq", "score"], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 1 and done.stderr.startswith("usage: python -m fairseq_intra.run_fairseq {generate,")


def test_where_no_gpu_is_visible_torch_is_not_imported_to_count_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpu_count() == 0


def test_a_spawned_worker_logs_in_the_format_of_train_log():
    """multiprocessing imports the main module of its parent under this name, and then what a worker runs."""
    code = "import runpy, logging; runpy.run_module('fairseq_intra.run_fairseq', run_name='__mp_main__'); "
    code += "import fairseq.models; logging.getLogger('train_inner').info('update')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip().endswith(" | INFO | train_inner | update")
