"""fairseq_intra/patches/safe_loading.py and literals.py: what fairseq writes loads, and nothing runs code."""

import ast
import importlib
import io
import os
import re
import shutil
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path

import commands
import fairseq
import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import Dictionary, data_utils
from fairseq.data.codedataset import parse_manifest
from fairseq.data.fasta_dataset import FastaDataset
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.logging import meters
from omegaconf import OmegaConf

from fairseq_intra import checkpoint, patches
from fairseq_intra.errors import UsageError
from fairseq_intra.patches import compat, literals
from fairseq_intra.patches.literals import evaluate

#: What fairseq 0.12.2 registers in every encoder layer beside the layer's own weights.
COPIES = [f"{name}_{kind}" for name in ("in_proj", "out_proj", "fc1", "fc2") for kind in ("weight", "bias")]


class Command:
    """Unpickled, it runs a command that makes a file."""

    def __init__(self, made):
        self.made = made

    def __reduce__(self):
        return os.system, (f"touch '{self.made}'",)


def load(path):
    return checkpoint_utils.load_checkpoint_to_cpu(str(path))


def changed(trained, path, **more):
    """A checkpoint like the trained one, with more or other entries."""
    torch.save(load(trained.checkpoint) | more, path)
    return path


def code(made):
    """A string that makes a file where it is evaluated."""
    return f"[__import__('os').system('touch {made}')]"


@pytest.fixture(scope="module")
def attacks(trained, dataset, tmp_path_factory):
    """The files that a pickle and a string of code made, and what each of fairseq's commands says of them.

    As {(command, kind): (exit status, standard error)}. The environment has the variable that switches torch's
    protection off.
    """
    folder = tmp_path_factory.mktemp("attacks")
    (folder / "made").mkdir()
    data = shutil.copytree(dataset / "bin", folder / "data")
    shutil.copy(data / "dict.de.txt", data / "dict.txt")
    calls = {}
    for command in USES:
        for kind in ("pickle", "string"):
            run, made = folder / f"{command}-{kind}", folder / "made" / f"{command}-{kind}"
            run.mkdir()
            if kind == "pickle":
                path = changed(trained, run / "checkpoint_last.pt", extra=Command(made))
            else:
                cfg = load(trained.checkpoint)["cfg"]
                cfg.model.adaptive_softmax_cutoff = code(made)
                path = changed(trained, run / "checkpoint.pt", cfg=OmegaConf.to_container(cfg))
            calls[command, kind] = [data, "--user-dir", commands.PLUGIN, "--cpu", *USES[command](path)]
    unsafe = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    done = commands.at_once(
        *(
            lambda command=command, arguments=arguments: commands.run(command, *arguments, **unsafe)
            for (command, _), arguments in calls.items()
        )
    )
    results = [(ended.returncode, ended.stderr) for ended in done]
    return sorted((folder / "made").iterdir()), dict(zip(calls, results, strict=True))


#: How a command comes to load a checkpoint.
USES = {
    # From its own folder to resume, or as the teacher of another training.
    "train": lambda path: [
        *TRAIN,
        *["--save-dir", path.parent],
        *(["--teacher", path, "--criterion", "self_distillation"] if path.stem == "checkpoint" else []),
    ],
    "generate": lambda path: ["--path", path],
    "interactive": lambda path: ["--path", path],
    "validate": lambda path: ["--path", path, "--max-tokens", 500, "--task", "translation"],
    "eval_lm": lambda path: ["--path", path, "--task", "language_modeling", "--sample-break-mode", "eos"],
}
TRAIN = ["--arch", "transformer_iwslt_de_en", "--task", "translation", "--optimizer", "adam", "--num-workers", 0]
TRAIN += ["--criterion", "label_smoothed_cross_entropy", "--disable-validation", "--max-update", 30, *commands.TINY]


def test_code_in_a_checkpoint_runs_in_none_of_fairseqs_commands(attacks):
    made, _ = attacks
    assert made == []


def test_every_command_reports_in_one_line_what_it_rejects(attacks):
    for (command, kind), (status, error) in attacks[1].items():
        where = (command, kind, error[-2000:])
        assert status == 1 and "Traceback" not in error, where
        (line,) = [line for line in error.splitlines() if ": error: " in line]
        assert error.endswith(line + "\n"), where
        if kind == "pickle":
            assert (
                f"is rejected: it holds {os.system.__module__}.system, which is none of the types that are allowed"
                in line
            ), where
        else:
            assert re.search(r"adaptive_softmax_cutoff has the value .*which is rejected: only literals", line), where


def test_every_eval_of_fairseq_is_closed_or_has_a_reason():
    """A new version of fairseq may bring another."""
    root = Path(fairseq.__file__).parents[1]
    found = set()
    for path in [*(root / "fairseq").rglob("*.py"), *(root / "fairseq_cli").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if re.search(r"\b(eval|exec)\b", text):
            names = (getattr(node.func, "id", None) for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call))
            if {"eval", "exec"} & set(names):
                found.add(".".join(path.relative_to(root).with_suffix("").parts))
    assert len(found) > 10
    assert {name for name in found if not name.startswith(OPEN)} <= set(literals.MODULES)
    for name in found & set(literals.MODULES):
        assert importlib.import_module(name).eval is evaluate


