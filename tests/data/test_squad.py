"""SQuAD's files and their flat form, and what stands in the way of reading one."""

import json
from pathlib import Path

import pytest

from kzoo import data
from kzoo.errors import UserError

CONTEXT = "Zoë kept bees. Their honey was sold in Leeds, honey of clover."
ANSWER = {"text": "honey", "answer_start": 21}
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "squad-v2.sample.json"


def article(*questions, context=CONTEXT, title="Bees"):
    return {"title": title, "paragraphs": [{"context": context, "qas": list(questions)}]}


def asked(number=1, **more):
    return {"id": f"q{number}", "question": "What was sold?", "answers": [ANSWER]} | more


def written(folder, content, name="questions.json"):
    path = folder / name
    text = "".join(json.dumps(line) + "\n" for line in content) if isinstance(content, list) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_version_1_and_2_are_read(tmp_path):
    nothing = asked(2, answers=[], is_impossible=True, plausible_answers=[ANSWER])
    two = asked(3, answers=[ANSWER, {"text": "honey of clover", "answer_start": 46}])
    path = written(tmp_path, {"version": "v2.0", "data": [article(asked(), nothing), article(two, title="More bees")]})
    examples = data.read(path)
    assert examples.keys() == ["id", "title", "question", "context", "answers"]
    assert examples["id"].tolist() == ["q1", "q2", "q3"]
    assert examples["title"].tolist() == ["Bees", "Bees", "More bees"]
    assert examples["context"].tolist() == [CONTEXT] * 3
    assert examples["answers"].tolist() == [[ANSWER], [], two["answers"]]
    assert data.read(path, format="squad").fingerprint == examples.fingerprint


@pytest.mark.parametrize(
    "line",
    [
        {"answers": [ANSWER]},
        {"answers": {"text": ["honey"], "answer_start": [21]}},  # as data sets of transformers have it
        {"answer": "honey", "answer_start": 21},
        {"answer": "honey", "start": 21, "is_impossible": False},
    ],
)
def test_a_question_a_line(tmp_path, line):
    lines = [{"question": "What?", "context": CONTEXT} | line, {"question": "Who?", "context": CONTEXT, "answer": ""}]
    examples = data.read(written(tmp_path, lines, "questions.jsonl"), format="squad")
    assert examples["answers"].tolist() == [[ANSWER], []]
    assert examples["id"].tolist() == ["1", "2"] and examples["title"].tolist() == ["", ""]


def test_lines_with_names_of_their_own(tmp_path):
    lines = [{"frage": "Who?", "text": CONTEXT, "answer": "Zoë", "quelle": "bees"}, {"frage": "Why?", "text": CONTEXT}]
    lines[1]["is_impossible"] = True
    columns = {"question": "frage", "context": "text", "answers": "answers", "title": "quelle"}
    examples = data.read(written(tmp_path, lines, "a.jsonl"), format="squad", columns=columns)
    assert examples["answers"].tolist() == [[{"text": "Zoë", "answer_start": 0}], []]
    assert examples["title"].tolist() == ["bees", ""]


def whole(*questions, **more):
    return {"data": [article(*questions, **more)]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            whole(asked(answers=[{"text": "honey", "answer_start": 22}])),
            "article 1 .'Bees'., paragraph 1, question 1 .id q1.: the answer 'honey' must stand at 22 of its context. "
            "There stands 'oney was sold in Lee'. It stands at 21: starts count characters from 0.",
        ),
        (whole(asked(answers=[{"text": "jam", "answer_start": 2}])), "There stands .* It stands nowhere in it."),
        (whole(asked(answers=[{"text": "honey", "answer_start": 900}])), "There stands nothing. It stands at 21"),
        (whole(asked(answers=[{"text": "honey", "answer_start": "21"}])), "answer_start must be a whole number"),
        (whole(asked(answers=[{"text": "", "answer_start": 2}])), "an answer must not be empty"),
        (whole(asked(answers=[{"text": "honey"}])), "there is no key 'answer_start'. It has: text."),
        (whole(asked(is_impossible=True)), "is_impossible is true, and yet there are answers"),
        (whole({"id": "q", "question": "What?"}), r"question 1 \(id q\): there is no key 'answers'"),
        (whole({"id": "q", "answers": []}), r"\(id q\): there is no key 'question'"),
        (whole(asked(), context=3), "paragraph 1: context must be a text. Received 3."),
        ({"data": [{"title": "Bees"}]}, r"article 1 \('Bees'\): there is no key 'paragraphs'. It has: title."),
        ({"data": [{"title": "Bees", "paragraphs": ["a"]}]}, "paragraphs must be a list of objects"),
        ({"rows": []}, r"has SQuAD's layout, .* Received an object with rows."),
        ({"data": []}, "holds no articles"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        data.read(written(tmp_path, content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {"question": "What?", "context": CONTEXT, "answer": "honey"},
            "a.jsonl:1 .id 1.: .* 'honey' stands there 2 times",
        ),
        ({"question": "What?", "context": CONTEXT}, "a question needs answers, or answer with answer_start, or is_imp"),
        ({"question": "What?", "answer": "honey"}, "a.jsonl:1: there is no key 'context'"),
        (
            {"question": "What?", "context": CONTEXT, "answers": {"text": ["honey"], "answer_start": []}},
            "1 texts and 0",
        ),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, line, message):
    with pytest.raises(UserError, match=message):
        data.read(written(tmp_path, [line], "a.jsonl"), format="squad")


def test_json_that_is_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"data": [')
    with pytest.raises(UserError, match="not valid JSON"):
        data.read(path)


def test_other_json_in_a_folder_is_left_alone(tmp_path):
    (tmp_path / "about.json").write_text("{}")
    (tmp_path / "texts.csv").write_text("text\na film\n")
    assert len(data.read(tmp_path)) == 1


def test_articles_are_held_out_whole():
    if not SAMPLE.exists():
        pytest.skip("the sample of SQuAD is not here")
    examples = data.read(SAMPLE)
    assert len(examples) == 1160 and sum(not answers for answers in examples["answers"]) == 579
    train, held_out = data.split(examples, held_out=0.2, seed=3, group="title")
    assert len(set(train["title"])) == 3 and len(set(held_out["title"])) == 1
    assert set(train["id"]) | set(held_out["id"]) == set(examples["id"]) and not set(train["id"]) & set(held_out["id"])
