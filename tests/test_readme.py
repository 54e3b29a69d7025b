"""What README.md says of the tests."""

import re

import corpus


def test_every_test_that_the_table_of_faults_names_is_there():
    readme = (corpus.CHECKOUT / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## When things go wrong\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    rows = [row for row in section.split("\n") if row.startswith("| ")][1:]
    named = [re.search(r"`(test_\w+)` \|$", row).group(1) for row in rows]
    source = "".join(path.read_text(encoding="utf-8") for path in (corpus.CHECKOUT / "tests").rglob("test_*.py"))
    assert len(named) >= 10 and all(f"def {name}(" in source for name in named)
