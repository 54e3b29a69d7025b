"""The table of faults in tests/README.md."""

import re

import corpus


def test_every_test_that_the_table_of_faults_names_is_there():
    readme = (corpus.CHECKOUT / "tests/README.md").read_text(encoding="utf-8")
    section = readme.partition("## When things go wrong\n")[2]
    rows = [row for row in section.split("\n") if row.startswith("| ") and not row.endswith("| test |")]
    named = [re.findall(r"`(test_\w+)`", row.split(" | ")[-1]) for row in rows]
    source = "".join(path.read_text(encoding="utf-8") for path in (corpus.CHECKOUT / "tests").rglob("test_*.py"))
    assert named and all(named)
    assert [name for names in named for name in names if f"def {name}(" not in source] == []
