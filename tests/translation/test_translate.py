"""`fairseq-intra translate`: raw text to raw text, by both engines, as it comes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import commands
import corpus
import pytest
import tiny

from fairseq_intra import cli
from fairseq_intra.errors import UsageError
from fairseq_intra.translation import streams, text
from fairseq_intra.translation.fairseq_engine import FairseqEngine
from fairseq_intra.translation.search import Hypothesis, Limits, Search, batches
from fairseq_intra.translation.translator import Translator

COMMAND = [sys.executable, "-m", "fairseq_intra.cli", "translate"]


def of_checkpoint(model):
    return ["--checkpoint", model.checkpoint, "--data", model.data]


def by_both_engines(model, folder, lines, *flags):
    """What the command makes of these lines, from file to file in this process: columns, by engine."""
    (folder / "in").write_text("".join(f"{line}\n" for line in lines))
    for name, way in {"fairseq": of_checkpoint(model), "ctranslate2": ["--model", model.exported]}.items():
        words = [*way, *flags, "--input", folder / "in", "--output", folder / name]
        cli.main(["translate", *map(str, words)])
        yield [row.split("\t") for row in corpus.lines(folder / name)]


def test_both_engines_translate_alike(translating, tmp_path):
    ours, theirs = by_both_engines(translating, tmp_path, translating.source, "--scores")
    identical = [(one, other) for one, other in zip(ours, theirs, strict=True) if one[1] == other[1]]
    assert len(identical) >= 0.95 * len(translating.source)
    assert all(abs(float(one[0]) - float(other[0])) < 1e-3 for one, other in identical)
    # The model does translate.
    right = sum(row[1] == reference for row, reference in zip(ours, translating.target, strict=True))
    assert right > 0.5 * len(translating.source)


@pytest.mark.parametrize("engine", ["fairseq", "ctranslate2"])
def test_line_for_line_from_file_to_file(translating, tmp_path, engine):
    """Blank lines stay; a last line without an end, one with a carriage return, and spaces around are text, too."""
    first, second = translating.source[:2]
    (tmp_path / "in").write_bytes(f"{first}\r\n\n  \n {second} \n\u200b\n{first}".encode())
    way = of_checkpoint(translating) if engine == "fairseq" else ["--model", translating.exported]
    cli.main(["translate", *map(str, way), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")])
    out = corpus.lines(tmp_path / "out")
    assert out == [out[0], "", "", out[3], "", out[0]] and out[0] and out[3] and out[0] != out[3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.parametrize("name", ["in", "./in", "link"])
def test_the_text_is_not_replaced_by_its_translation(translating, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text(translating.source[0])
    (tmp_path / "link").symlink_to("in")
    for given in (["--input", "in"], []):
        with open("in") as text:
            monkeypatch.setattr(sys, "stdin", text)
            with pytest.raises(
                UsageError, match=f"--output {Path(name)} is the text that is translated; give another"
            ):
                cli.main(["translate", "--model", str(translating.exported), *given, "--output", name])
    assert (tmp_path / "in").read_text() == translating.source[0]


def test_no_file_of_the_model_is_replaced(translating):
    settings = translating.exported / "settings.json"
    before = settings.read_bytes()
    with pytest.raises(UsageError, match=r"settings.json is in the folder of --model; give another file"):
        cli.main(["translate", "--model", str(translating.exported), "--output", str(settings)])
    assert settings.read_bytes() == before


def test_several_translations_of_a_line_follow_one_another(translating, tmp_path):
    given = [translating.source[0], "", translating.source[1]]
    for rows in by_both_engines(translating, tmp_path, given, "--nbest", "3", "--scores"):
        assert [row[0] for row in rows] == ["1"] * 3 + ["2"] + ["3"] * 3
        scores = [float(row[1]) for row in rows[:3]]
        assert scores == sorted(scores, reverse=True) and len({row[2] for row in rows[:3]}) > 1


def test_an_exported_model_needs_neither_torch_nor_fairseq(translating):
    code = f"""
