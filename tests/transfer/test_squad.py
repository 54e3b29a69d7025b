"""Questions in SQuAD's JSON: where files are, what is read, what is rejected, in a line."""

import json

import asked
import pytest

from fairseq_intra.errors import UsageError
from fairseq_intra.transfer import squad
from fairseq_intra.transfer.squad import Answer, Question, read_questions

TYDIQA = "tydiqa-goldp-v1.1"


def test_questions_are_read_with_all_their_answers(tmp_path):
    paragraphs = [("A dog.", [("1", "Who?", [(2, "dog"), (0, "A dog")])]), ("B.", [("2", "What?", [(0, "B")])])]
    asked.write_squad(tmp_path / "test.json", paragraphs)
    assert read_questions(tmp_path / "test.json") == [
        Question("1", "Who?", "A dog.", [Answer(2, "dog"), Answer(0, "A dog")]),
        Question("2", "What?", "B.", [Answer(0, "B")]),
    ]


@pytest.mark.parametrize(
    "train, test, languages",
    [
        ("en/train.json", "{}/test.json", ["ar", "en"]),
        (f"{TYDIQA}-train/tydiqa.goldp.en.train.json", f"{TYDIQA}-dev/tydiqa.goldp.{{}}.dev.json", ["ko"]),
        (f"{TYDIQA}-train.json", f"{TYDIQA}-dev/tydiqa-goldp-dev-{{}}.json", ["swahili", "telugu"]),
        ("train-v1.1.json", "xquad.{}.json", ["el", "zh"]),
    ],
    ids=["own", "XTREME", "Google", "XQuAD"],
)  # fmt: skip
def test_files_are_found_as_they_are_distributed(train, test, languages, tmp_path):
    for name in (train, *map(test.format, languages)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = squad.layout(tmp_path, "en")
    assert squad.place(found.train, "en") == train
    codes = squad.languages(tmp_path, found.test)
    assert codes == [{"swahili": "sw", "telugu": "te"}.get(language, language) for language in languages]
    assert [squad.place(found.test, code) for code in codes] == [test.format(language) for language in languages]


def test_squad_trains_english_alone(tmp_path):
    (tmp_path / "train-v1.1.json").touch()
    with pytest.raises(UsageError, match="train-v1.1.json is in en, not in de"):
        squad.layout(tmp_path, "de")


def test_a_folder_of_none_of_the_layouts_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="holds none of fr/train.json, tydiqa-goldp-v1.1-train/tydiqa.goldp.fr.tra"):
        squad.layout(tmp_path, "fr")


def test_a_language_is_taken_from_the_file_of_all(tmp_path):
    paragraphs = [("A.", [("english-41-0", "?", [(0, "A")]), ("korean-41-1", "?", [(0, "A")])])]
    asked.write_squad(tmp_path / "train.json", paragraphs)
    assert [question.id for question in read_questions(tmp_path / "train.json", "ko")] == ["korean-41-1"]
    with pytest.raises(UsageError, match="train.json holds no question in te"):
        read_questions(tmp_path / "train.json", "te")


GOOD = asked.squad([("A dog.", [("1", "Who?", [(2, "dog")])])])


def changed(path, value):
    """GOOD, with another value, or none, in a place."""
    made = json.loads(json.dumps(GOOD))
    node = made
    for name in path[:-1]:
        node = node[name]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return made


QAS = ["data", 0, "paragraphs", 0, "qas", 0]


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "is not of SQuAD v1.1's form: the file has no 'data' that is a list"),
        ({"data": [1]}, r"data\[0\] has no 'paragraphs' that is a list"),
        (changed(QAS[:4], "text"), r"data\[0\].paragraphs\[0\] has no 'context' that is a text"),
        (changed([*QAS[:4], "context"], " \n"), r"the context of data\[0\].paragraphs\[0\] is empty"),
        (changed([*QAS, "id"], 7), r"data\[0\].paragraphs\[0\].qas\[0\] has no 'id' that is a text"),
        (changed([*QAS, "question"], None), r"qas\[0\] has no 'question' that is a text"),
        (changed([*QAS, "answers"], {"text": ["dog"]}), r"qas\[0\] has no 'answers' that is a list"),
        (changed([*QAS, "answers"], []), r"qas\[0\] has no answer; in SQuAD v1.1 every question has one"),
        (changed([*QAS, "answers", 0, "answer_start"], "2"), r"answers\[0\] has no 'answer_start' that is a number"),
        ({"data": []}, "holds no question$"),
        (
            changed([*QAS, "question"], "So \ud83d?"),
            r"train.json: 'question' of .*qas\[0\] has half a .* \\ud83d",
        ),
        (changed([*QAS[:4], "context"], "A dog\udc00"), r"'context' of data\[0\].paragraphs\[0\] .* as character 6"),
    ],
)
def test_json_of_another_form_is_rejected(content, message, tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        read_questions(path)


def test_files_that_are_not_json_are_rejected(tmp_path):
    (tmp_path / "train.json").write_text('{"data": [')
    with pytest.raises(UsageError, match="train.json is not JSON"):
        read_questions(tmp_path / "train.json")


@pytest.mark.parametrize("start, text", [(3, "dog"), (-4, "dog"), (1, " "), (2, "Dog"), (90, "dog")])
def test_an_answer_must_be_where_it_says(start, text):
    question = Question("q1", "Who?", "A dog.", [Answer(2, "dog"), Answer(start, text)])
    assert squad.mismatch(question).startswith(f"question q1: the answer '{text}' is not at answer_start {start}")
    assert squad.mismatch(question._replace(answers=[Answer(2, "dog")])) is None
