"""scripts/quickstart.sh. The whole of it downloads and trains: scripts/test.sh -m network"""

import subprocess

import corpus
import pytest

SCRIPT = "scripts/quickstart.sh"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--lang", "fr"), "--lang must be one of ar de es fa he it nl pl, not 'fr'"),
        (("--lang", "de es"), "--lang must be one of ar de es fa he it nl pl, not 'de es'"),
        (("--out", ""), "--out needs a value"),
        (("--updates", "0"), "--updates must be a whole number of at least 1, not '0'"),
        (("--seed", "one"), "--seed must be a whole number, not 'one'"),
        (("--out",), "--out needs a value"),
        (("--fast",), "unknown flag '--fast'"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_made(tmp_path, arguments, named):
    assert named in corpus.fail(SCRIPT, "--out", tmp_path / "out", "--venv", tmp_path / "venv", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.network
def test_a_fresh_machine_gets_a_table_and_a_repeated_run_the_same(tmp_path):
    command = [corpus.CHECKOUT / SCRIPT, "--lang", "fa", "--updates", "20", "--out", tmp_path / "out"]
    command += ["--venv", tmp_path / "venv"]
    first, second = (
        subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=1800) for _ in range(2)
    )
    rows = [line for line in first.stdout.split("\n") if line.startswith("| fa-en |")]
    assert len(rows) == 1 and rows[0].count("|") == 6
    assert first.stdout.count("reference") == 3
    assert rows[0] in second.stdout
    assert "training plain" in first.stderr and "training plain" not in second.stderr