def _parsed(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escape sequences in fairseq's strings
        return ast.parse(text)


#: Evaluate what is no part of a checkpoint, dictionary or manifest.
OPEN = (
    # The user's own --model-overrides.
    "fairseq_cli.validate",
    "fairseq_cli.eval_lm",
    # Programs of their own; no command of fairseq imports them, unless a user names one as --user-dir.
    "fairseq.examples.",
)


@pytest.mark.parametrize(
    "text",
    [
        "[(512, 3)] * 4",
        "[(512, 10, 5)] + 2 * [(512, 3, 2)]",
        "True",
        "(0.9, 0.98)",
        " -1e-3",
        "{'a': [1 // 2, 1 / 2]}",
    ],
)
def test_literals_and_arithmetic_are_evaluated(text):
    assert evaluate(text) == eval(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "().__class__",
        "open",
        "[n for n in (1, 2)]",
        "lambda: 1",
        "f'{1}'",
        "~1",
        "2 ** 9",
        "'%s' % 1",
        "{**{}}",
        "{[]: 1}",
        "",
        "1 / 0",
        "[1] + 1",
        "a\0b",
        "[[0] * 1000] * 1000",
        "'a' * 1000000000",
        "[" * 300,
        "1+" * 20000 + "1",
        "-" * 50000 + "1",
        "9" * 5000,
        " " * 100001,
    ],
    ids=lambda text: text[:12],
)
def test_anything_else_is_rejected_in_one_line(text):
    with pytest.raises(UsageError, match="only literals and arithmetic are evaluated") as rejection:
        evaluate(text)
    assert "\n" not in str(rejection.value) and len(str(rejection.value)) < 300


def test_the_field_that_holds_a_rejected_value_is_named():
    args = Namespace(one="1", encoder_layers="exit()")
    assert utils.eval_str_list(args.one, type=int) == [1]
    with pytest.raises(UsageError, match=r"error: encoder_layers has the value 'exit\(\)', which is rejected"):
        utils.eval_str_list(args.encoder_layers)


def test_a_manifest_that_runs_code_is_rejected(tmp_path):
    (tmp_path / "manifest").write_text(code(tmp_path / "made") + "\n")
    with pytest.raises(UsageError, match="a configuration or manifest has the value .*system.* which is rejected"):
        parse_manifest(tmp_path / "manifest", None)
    assert not (tmp_path / "made").exists()


def test_a_flag_that_is_already_a_boolean_has_its_default():
    """fairseq's eval_bool counts on eval's TypeError."""
    assert utils.eval_bool("True") is True and utils.eval_bool(True, default="as before") == "as before"


