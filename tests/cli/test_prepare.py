"""`kzoo data prepare`: a folder that training reads, the same for any number of processes, and what it refuses."""

import json
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import kzoo

pytest.importorskip("datasketch")

GUIDE = Path(__file__).parents[2] / "docs" / "data-preparation.md"
ROWS = [
    ("A film to remember, with a cast that shines from the first scene to the last.", "positive"),
    ("Two hours that I shall never get back; the plot is a bad joke told too slowly.", "negative"),
    ("A film to remember, with a cast that shines from the first scene to the last.", "positive"),
    ("A film to remember, with a cast that shines from the first scene to the very last.", "negative"),
    ("write to jo@mail.example for the tapes of the second season, they are worth it", "positive"),
    ("short", "negative"),
    ("Das ist ein sehr guter Film, den man unbedingt im Kino gesehen haben sollte.", "positive"),
    ("   ", "negative"),
]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with the same rows in each format, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    lines = [f'"{text}",{label}\n' for text, label in ROWS]
    Path("reviews.csv").write_text("review,label\n" + "".join(lines), encoding="utf-8")
    rows = [json.dumps({"text": text, "label": label, "id": number}) for number, (text, label) in enumerate(ROWS)]
    Path("reviews.jsonl").write_text("\n".join(rows), encoding="utf-8")
    Path("corpus.txt").write_text("one  two \nthree\n\n\n\none  two\nthree\n\nfour\n", encoding="utf-8")
    return tmp_path


def ready(run, *arguments):
    answer = run("data", "prepare", *arguments)
    assert answer.exit_code == 0, answer.stderr + answer.stdout
    return answer


def rows_of(folder):
    return [json.loads(line) for file in sorted(Path(folder).glob("part-*.jsonl")) for line in open(file)]


def test_everything_at_once(run, files):
    options = ("--near-duplicates", "0.6", "--redact", "all", "--language", "en", "--least-characters", "10")
    answer = ready(run, "reviews.jsonl", *options, "--set", "duplicates.shingle_size=2", "--output", "clean", "--json")
    report = json.loads(answer.stdout)
    assert {reason: counts["documents"] for reason, counts in report["dropped"].items()} == {
        "empty": 1,
        "least_characters": 1,
        "language": 1,
        "exact_duplicate": 1,
        "near_duplicate": 1,
    }
    assert report["documents"] == {"read": 8, "written": 3} and report["label_conflicts"] == 1
    assert report["redacted"] == {"email": 1} and report["languages"] == {"en": 5, "de": 1}
    assert report["labels"] == {"read": {"negative": 4, "positive": 4}, "written": {"positive": 2, "negative": 1}}
    written = rows_of("clean")
    assert [row["id"] for row in written] == [0, 1, 4]
    assert written[2] == {
        "text": "write to <EMAIL> for the tapes of the second season, they are worth it",
        "label": "positive",
        "id": 4,
    }
    pair = report["examples"]["near_duplicate"][0]
    assert pair["where"] == "reviews.jsonl:4" and pair["at"] == "reviews.jsonl:1" and 0.6 <= pair["similarity"] < 1
    stored = json.loads(Path("clean/report.json").read_text())
    assert stored == report
    assert not [
        text for text in (Path("clean/report.json"), Path("clean/report.html")) if "jo@mail" in text.read_text()
    ]
    page = Path("clean/report.html").read_text()
    assert "Examples: near duplicate" in page and "<svg" in page and "95% interval" not in page
    ready(run, "--config", "clean/prepare.yaml", "--output", "again")
    for name in ("part-00000.jsonl", "prepare.yaml"):
        assert Path("again", name).read_bytes() == Path("clean", name).read_bytes()
    assert sorted(entry.name for entry in files.iterdir() if "clean" in entry.name) == ["clean"]


def test_tables_become_json_lines_and_conflicting_labels_go_by_choice(run, files):
    options = ("--column", "review", "--near-duplicates", "0.6", "--set", "duplicates.shingle_size=2")
    ready(run, "reviews.csv", *options, "--output", "kept")
    assert [row["review"][:12] for row in rows_of("kept")][:3] == ["A film to re", "Two hours th", "write to jo@"]
    ready(run, "reviews.csv", *options, "--conflicts", "drop", "--output", "dropped")
    assert [row["review"][:12] for row in rows_of("dropped")][:2] == ["Two hours th", "write to jo@"]
    report = json.loads(Path("dropped/report.json").read_text())
    assert report["dropped"]["label_conflict"]["documents"] == 1
    from kzoo.data import read

    assert read("dropped", columns={"text": "review", "label": "label"}).keys() == ["text", "label"]


