"""`--help` of fairseq's commands with the plugin."""

import commands
import pytest


@pytest.mark.parametrize(
    ("command", "named", "shown"),
    [
        ("train", "--task translation_intra_distillation --criterion intra_distillation", "--alpha --plain-updates"),
        ("train", "--arch transformer", "--encoder-layers"),
        ("train", "", "--max-update"),
        ("validate", "--task translation", "--left-pad-source"),
        ("generate", "", "--beam"),
    ],
)
def test_help_has_the_flags_of_what_is_named(command, named, shown):
    said = commands.fairseq(command, "--user-dir", commands.PLUGIN, *named.split(), "--help")
    assert all(f"\n  {flag} " in said for flag in shown.split())
    assert "are shown where it is" in " ".join(said.split()) and ("\n  --num-iter " in said) == ("intra" in named)


def test_what_cannot_be_named_is_told():
    done = commands.run("train", "--user-dir", commands.PLUGIN, "--task", "translate", "--help")
    assert done.returncode == 2 and "invalid choice: 'translate'" in done.stderr
