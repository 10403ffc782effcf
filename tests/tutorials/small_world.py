"""Tiny models and data under the names of the real ones: what tutorials find in their folder."""

import json
from pathlib import Path

import kzoo
from tests import tiny

CHAT = (
    "{% for message in messages %}{{ message.role + ': ' + message.content + '<|endoftext|>' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
PLAYS = ["ROMEO.\nBut soft, the film was good, and not at all bad.\n\n", "JULIET.\nIt was a bad film, a bad one!\n\n"]


def furnish(folder: Path) -> None:
    """Writes all of it; a model's folder in the working directory comes before one of the zoo."""
    kzoo.Embed(tiny.bert(num_layers=1, num_positions=512), max_length=64).save(folder / "minilm-l6-v2")
    talker = kzoo.Generate(tiny.talkative(tiny.gpt2(num_layers=1, num_positions=160)), max_length=160, max_new_tokens=8)
    talker.save(folder / "smollm2-135m-instruct")
    path = folder / "smollm2-135m-instruct" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": CHAT, "model_max_length": 160}))
    for name in ("minilm-l6-v2", "smollm2-135m-instruct"):
        (folder / name / "kzoo.json").unlink()
    (folder / "data").mkdir()
    for part in ("train", "dev", "test"):
        (folder / "data" / f"wnut17.{part}.conll").write_text(_posts(), encoding="utf-8")
    (folder / "squad-v2.sample.json").write_text(json.dumps(_articles()), encoding="utf-8")
    (folder / "pulled").mkdir()
    (folder / "pulled" / "movie-reviews.tsv").write_text(_reviews(), encoding="utf-8")
    plays = folder / "pulled" / "shakespeare"
    plays.mkdir()
    for number in range(6):
        (plays / f"play-{number}.txt").write_text("".join(PLAYS * (4 + number)), encoding="utf-8")


def _reviews() -> str:
    words = [("good", 2.0), ("bad", -2.0), ("not bad at all", 1.0), ("not good", -1.0)]
    rows = [(number, rating, f"film {number} was {word}") for number in range(6) for word, rating in words]
    return "".join(f"{number}\t{rating}\t{text}\n" for number, rating, text in rows)


def _posts() -> str:
    post = [("back", "O"), ("in", "O"), ("Turin", "B-location"), ("with", "O"), ("Ada", "B-person"), (".", "O")]
    return ("".join(f"{word}\t{tag}\n" for word, tag in post) + "\n") * 8


def _articles() -> dict:
    passage = "The tower was built by two brothers in 1906. It was a film at last."

    def asked(title: str, number: int) -> dict:
        answers = [{"text": "two brothers", "answer_start": passage.index("two")}] if number % 2 else []
        return {
            "id": f"{title}-{number}",
            "question": "Who built it?",
            "answers": answers,
            "is_impossible": not answers,
        }

    return {
        "version": "v2.0",
        "data": [
            {"title": title, "paragraphs": [{"context": passage, "qas": [asked(title, number) for number in range(6)]}]}
            for title in ("Tower", "Bridge", "Mill", "Gate", "Well")
        ],
    }