def test_what_stands_in_held_out_files_goes(run, files):
    Path("held-out.tsv").write_text(f"text\tlabel\n{ROWS[0][0]}\tpositive\n{ROWS[1][0][:-1]} .\tnegative\n")
    options = ("--against", "held-out.tsv", "--near-duplicates", "0.6", "--set", "duplicates.shingle_size=2")
    report = json.loads(ready(run, "reviews.jsonl", *options, "--output", "clean", "--json").stdout)
    assert {reason: counts["documents"] for reason, counts in report["dropped"].items()} == {
        "empty": 1,
        "held_out": 2,
        "held_out_near": 2,
    }
    assert report["examples"]["held_out"][0]["at"] == "held-out.tsv:2"
    assert [one["path"] for one in report["against"]] == ["held-out.tsv"]


@pytest.mark.parametrize("document", ["line", "paragraph", "file"])
def test_plain_text_stays_plain_text_that_training_reads(run, files, document):
    answer = ready(run, "corpus.txt", "--document", document, "--output", "clean")
    written = {
        "line": ("part-00000.txt", "one  two\nthree\nfour\n"),
        "paragraph": ("part-00000.txt", "one  two\nthree\n\nfour\n"),
        "file": ("part-00000.jsonl", '{"text": "one  two\\nthree\\n\\none  two\\nthree\\n\\nfour"}\n'),
    }[document]
    assert Path("clean", written[0]).read_text() == written[1]
    assert document == "file" or "Next: kzoo data tokenize clean" in answer.stderr
    from kzoo.data import read
    from kzoo.data.formats import Reading
    from kzoo.data.text_stream import stream_texts

    streamed = list(stream_texts("clean", Reading(document=document)))
    assert streamed == read("clean", document=document)["text"].tolist()
    assert len(streamed) == {"line": 3, "paragraph": 2, "file": 1}[document]


@pytest.fixture
def tokenized(run, files):
    """A folder prepared from paragraphs, a tokenizer learned from it, and its ids."""
    Path("corpus.txt").write_text("the owl looked\n\nthe owl looked\n\nthe fox slept\n\n" * 4 + "a dog\n")
    ready(run, "corpus.txt", "--document", "paragraph", "--output", "clean")
    assert run("tokenizer", "train", "clean", "--kind", "bpe", "--vocabulary-size", "262", "--output", "words")
    answer = run("data", "tokenize", "clean", "--document", "paragraph", "--tokenizer", "words", "--output", "ids")
    assert answer.exit_code == 0 and "of 3 documents" in answer.stderr, answer.stderr
    return files


def test_tokenize_reads_the_folder(tokenized):
    from kzoo.data.token_folder import TokenFolder

    folder = TokenFolder.open("ids")
    assert len(folder) == 3
    ids = folder.documents().stream.take(np.arange(folder.tokens))
    text = kzoo.tokenizers.load("words").detokenize(ids[None])[0].numpy().decode()
    assert text == "the owl looked" + "the fox slept" + "a dog"


@pytest.mark.slow
def test_training_reads_the_folder(run, tokenized):
    config = {
        "model": {
            "family": "gpt2",
            "sizes": {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "num_positions": 16},
            "tokenizer": "words",
        },
        "task": {"name": "generate", "max_length": 16},
        "data": {"train": "clean", "document": "paragraph", "held_out": 0.4},
        "training": {"steps": 2, "batch_size": 2},
        "output": "run",
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))
    answer = run("train", "run.yaml")
    assert answer.exit_code == 0, answer.stderr


def test_any_number_of_processes_writes_the_same(run, files):
    generator = random.Random(1)
    words = [f"w{number}" for number in range(60)]
    lines = [" ".join(generator.choices(words, k=12)) for _ in range(3000)]
    lines += [generator.choice(lines) + " x" for _ in range(200)]
    Path("many.txt").write_text("\n".join(lines))
    options = ("--near-duplicates", "0.7", "--set", "duplicates.shingle_size=3")
    for workers in ("1", "2"):
        ready(run, "many.txt", *options, "--workers", workers, "--set", "shard_megabytes=1", "--output", workers)
    one, two = (json.loads(Path(name, "report.json").read_text()) for name in "12")
    assert one.pop("run")["workers"] == 1 and two.pop("run")["workers"] == 2
    assert one == two and 150 < one["dropped"]["near_duplicate"]["documents"] < 250
    assert len(one["files"]) == 1 and Path("1/part-00000.txt").read_bytes() == Path("2/part-00000.txt").read_bytes()