import sys
from fairseq_intra import cli
cli.main(["translate", "--model", {str(translating.exported)!r}, "--threads", "1"])
print({{"torch", "fairseq", "numpy"}} & set(sys.modules))
"""
    command = [sys.executable, "-c", code]
    given = translating.source[0].encode()
    done = subprocess.run(command, input=given, env=corpus.environment(), capture_output=True, timeout=300)
    assert done.stdout.decode().endswith("\nset()\n"), done.stderr.decode()


def test_a_pipe_is_answered_before_it_ends(translating):
    command = [*COMMAND, "--model", str(translating.exported)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=corpus.environment()) as process:
        for line in translating.source[:3]:
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            assert len(process.stdout.readline()) > 1
        process.stdin.close()
        assert process.stdout.read() == b"" and process.wait() == 0


def test_a_terminal_shows_how_far_it_is(translating, tmp_path):
    (tmp_path / "in").write_text("".join(f"{line}\n" for line in translating.source[:20]))
    command = [*COMMAND, "--model", translating.exported, "--input", tmp_path / "in", "--output", tmp_path / "out"]

    def call(stderr):
        subprocess.run([str(word) for word in command], env=corpus.environment(), stderr=stderr, check=True)

    assert "20/20" in commands.on_terminal(call)


def test_chunks_are_bounded_and_whole(tmp_path):
    """However long the text, no more than a block of it is held, and lines that lie across blocks are whole."""
    lines = [f"{number} " + "ä" * (number % 50) for number in range(20_000)]
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    with open(tmp_path / "text", "rb", buffering=0) as file:
        assert streams.count_lines(file.fileno()) == len(lines)
        found = list(streams.chunks(file.fileno(), "text"))
    assert [line for chunk in found for line in chunk.lines] == [line.strip() for line in lines]
    assert all(lines[chunk.first - 1].strip() == chunk.lines[0] for chunk in found)
    assert max(sum(len(line.encode()) + 1 for line in chunk.lines) for chunk in found) < streams.BLOCK + 200


def test_a_pipe_that_stops_within_a_line_is_read_on():
    reading, writing = os.pipe()
    os.write(writing, b"one\ntw")
    chunks = streams.chunks(reading, "pipe")
    assert next(chunks) == (1, ["one"])
    assert streams.count_lines(reading) is None
    os.write(writing, b"o\n")
    assert next(chunks) == (2, ["two"])
    os.close(writing)
    assert not list(chunks)
    os.close(reading)


def test_text_that_is_not_utf8_is_reported_by_file_and_line(translating, tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"gut\nsch\xf6n\n")
    flags = ["--model", translating.exported, "--input", path, "--output", tmp_path / "out"]
    with pytest.raises(UsageError, match=f"{path} line 2 is not UTF-8") as error:
        cli.main(["translate", *map(str, flags)])
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["latin1.txt"]


class StubEngine:
    """Reverses the order of the subwords."""

    limits = Limits(source=5, target=100)

    def translate(self, sources, search):
        assert all(0 < len(source) < self.limits.source for source in sources)
        for batch in batches(sources, search.batch_tokens):
            for number in batch:
                yield number, [Hypothesis(sources[number][::-1], -1.0)]


class StubSubwords:
    """A subword is a word."""

    def encode(self, lines):
        return [[f"▁{word}" for word in line.split()] for line in lines]


def test_lines_beyond_the_limit_are_translated_in_parts_and_reported(monkeypatch, tmp_path, capsys):
    from fairseq_intra.translation.translate import translate

    (tmp_path / "in").write_text("a b\n\na b. c d e f g\n")
    translator = Translator(StubEngine(), StubSubwords())
    files = streams.Streams(tmp_path / "in", tmp_path / "out")
    translate(translator, Search(), files, with_scores=False)
    # A part ends with its sentence, else where four subwords are full.
    assert corpus.lines(tmp_path / "out") == ["b a", "", "b. a f e d c g"]
    assert "longer than the model can take, translated in parts: 1 lines (3)" in capsys.readouterr().err


def test_a_word_is_cut_only_where_it_alone_is_too_long():
    assert list(text.split_long(["▁a", "b", "▁c", "d"], 3)) == [["▁a", "b"], ["▁c", "d"]]
    assert list(text.split_long(["▁a", "b", "c", "d"], 3)) == [["▁a", "b", "c"], ["d"]]


def test_a_batch_has_at_most_so_many_subwords_with_padding():
    sources = [["a"] * length for length in (9, 1, 1, 4, 1, 30)]
    found = list(batches(sources, 12))
    assert sorted(sum(found, [])) == list(range(6))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(len(sources[number]) + 1 for number in batch) <= 12


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give the model either by --checkpoint FILE --data DIR or by --model DIR"),
        (["--checkpoint", "a.pt"], "--checkpoint and --data belong together"),
        (["--model", "m", "--data", "d"], "--model needs no --data"),
        (["--model", "FOLDER", "--nbest", 6], "--nbest 6 is more than --beam 5"),
        (["--model", "FOLDER", "--beam", 0], "--beam must be at least 1, not 0"),
        (["--model", "FOLDER"], "is not an exported model: no settings.json"),
        (["--model", "FOLDER", "--input", "FOLDER/none"], "FOLDER/none: no such file"),
        (["--model", "FOLDER", "--output", "FOLDER/none/out"], "its folder does not exist"),
        (["--model", "FOLDER", "--output", "FOLDER"], "--output FOLDER exists and is not a file"),
        (["--model", "FOLDER", "--output", os.devnull], f"--output {os.devnull} exists and is not a file"),
        (["--checkpoint", "FOLDER/a.pt", "--data", "FOLDER"], "--data FOLDER is not a prepared dataset: no manifest"),
        (["--checkpoint", "FOLDER/a.pt", "--data", "FOLDER/${x}"], "/${x}: fairseq takes ${ for a variable"),
    ],
)
def test_invalid_flags_are_reported(tmp_path, monkeypatch, flags, message):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    words = [str(word).replace("FOLDER", str(tmp_path)) for word in flags]
    with pytest.raises(UsageError) as error:
        cli.main(["translate", *words])
    assert message.replace("FOLDER", str(tmp_path)) in str(error.value) and "\n" not in str(error.value)


def test_a_closed_standard_input_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed; give --input FILE"):
        streams.check_streams(streams.Streams(None, None))


def test_a_convolutional_model_translates_with_any_beam(tmp_path):
    """fairseq would prepare it for the beam of its training's configuration, 5."""
    tiny.save_dictionaries(tmp_path)
    layers = [f"--{side}-layers=[(8, 3)]" for side in ("encoder", "decoder")]
    sizes = [f"--{name}=8" for name in ("encoder-embed-dim", "decoder-embed-dim", "decoder-out-embed-dim")]
    method = "--task translation --source-lang de --target-lang en --arch fconv --optimizer sgd --lr 1 --cpu"
    cfg = tiny.parsed(*method.split(), *layers, *sizes)
    cfg.task.data = str(tmp_path)
    trainer = tiny.trainer(cfg)
    trainer.consolidate_optimizer()
    trainer.save_checkpoint(str(tmp_path / "best.pt"), {})
    with pytest.raises(UsageError, match="best.pt translates de-en, and the data is en-de"):
        FairseqEngine(tmp_path / "best.pt", tmp_path, languages=("en", "de"))
    engine = FairseqEngine(tmp_path / "best.pt", tmp_path, languages=("de", "en"))
    sources = [["w1", "w2", "w3"], ["w4"], ["w5", "w6"]]
    for beam in (1, 4, 5):
        assert dict(engine.translate(sources, Search(beam=beam))).keys() == {0, 1, 2}
