import random

import pytest

from kzoo import data
from kzoo.data import tags
from kzoo.data.entities import Entity, entities_of, types_of
from kzoo.errors import UserError


def written(tmp_path, content, name="some.conll"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def refused(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def spans(examples):
    return [
        [(text[one.start : one.end], one.type) for one in row]
        for text, row in zip(examples["text"], entities_of(examples), strict=True)
    ]


def test_sentences_become_texts_with_entities_and_the_offsets_of_their_tokens(tmp_path):
    path = written(
        tmp_path, "Ann\tB-person\nLee\tI-person\nin\tO\nBonn\tB-place\n\t\n#tag\tO\n\U0001f600\tB-thing\nx\tI-thing\n"
    )
    examples = data.read(path)
    assert examples["text"].tolist() == ["Ann Lee in Bonn", "#tag \U0001f600 x"]
    assert spans(examples) == [[("Ann Lee", "person"), ("Bonn", "place")], [("\U0001f600 x", "thing")]]
    assert examples["tokens"].tolist() == [[[0, 3], [4, 7], [8, 10], [11, 15]], [[0, 4], [5, 6], [7, 8]]]
    assert types_of(examples) == ["person", "place", "thing"]
    assert data.read(path, joiner="")["text"].tolist() == ["AnnLeeinBonn", "#tag\U0001f600x"]


def test_columns_comments_documents_and_line_ends(tmp_path):
    content = (
        "# a comment = of some words\n-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nrejects VBZ I-VP O\r\n\n\n# id 7\n"
        "# SYM O O\n# NN O B-ORG\n"
    )
    examples = data.read(written(tmp_path, content, "train.txt"), format="conll")
    assert examples["text"].tolist() == ["EU rejects", "# #"]
    assert spans(examples) == [[("EU", "ORG")], [("#", "ORG")]]
    chunks = data.read(written(tmp_path, content), columns=["token", "part", "tag", "entity"])
    assert spans(chunks) == [[("EU", "NP"), ("rejects", "VP")], []]
    assert list(data.read(written(tmp_path, content), columns={"text": "text", "entities": "entities"})) == [
        "text",
        "entities",
    ]


@pytest.mark.parametrize(
    "given, meant",
    [
        ("I-a I-a O I-b", [(0, 2, "a"), (3, 4, "b")]),  # IOB1, or a B- that was forgotten
        ("I-a B-a I-a", [(0, 1, "a"), (1, 3, "a")]),
        ("B-a I-b I-b", [(0, 1, "a"), (1, 3, "b")]),
        ("S-a B-a I-a E-a E-a", [(0, 1, "a"), (1, 4, "a"), (4, 5, "a")]),
        ("U-a B-a L-a", [(0, 1, "a"), (1, 3, "a")]),
        ("a a O b", [(0, 2, "a"), (3, 4, "b")]),
        ("person-actor O", [(0, 1, "person-actor")]),
        ("B-creative-work I-creative-work", [(0, 2, "creative-work")]),
        ("", []),
    ],
)
def test_tags_mean_entities(given, meant):
    assert tags.entities(given.split()) == meant


def test_tags_are_read_as_seqeval_reads_them():
    from seqeval.metrics.sequence_labeling import get_entities

    drawn = random.Random(0)
    for _ in range(500):
        row = drawn.choices(["O", *(f"{place}-{kind}" for place in "BIES" for kind in "xy")], k=drawn.randrange(12))
        assert tags.entities(row) == [(first, last + 1, kind) for kind, first, last in get_entities(row)]


def test_what_is_wrong_in_columns_is_said_with_its_line(tmp_path):
    def of(content, **options):
        return refused(data.read, written(tmp_path, content), **options).replace(str(tmp_path), "")

    assert of("a\tO\nb\n") == (
        "/some.conll:2: every line must have 2 columns, as the first one has. This one has 1: 'b'. Between sentences "
        "stands an empty line."
    )
    assert of("a\tO\n\tO\n") == "/some.conll:2: a line must have a token and a tag. Received '\\tO'."
    assert of("a\tB-x\nb\ty\n") == (
        "/some.conll:2: the tag 'y' is unknown: it is not O, and the other tags of the file begin with B-, I- and the "
        "like."
    )
    assert "have no B- or I- before the type" in of("a\tx\nb\tB-y\n")
    assert of("alone\n").startswith("/some.conll:1: a line must have a token and a tag, with a tab or a space between.")
    assert of("# nothing\n\n") == "/some.conll holds no line with a token and a tag."
    assert of("a\tO\n", columns=["token", "pos", "tag"]) == (
        "columns must name all 2 columns of /some.conll, among them token and tag. Received token, pos, tag."
    )


def test_entities_come_in_several_forms(tmp_path):
    lines = [
        '{"text": "Ann in Bonn", "entities": [{"start": 6, "end": 11, "label": "place"}, '
        '{"start": 0, "end": 3, "type": "person"}]}',
        '{"text": "Ann in Bonn", "entities": [[0, 4, "person"]]}',
        '{"text": "nobody", "entities": []}',
    ]
    examples = data.read(written(tmp_path, "\n".join(lines), "some.jsonl"))
    assert spans(examples) == [[("Ann", "person"), ("Bonn", "place")], [("Ann", "person")], []]
    table = data.read(written(tmp_path, 'text,entities\nAnn,"[[0, 3, ""person""]]"\nno one,\n', "some.csv"))
    assert entities_of(table) == [[Entity(0, 3, "person")], []]


@pytest.mark.parametrize(
    "given, message",
    [
        ([[0, 9, "x"]], "Row 1 of the examples: an entity must lie inside of its text, which has 8 characters. "
         "Received start=0, end=9. Offsets count characters (code points, not bytes), and the end is exclusive."),
        ([[3, 3, "x"]], "start=3, end=3"),
        ([[-1, 3, "x"]], "start=-1, end=3"),
        ([[0, 4, "x"], [2, 5, "y"]], "entities must not overlap. 'Ann' (0 to 3, x) and 'n i' (2 to 5, y) do. Keep"),
        ([[0, "3", "x"]], "Row 1 of the examples: an entity is"),
        ([[0, 3]], "an entity is"),
        ([{"start": 0, "end": 3}], "an entity is"),
        ([[0, 3, " "]], "an entity is"),
        ([[3, 4, "x"]], "an entity must hold more than white space. Received start=3, end=4"),
        (7, "entities must be a list of"),
        ("[[0", "entities must be a list, or one as JSON. Received '[[0'."),
    ],
)  # fmt: skip
def test_what_is_no_entity_is_said_with_its_row(given, message):
    assert message in refused(entities_of, data.Examples({"text": ["Ann in B"], "entities": [given]}))


def test_examples_without_any_entity_are_refused():
    assert refused(types_of, data.Examples({"text": ["a"], "entities": [[]]}, source="my.conll")) == (
        "my.conll holds no entity in any of its 1 texts. Is it the right file?"
    )