def test_shards(run, files):
    Path("big.txt").write_text("\n".join(f"{number} " + "x" * 50_000 for number in range(50)))
    report = json.loads(ready(run, "big.txt", "--set", "shard_megabytes=1", "--output", "clean", "--json").stdout)
    assert [one["documents"] for one in report["files"]] == [21, 21, 8]
    text = "".join(Path("clean", one["name"]).read_text() for one in report["files"])
    assert text == Path("big.txt").read_text() + "\n"


def test_a_dry_run_writes_nothing(run, files):
    before = sorted(files.iterdir())
    answer = ready(run, "reviews.jsonl", "--dry-run")
    assert sorted(files.iterdir()) == before and "Nothing was written (--dry-run)." in answer.stderr
    assert re.search(r"exact duplicate +1 +6", answer.stdout)


@pytest.mark.parametrize(
    ("file", "content", "options", "said"),
    [
        ("none.txt", None, (), "There is no file none.txt"),
        ("empty.txt", b"", (), "empty.txt is empty"),
        ("blank.txt", b" \n\n", (), "The inputs hold no documents"),
        ("bad.txt", b"fine\n\xc3\xa9 \xff\n", (), "bad.txt:2, offset 8: the byte 0xff is not utf-8"),
        ("a.csv", b"text,b\nx,1\n", ("--column", "body"), "a.csv:2: there is no column 'body'. There are: text, b."),
        ("a.csv", b"text,b\nx,1,2\n", (), "every row must have 2 columns"),
        ("a.jsonl", b'{"text": 3}\n', (), "a.jsonl:1: text must hold a text or a list of sentences. It holds 3."),
        ("a.jsonl", b'{"text": "x"\n', (), "a.jsonl:1: not valid JSON"),
        ("a.jsonl", b'{"text": "x"}\n', ("--label", "y"), "there is no column 'y'"),
        ("a.json", b'{"data": []}', (), "a.json is squad, not csv, tsv, jsonl or text"),
        ("a.bin", b"x", (), "suffix of a.bin does not tell its format"),
        ("a.txt", b"x\n", ("--near-duplicates", "1.5"), "duplicates.near: input should be less than or equal to 1"),
        ("a.txt", b"x\n", ("--near-duplicates", "0"), "duplicates.near: input should be greater than 0"),
        ("a.txt", b"x\n", ("--set", "filters.least_word=3"), "did you mean filters.least_words?"),
        ("a.txt", b"x\n", ("--redact", "mail"), "There is no kind 'mail' to redact (did you mean email?)"),
        ("a.txt", b"x\n", ("--language", "englisch"), "There is no language 'englisch'"),
        ("a.txt", b"x\n", ("--least-characters", "5"), "All 1 documents would be dropped, 1 of them for least_char"),
        ("a.txt", b"x\n", ("--config", "no.yaml"), "There is no file no.yaml"),
        ("a.txt", b"x\n", ("--output", "."), ". exists already"),
        ("a.txt", b"x\n", ("reviews.csv",), "All inputs must be plain text, or all tables"),
        ("a.txt", b"x\n", ("--encoding", "utf-99"), "There is no encoding named 'utf-99'"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(run, files, file, content, options, said):
    if content is not None:
        Path(file).write_bytes(content)
    before = sorted(files.iterdir())
    answer = run("data", "prepare", file, *(options if "--output" in options else (*options, "--output", "clean")))
    assert answer.exit_code == 2 and said in answer.stderr, answer.stderr
    assert sorted(files.iterdir()) == before


def test_rows_of_two_texts_are_duplicates_only_as_pairs(run, files):
    words = "the owl looked at the moon and the fox went home"
    pairs = [(words, "one"), (words, "two"), (words, "one"), (words + " now", "two"), (words + " now", "six")]
    Path("pairs.jsonl").write_text("\n".join(json.dumps({"text": one, "text_pair": two}) for one, two in pairs))
    options = ("--near-duplicates", "0.6", "--set", "duplicates.shingle_size=2")
    ready(run, "pairs.jsonl", *options, "--output", "clean")
    assert [(row["text"] == words, row["text_pair"]) for row in rows_of("clean")] == [
        (True, "one"),
        (True, "two"),
        (False, "six"),
    ]
    ready(run, "pairs.jsonl", *options, "--set", "beside=[]", "--output", "alone")
    assert len(rows_of("alone")) == 1
    Path("mail.jsonl").write_text('{"text": "a", "text_pair": "to jo@mail.example ", "note": " b "}')
    ready(run, "mail.jsonl", "--redact", "email", "--output", "mail")
    assert rows_of("mail") == [{"text": "a", "text_pair": "to <EMAIL>", "note": " b "}]


def test_sections_of_the_file_must_be_sections(run, files):
    Path("p.yaml").write_text("inputs: [corpus.txt]\nfilters:\nduplicates: 3\n")
    answer = run("data", "prepare", "--config", "p.yaml", "--near-duplicates", "0.5", "--output", "clean")
    assert answer.exit_code == 2 and "p.yaml: duplicates is a section with keys of its own" in answer.stderr
    Path("p.yaml").write_text("inputs: [corpus.txt]\nfilter: {}\n")
    answer = run("data", "prepare", "--config", "p.yaml", "--output", "clean")
    assert answer.exit_code == 2 and "unknown key filter; did you mean filters?" in answer.stderr


def test_a_full_disk_leaves_nothing(run, files, monkeypatch):
    from kzoo.data.preparing import output_folder

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output_folder.os, "fsync", full)
    before = sorted(files.iterdir())
    answer = run("data", "prepare", "corpus.txt", "--output", "clean")
    assert answer.exit_code == 2 and "clean cannot be written: No space left on device." in answer.stderr
    assert sorted(files.iterdir()) == before


def test_an_output_is_never_written_over(run, files):
    ready(run, "corpus.txt", "--output", "clean")
    before = Path("clean/report.json").read_bytes()
    assert "clean exists already" in run("data", "prepare", "corpus.txt", "--output", "clean").stderr
    assert Path("clean/report.json").read_bytes() == before
    assert "Name the new folder: --output" in run("data", "prepare", "corpus.txt").stderr


def test_without_the_extra_it_says_what_to_install(run, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    answer = run("data", "prepare", "corpus.txt", "--near-duplicates", "0.8", "--output", "clean")
    assert answer.exit_code == 2 and "needs the package datasketch" in answer.stderr
    assert "pip install 'kzoo[prepare]'" in answer.stderr
    ready(run, "corpus.txt", "--output", "clean")  # the usual steps need none of it


def test_a_wrong_worker_is_told_from_its_process(run, files):
    answer = run("data", "prepare", "reviews.jsonl", "--column", "body", "--workers", "2", "--output", "clean")
    assert answer.exit_code == 2 and "there is no column 'body'" in answer.stderr


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_nothing_and_a_kill_is_tidied(run, files, workers):
    line = " ".join(f"word{number}" for number in range(200))
    Path("long.txt").write_text("\n".join(f"{number} {line}" for number in range(30_000)))
    command = [sys.executable, "-m", "kzoo", "data", "prepare", "long.txt", "--near-duplicates", "0.8"]
    for how in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen(
            [*command, "--workers", workers, "--output", "clean"],
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
        )
        deadline = time.monotonic() + 60
        while not any(entry.name.startswith(".clean.") for entry in files.iterdir()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(how)
        said = process.communicate(timeout=60)[1].decode()
        left = [entry.name for entry in files.iterdir() if "clean" in entry.name]
        if how == signal.SIGINT:
            # -2: Python's own end when the interrupt came in the midst of an import
            assert process.returncode in (130, -2) and "nothing more was written" in said.lower(), said
            assert left == []
        else:
            assert len(left) == 1 and left[0].startswith(".clean.")
    Path("long.txt").write_text("a\n")
    ready(run, "long.txt", "--output", "clean")
    assert [entry.name for entry in files.iterdir() if "clean" in entry.name] == ["clean"]


def test_the_guides_commands_work(run, files):
    text = GUIDE.read_text(encoding="utf-8")
    for name, body in re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL):
        Path(name).write_text(body)
    commands = re.findall(r"^kzoo (data prepare .*)$", text, re.MULTILINE)
    assert len(commands) >= 6
    Path("validation.jsonl").write_text(json.dumps({"review": "another one", "label": "positive"}))
    page = "A page of many words, of which each but a few says something else than the one before it. "
    words = " ".join(
        f"{first}{last}" for first in ("win", "som", "fal", "spr") for last in ("ter", "mer", "len", "ing")
    )
    Path("pages.jsonl").write_text(json.dumps({"text": f"{page}{words}, call (650) 253-0000. And then {words[::-1]}"}))
    for command in commands:
        ready(run, *shlex.split(command)[2:])
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, str(GUIDE), "exec"), {})
    assert Path("clean-too/part-00000.txt").is_file()
    assert "<PHONE>" in rows_of("pages-again")[0]["text"]
