"""The text of prepare-iwslt14.sh against Moses' own Perl scripts, line by line.

MOSES_SCRIPTS=mosesdecoder/scripts scripts/test.sh tests/data/test_moses_perl.py -m perl
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import corpus
import pytest
from campaign import REAL_XML

from fairseq_intra.data import cleaning

SCRIPTS = Path(os.environ.get("MOSES_SCRIPTS", ""))
pytestmark = [
    pytest.mark.perl,
    pytest.mark.skipif(
        not (shutil.which("perl") and (SCRIPTS / "tokenizer" / "tokenizer.perl").is_file()),
        reason="perl, and MOSES_SCRIPTS, Moses' folder scripts, are not both there",
    ),
]

AWKWARD = r"""Don't "quote" 'this' & <that> [x] {y} | z; the 1990's, U.S. 5,300.50 e.g. 3 a.m. no. 5 No. 7 ...
's that it? 's' '90s rock 'n' roll, and the Jones' house is James'
AT&amp;T &lt;b&gt; &quot;hm&quot; &#39; &
$5 €7 £ 8 ¿qué? ¡sí! 100% a/b and/or --- – — … 5'10" x² ½ ①
L'amico dell'uomo all'alba c'è un po' d'acqua nell'87
foo@bar.com http://www.example.org/x?y=1 #tag @me
مرحبا، كيف حالك؟ «نعم» 1,5 ٣٫٥
שלום, צה"ל ת"א ג'ירף? כן... U.N.
سلام، می‌خواهم «کتاب» را؛ ۱۲٫۵
„Zitat“ ‚einfach‘ “double” ‘single’ z.B. d.h. Dr. Müller bzw. Nr. 5
İstanbul ẞ ﬁ a​b   c
1,000, 2,000,x 3,,4 ,start word.Word a.b. ... .. . .a !?!? ???
(a) [b] {c} <d> \ / ^ ~ _ = + * - - a-b -a ` `` ''""".split("\n")


def perl(script: str, text: str, *arguments: object) -> str:
    command = ["perl", str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=True).stdout


def by_moses(pairs: list[tuple[str, str]], languages: tuple[str, str], folder: Path) -> list[tuple[str, str]]:
    """What the authors' four scripts make of the pairs."""
    sides = []
    for side, language in enumerate(languages):
        text = "".join(pair[side] + "\n" for pair in pairs)
        tokens = perl("tokenizer/tokenizer.perl", text, "-threads", 2, "-l", language)
        (folder / f"tok.{language}").write_text(tokens, encoding="utf-8")
    perl("training/clean-corpus-n.perl", "", "-ratio", 1.5, folder / "tok", *languages, folder / "clean", 1, 175)
    for language in languages:
        text = perl("tokenizer/lowercase.perl", (folder / f"clean.{language}").read_text(encoding="utf-8"))
        sides.append(perl("tokenizer/detokenizer.perl", text, "-l", language).split("\n")[:-1])
    return list(zip(*sides, strict=True))


def ours(pairs: list[tuple[str, str]], languages: tuple[str, str]) -> list[tuple[str, str]]:
    return list(cleaning.clean(pairs, languages, cleaning.Limits(1, 175, 1.5), 1, cleaning.Counter(), respell=True))


@pytest.mark.parametrize("language", ["ar", "de", "es", "fa", "he", "it", "nl", "pl"])
def test_awkward_and_made_up_text_is_the_same(language, tmp_path):
    pairs = [(line, line) for line in AWKWARD] + corpus.sentences(300, seed=4)
    # English is checked as the other side; none of these pairs is out of proportion for long.
    assert ours(pairs, (language, "en")) == by_moses(pairs, (language, "en"), tmp_path)


def test_real_talks_are_the_same(tmp_path):
    if not REAL_XML.is_dir():
        pytest.skip(f"{REAL_XML} is not here")
    sides = []
    for side in ("de", "en"):
        xml = "".join(path.read_text("utf-8") for path in sorted(REAL_XML.glob(f"*.{side}.xml")))
        sides.append(re.findall(r"<seg id=.*?>\s*(.*?)\s*</seg>", xml))
    pairs = list(zip(*sides, strict=True))
    expected = by_moses(pairs, ("de", "en"), tmp_path)
    assert len(expected) > 10_000
    assert ours(pairs, ("de", "en")) == expected