def test_what_a_configuration_names_is_neither_imported_nor_opened(trained, dataset, tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(f"open({str(tmp_path / 'made')!r}, 'w')")
    cfg = OmegaConf.to_container(load(trained.checkpoint)["cfg"])
    cfg["common"]["user_dir"] = str(tmp_path / "evil")
    cfg["task"]["data"] = str(tmp_path / "elsewhere")
    vars(cfg["model"])["_target_"] = "os.system"
    cfg["bpe"] = {"_name": "sentencepiece", "sentencepiece_model": str(tmp_path / "elsewhere")}
    cfg["tokenizer"] = {"_name": "moses", "source_lang": "${oc.env:HOME}"}
    path = changed(trained, tmp_path / "names.pt", cfg=cfg)
    assert checkpoint.build(path, dataset / "bin").training.num_updates == 20
    assert not (tmp_path / "made").exists()


def test_a_file_name_does_not_reach_a_shell(tmp_path):
    (tmp_path / "x;touch made;.fasta").write_text(">a\nAC\n")
    with pytest.raises(
        UsageError, match=r"x;touch made;\.fasta' is rejected: fairseq would pass the name to a shell"
    ):
        FastaDataset(str(tmp_path / "x;touch made;"))


def test_what_a_worker_receives_loads_safely(tmp_path, monkeypatch):
    """The trainer sends a checkpoint to the other workers when it resumes."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    stream = io.BytesIO()
    torch.save(Command(tmp_path / "made"), stream)
    sent = iter([torch.tensor([len(stream.getvalue())]), torch.frombuffer(stream.getbuffer(), dtype=torch.uint8)])
    monkeypatch.setattr(distributed_utils, "get_rank", lambda group: 1)
    monkeypatch.setattr(distributed_utils, "broadcast", lambda tensor, src, group: tensor.copy_(next(sent)))
    with pytest.raises(Exception, match="weights_only|Weights only"):
        distributed_utils._broadcast_object_slow(None, 0, None, torch.device("cpu"))
    assert not (tmp_path / "made").exists()


def test_a_truncated_checkpoint_is_reported(trained, tmp_path):
    truncated = tmp_path / "truncated.pt"
    content = trained.checkpoint.read_bytes()
    for size in (0, 1000, len(content) // 2, len(content) - 1):
        truncated.write_bytes(content[:size])
        with pytest.raises(UsageError, match=rf"checkpoint {truncated} cannot be read: .+") as rejection:
            load(truncated)
        assert "\n" not in str(rejection.value)


@pytest.mark.parametrize("content", [{"weights": torch.zeros(2)}, torch.zeros(2), [1, 2], "text", "words"])
def test_what_is_no_checkpoint_is_reported(content, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    if isinstance(content, str):
        path.write_text(content)
    with pytest.raises(UsageError, match=rf"checkpoint {path} (cannot be read|is rejected): .+") as rejection:
        load(path)
    assert "\n" not in str(rejection.value) and "weights_only" not in str(rejection.value)


@pytest.mark.parametrize("package", ["fairseq.logging.meters", "fairseq.meters"])
def test_what_fairseq_itself_keeps_is_loaded(package, trained, tmp_path, monkeypatch):
    """Meters, in its first versions under another name; dictionaries, in the state of some tasks."""
    meter = meters.AverageMeter()
    meter.update(3)
    monkeypatch.setattr(meters.AverageMeter, "__module__", package)
    kept = {"train_meters": {"loss": meter}}
    path = changed(trained, tmp_path / "old.pt", extra_state=kept, task_state={"labels": Dictionary()})
    monkeypatch.undo()
    state = load(path)
    assert state["extra_state"]["train_meters"]["loss"].avg == 3 and len(state["task_state"]["labels"]) == 4


def test_a_run_killed_while_a_checkpoint_is_copied_leaves_the_one_before(tmp_path, monkeypatch):
    new, last = tmp_path / "checkpoint_1_20.pt", tmp_path / "checkpoint_last.pt"
    new.write_text("after twenty updates")
    last.write_text("after ten")

    def killed(source, target):
        Path(target).write_text("after tw")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("shutil.copyfile", killed)
        PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_text() == "after ten"
    assert PathManager.copy(str(new), str(last), overwrite=True)
    assert last.read_text() == "after twenty updates"


def test_numpy_values_load_under_the_names_of_either_numpy(trained, tmp_path):
    values = {"array": np.arange(3), "float": np.float64(0.5), "small": np.float32(0.5), "int": np.int64(7)}
    new = changed(trained, tmp_path / "new.pt", values=values)
    old = tmp_path / "old.pt"
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert content.count(b"numpy._core.multiarray\n") >= 2
                content = content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
            target.writestr(entry, content)
    for path in (new, old):
        loaded = load(path)["values"]
        assert loaded["array"].tolist() == [0, 1, 2]
        assert (loaded["float"], loaded["small"], loaded["int"]) == (0.5, 0.5, 7)


def test_validation_with_bleu_put_arrays_into_the_checkpoint(models):
    """Else the tests that load it would prove nothing."""
    content = zipfile.ZipFile(models["published"].checkpoint)
    (pickled,) = [content.read(name) for name in content.namelist() if name.endswith("data.pkl")]
    assert re.search(rb"numpy\._?core\.multiarray\n_reconstruct\n", pickled)


@pytest.mark.parametrize("vector", [True, False])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_no_sentence_is_left_out_of_the_mini_batches(count, multiple, vector):
    sizes = np.arange(5, 5 + count)
    order = np.random.default_rng(count).permutation(count)
    given = {"num_tokens_vec": sizes[order]} if vector else {}
    for max_tokens in (100, 100000):
        batches = data_utils.batch_by_size(
            order, lambda i: sizes[i], max_tokens=max_tokens, required_batch_size_multiple=multiple, **given
        )
        assert np.concatenate(batches).tolist() == order.tolist()
        assert all(len(batch) > 0 and len(batch) * sizes[batch].max() <= max_tokens for batch in batches)


def test_the_copies_that_fairseq_0_12_2_writes_are_dropped_and_nothing_else(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(compat, "_has_fast_path", lambda: True)
    everything = load(trained.checkpoint)["model"]
    copies = {f"encoder.layers.{layer}.{name}" for layer in (0, 11) for name in COPIES}
    own = set(everything) - copies
    model = everything | {name: torch.zeros(1) for name in copies}
    path = changed(trained, tmp_path / "old.pt", model=model)
    assert set(load(path)["model"]) == own | copies
    monkeypatch.setattr(compat, "_has_fast_path", lambda: False)
    assert set(load(path)["model"]) == own
    assert {"encoder.layers.0.fc1.weight", "encoder.layers.0.self_attn.out_proj.weight"} <= own


def test_the_fast_path_is_found_where_fairseq_has_one(trained):
    written = torch.load(trained.checkpoint, weights_only=True)["model"]
    assert compat._has_fast_path() == ("encoder.layers.0.in_proj_weight" in written)


def test_applying_it_again_changes_nothing(trained):
    before = checkpoint_utils.load_checkpoint_to_cpu
    patches.apply()
    assert checkpoint_utils.load_checkpoint_to_cpu is before
    assert "model" in load(trained.checkpoint)
