"""fairseq_intra/runs/figures.py: pictures that can be opened, the same for the same numbers."""

import sys

import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.runs import figures


def drawn():
    figure, panels = figures.new_figure(columns=2)
    for number, panel in enumerate(panels):
        panel.plot([1, 2], [number, 3], label=f"curve {number}", **figures.line_style(number))
        panel.legend()
    return figure


def test_png_and_svg_with_text_as_text(tmp_path):
    made = figures.save_figure(drawn(), tmp_path / "picture.of.it")
    assert [path.name for path in made] == ["picture.of.it.png", "picture.of.it.svg"]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert made[0].read_bytes().startswith(b"\x89PNG") and ">curve 1<" in made[1].read_text()


@pytest.mark.parametrize("name", ["picture", "picture.png", "picture.svg"])
def test_a_prefix_may_end_as_a_picture(tmp_path, name):
    made = figures.save_figure(drawn(), tmp_path / name)
    assert [path.name for path in made] == ["picture.png", "picture.svg"]


def test_the_same_numbers_give_the_same_files(tmp_path):
    first, second = (figures.save_figure(drawn(), tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_every_curve_of_seven_looks_different():
    styles = [figures.line_style(number) for number in range(7)]
    assert len({style["color"] for style in styles}) == len({str(style["linestyle"]) for style in styles}) == 7


def test_more_curves_differ_in_colour_or_dash():
    assert len({str(figures.line_style(number)) for number in range(20)}) == 20


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot write .*nowhere/picture\.png: No such file"):
        figures.save_figure(drawn(), tmp_path / "nowhere" / "picture")


def test_without_matplotlib_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="pictures need matplotlib: pip install"):
        figures.new_figure()
