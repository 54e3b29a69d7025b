"""fairseq_intra/patches/safe_loading.py: what fairseq writes loads, with torch's protection on; nothing else does."""

import os
import re
import zipfile
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data import data_utils
from fairseq.file_io import PathManager

from fairseq_intra import patches
from fairseq_intra.errors import UsageError
from fairseq_intra.patches import compat

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


@pytest.fixture
def evil(trained, tmp_path):
    (tmp_path / "run").mkdir()
    return changed(trained, tmp_path / "run" / "checkpoint_last.pt", extra=Command(tmp_path / "made"))


def test_another_global_ends_every_command_with_a_line_that_names_it(evil, dataset, schedule, tmp_path):
    generate = ["generate", dataset / "bin", "--user-dir", commands.PLUGIN, "--cpu", "--path", evil]
    resume = ["train", dataset / "bin", "--user-dir", commands.PLUGIN, "--cpu", *schedule, "--save-dir", evil.parent]
    lines = commands.at_once(lambda: commands.refused(*generate), lambda: commands.refused(*resume))
    for line in lines:
        assert f"checkpoint {evil} is rejected: it holds {os.system.__module__}.system" in line
    assert not (tmp_path / "made").exists()


def test_a_torn_checkpoint_is_named(trained, tmp_path):
    torn = tmp_path / "torn.pt"
    content = trained.checkpoint.read_bytes()
    for size in (0, 1000, len(content) // 2, len(content) - 1):
        torn.write_bytes(content[:size])
        with pytest.raises(UsageError, match=rf"checkpoint {torn} cannot be read: .+") as refusal:
            load(torn)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [{"weights": torch.zeros(2)}, torch.zeros(2), [1, 2], "text"])
def test_what_is_no_checkpoint_is_named(content, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(content, path)
    if content == "text":
        path.write_text(content)
    with pytest.raises(UsageError, match=rf"checkpoint {path} (cannot be read|was refused): .+"):
        load(path)


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


def test_torch_s_protection_stays_on(models, monkeypatch):
    asked, genuine = [], torch.load

    def recorded(*args, **kwargs):
        asked.append(kwargs.get("weights_only"))
        return genuine(*args, **kwargs)

    monkeypatch.setattr(torch, "load", recorded)
    for model in models.values():
        load(model.checkpoint)
    assert asked and False not in asked


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
