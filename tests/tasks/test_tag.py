"""The tagger: targets that stand where they should, entities with exact offsets, the same alone and in any batch."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo import data
from kzoo.checkpoints.pretrained import fresh
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.tasks.load import load_task
from tests import reference, tiny
from tests.round_trip import scramble

# B texts, W windows, T length, C classes

LABELS = ["O", "B-film", "I-film", "B-mood", "I-mood"]
TEXTS = [
    "the good film was bad, not at all good!",
    "",
    "  ",
    "it was a bad film",
    "caf\u00e9 \U0001f469\u200d\U0001f469\u200d\U0001f467 film \u5317\u4eac was e\u0301t\u00e9",
    "good " * 60 + "film",
    "\x00 bad",
]


def tagger(kind="bert", *, seed=0, **options):
    """Noise for weights, and a head that says something else at every word; "bytes" has GPT-2's tokens."""
    options = {"labels": ["film", "mood"]} | options
    if kind == "bytes":
        made = fresh("roberta", tiny.tokenizer("gpt2"), dropout=0.0, **tiny.FIGURES | {"num_layers": 1})
        scramble(made.backbone, 0)
    else:
        made = tiny.pretrained(kind, num_layers=1)
    task = kzoo.Tag(made, **options)
    random = np.random.default_rng(seed)
    task.head.kernel.assign(random.normal(size=task.head.kernel.shape))
    task.head.bias.assign(random.normal(size=task.head.bias.shape))
    return task


@pytest.fixture(scope="module")
def task():
    return tagger()


def tokenized(task, texts):
    return task.tokenize({"text": tf.constant(texts)})


def examples(*rows):
    """Examples of texts with entities as (part of the text, type); a part is looked for behind the one before it."""
    entities = []
    for text, *parts in rows:
        place, found = 0, []
        for part, kind in parts:
            start = text.index(part, place)
            place = start + len(part)
            found.append({"start": start, "end": place, "type": kind})
        entities.append(found)
    return Examples({"text": [row[0] for row in rows], "entities": entities})


def learned(task, some):
    """For each word that is learned the text of its first token and its class; in the order of windows."""
    tokens = tokenized(task, some["text"].tolist())
    targets, weights = task.targets(some, tokens)
    assert targets.row_lengths().numpy().tolist() == tokens["token_ids"].row_lengths().numpy().tolist()
    found = []
    for row, *columns in zip(
        tokens["row"].numpy(), targets.to_list(), weights.to_list(), tokens["starts"].to_list(),
        tokens["ends"].to_list(), strict=True,
    ):  # fmt: skip
        text = some["text"][row]
        found += [
            (text[start:end], task.labels[target])
            for target, weight, start, end in zip(*columns, strict=True)
            if weight
        ]
        assert not any(target for target, weight, *_ in zip(*columns, strict=True) if not weight)
    return found


# -- classes -------------------------------------------------------------------------------------------------------


def test_types_become_the_classes_of_a_scheme():
    made = tiny.bert(num_layers=1)
    assert kzoo.Tag(made, labels=["film", "mood"]).labels == LABELS
    assert kzoo.Tag(made, labels=["a"], scheme="IO").labels == ["O", "I-a"]
    assert kzoo.Tag(made, labels=["a"], scheme="BIOES").labels == ["O", "B-a", "I-a", "E-a", "S-a"]
    given = kzoo.Tag(made, labels=["O", "person", "place"])
    assert given.labels == ["O", "person", "place"] and given.types == ["person", "place"]
    assert kzoo.Tag(made, labels=["I-a", "O", "B-a", "B-b-c"]).types == ["a", "b-c"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "fresh bert has no tagger of its own: name the types of entities in labels."),
        ({"labels": []}, "has no tagger of its own"),
        ({"labels": ["a", "a"]}, "labels must name different types of entities, or different classes. Received"),
        ({"labels": ["O"]}, "labels must name different types"),
        ({"labels": ["a"], "scheme": "BMEWO"}, "scheme must be one of IO, BIO, BIOES. Received 'BMEWO'."),
        ({"labels": ["a"], "aggregation": "last"}, "aggregation must be one of first, simple, average, max."),
        ({"labels": ["a"], "stride": 0}, "stride must lie between 1 and the 30 tokens that a window of max_length=32"),
        ({"labels": ["a"], "stride": 31}, "Received 31."),
        ({"labels": ["a"], "class_weights": {"B-b": 2.0}}, "class_weights must name labels of the task."),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UserError) as caught:
        kzoo.Tag(tiny.bert(num_layers=1), **options)
    assert message in str(caught.value)


def test_a_decoder_cannot_tag():
    with pytest.raises(UserError, match="tag needs a BERT-style model.* fresh gpt2 is gpt2"):
        kzoo.Tag(tiny.gpt2(num_layers=1), labels=["a"])


# -- targets -------------------------------------------------------------------------------------------------------


def test_a_word_is_learned_once_at_its_first_token(task):
    some = examples(("a filmy, good zq film!", ("filmy, good", "film"), ("film", "mood")))
    assert learned(task, some) == [
        ("a", "O"), ("film", "B-film"), (",", "I-film"), ("good", "I-film"), ("z", "O"), ("film", "B-mood"), ("!", "O"),
    ]  # fmt: skip


def test_words_are_the_same_with_byte_level_tokens():
    task = tagger("bytes")
    some = examples(("a  filmy,\u5317\u4eac \U0001f600\U0001f600 good.", ("filmy", "film"), ("\u4eac", "mood")))
    assert [(text[0], label) for text, label in learned(task, some)] == [
        ("a", "O"), ("f", "B-film"), (",", "O"), ("\u5317", "O"), ("\u4eac", "B-mood"), ("\U0001f600", "O"), ("g", "O"),
        (".", "O"),
    ]  # fmt: skip


def test_schemes_in_targets():
    some = examples(("good film", ("good film", "x")), ("bad", ("bad", "x")), ("bad film was", ("bad film was", "x")))
    for scheme, expected in [
        ("IO", "I-x I-x I-x I-x I-x I-x"),
        ("BIO", "B-x I-x B-x B-x I-x I-x"),
        ("BIOES", "B-x E-x S-x B-x I-x E-x"),
    ]:
        task = kzoo.Tag(tiny.bert(num_layers=1), labels=["x"], scheme=scheme)
        assert [label for _, label in learned(task, some)] == expected.split()
    odd = kzoo.Tag(tiny.bert(num_layers=1), labels=["B-x", "O"])
    assert {label for _, label in learned(odd, some)} == {"B-x"}


def test_simple_learns_every_token():
    task = tagger(aggregation="simple")
    some = examples(("a filmy zq", ("filmy", "film")))
    assert learned(task, some) == [("a", "O"), ("film", "B-film"), ("y", "I-film"), ("z", "O"), ("q", "O")]


def test_entities_that_begin_or_end_inside_of_a_word_take_it_whole_and_are_named(task):
    some = examples(("a filmy zq film", ("a", "mood"), ("my z", "film")))
    with pytest.warns(UserWarning) as caught:
        assert learned(task, some) == [("a", "B-mood"), ("film", "B-film"), ("z", "I-film"), ("film", "O")]
    assert str(caught[0].message) == (
        "1 of 2 entities of the examples begin or end inside of a word. The first, in row 1: 'my z' (film); 'filmy zq' "
        "is learned in its place."
    )
    two = examples(("filmy", ("fi", "mood"), ("lmy", "film")))
    with pytest.warns(UserWarning, match="2 of 2 entities"):
        assert learned(task, two) == [("film", "B-mood")]


def test_a_type_that_the_task_does_not_know(task):
    with pytest.raises(UserError) as caught:
        learned(task, examples(("a film", ("film", "thing"))))
    assert "types that the task does not know: 'thing'; it knows 'film', 'mood'. Name them in labels" in str(
        caught.value
    )


def test_class_weights():
    some = examples(("the good film was", ("good film", "film")))
    task = tagger(class_weights={"O": 0.5, "B-film": 3})
    tokens = tokenized(task, some["text"].tolist())
    assert task.targets(some, tokens)[1].to_list() == [[0, 0.5, 3, 1, 0.5, 0]]
    balanced = tagger(class_weights="balanced").targets(some, tokens)[1].to_list()[0]
    np.testing.assert_allclose(balanced, [0, 4 / 6, 4 / 3, 4 / 3, 4 / 6, 0], rtol=1e-6)


# -- windows -------------------------------------------------------------------------------------------------------


def test_every_word_of_a_long_text_is_learned_once(task):
    text = "the good filmy was, " * 15
    some = examples((text, *[("good filmy", "film")] * 15))
    assert len(tokenized(task, [text])["row"]) > 3
    assert sorted(learned(task, some)) == sorted(
        [("the", "O"), ("good", "B-film"), ("film", "I-film"), ("was", "O"), (",", "O")] * 15
    )


def test_windows_do_not_change_what_only_a_word_decides():
    """Without attention and positions a window knows nothing of the others: long texts read as short ones do."""
    task = tagger()
    for block in task.backbone.blocks:
        block.attention.output_projection.kernel.assign(block.attention.output_projection.kernel * 0.0)
    task.backbone.position_embedding.embeddings.assign(task.backbone.position_embedding.embeddings * 0.0)
    sentence = "the good filmy was bad, "
    [one], [many] = task.predict(sentence), task.predict(sentence * 25)
    assert one["entities"]
    assert [(entity["text"], entity["type"]) for entity in many["entities"]] == [
        (entity["text"], entity["type"]) for entity in one["entities"]
    ] * 25
    assert [entity["start"] for entity in many["entities"]] == [
        entity["start"] + number * len(sentence) for number in range(25) for entity in one["entities"]
    ]


# -- answers -------------------------------------------------------------------------------------------------------


def by_hand(task, text):
    """Entities of a short text from the model's logits, by the rule written out."""
    tokens = tokenized(task, [text])
    logits = task.model(task.pack(tokens, tokens["token_ids"].row_lengths()[0]), training=False)[0]
    scores = tf.nn.softmax(logits).numpy()
    found, before, inside = [], "O", False
    spans = list(zip(*(tokens[name][0].numpy() for name in ("starts", "ends", "word")), strict=True))
    for place, (start, end, word) in enumerate(spans):
        if not word:
            if end > start and found and inside:
                found[-1]["end"] = end
            continue
        label = task.labels[scores[place].argmax()]
        inside = label != "O"
        if inside and (label[0] == "B" or before == "O" or before[2:] != label[2:]):
            found.append({"type": label[2:], "start": start, "scores": []})
        if inside:
            found[-1]["end"] = end
            found[-1]["scores"].append(scores[place].max())
        before = label
    for one in found:
        one["text"] = text[one["start"] : one["end"]]
        one["score"] = float(np.mean(one.pop("scores")))
    return found


def test_predict_is_the_computation_by_hand():
    for seed in range(2):
        task = tagger(seed=seed)
        for text in (TEXTS[0], TEXTS[4]):
            [answer] = task.predict(text)
            expected = by_hand(task, text)
            scores = [one.pop("score") for one in answer["entities"]]
            np.testing.assert_allclose(scores, [one.pop("score") for one in expected], atol=1e-5)
            assert answer["entities"] == expected


@pytest.mark.parametrize(
    ("kind", "aggregation"), [("bert", "first"), ("bert", "max"), ("bytes", "simple"), ("bytes", "average")]
)
def test_offsets_count_code_points_and_an_answer_does_not_depend_on_its_batch(kind, aggregation):
    task = tagger(kind, aggregation=aggregation, seed=1)
    together = task.predict(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        for one in answer["entities"]:
            assert one["text"] == text[one["start"] : one["end"]] and one["text"] == one["text"].strip() != ""
            assert one["type"] in ("film", "mood") and 0 < one["score"] <= 1
        [alone] = task.predict(text)
        for one, other in zip(alone["entities"], answer["entities"], strict=True):
            assert one.pop("score") == pytest.approx(other.pop("score"), abs=1e-5)
            assert one == other
    assert together[1] == together[2] == {"entities": []} and any(answer["entities"] for answer in together)
    assert task.predict([]) == []


def test_text_that_is_not_utf_8_has_an_answer_that_is():
    task = tagger(labels=["I-a", "O"])
    task.head.bias.assign([50.0, 0.0])
    served = task.serve({"text": tf.constant([b"bad \xff\xfe film", b"\xf0\x9f\x98"])})
    assert [one.decode() for one in served["text"][:, 0].numpy()] == ["bad \ufffd\ufffd film", ""]  # BERT drops U+FFFD
    assert served["start"].numpy()[0, 0] == 0 and served["end"].numpy()[0, 0] == 11


def test_the_served_answers_are_padded(task):
    served = task.serve({"text": tf.constant(TEXTS)})
    counts = served["count"].numpy()
    width = max(1, counts.max())
    for name in ("text", "type", "score", "start", "end"):
        assert served[name].shape == (len(TEXTS), width)
        for row, count in zip(served[name].numpy(), counts, strict=True):
            assert not any(row[count:])
    nothing = task.serve({"text": tf.constant(["", " "])})
    assert nothing["text"].shape == (2, 1) and nothing["count"].numpy().tolist() == [0, 0]
    assert task.serve({"text": tf.constant([], tf.string)})["text"].shape == (0, 1)


def test_every_word_has_an_answer(task):
    served = {name: value.numpy() for name, value in task.serve_words({"text": tf.constant(TEXTS)}).items()}
    for row, text in enumerate(TEXTS):
        count = served["count"][row]
        words = [word.decode() for word in served["text"][row, :count]]
        spans = list(zip(served["start"][row, :count], served["end"][row, :count], strict=True))
        assert words == [text[start:end] for start, end in spans]
        assert "".join(words) == "".join(text.replace("\x00", "").replace("\u200d", "").split()) or row == 4
        assert not served["text"][row, count:].any()
        best = served["scores"][row, :count].argmax(-1)
        assert [one.decode() for one in served["label"][row, :count]] == [LABELS[number] for number in best]
        np.testing.assert_allclose(served["scores"][row, :count].sum(-1), 1.0, atol=1e-5)
    assert [one.decode() for one in served["classes"][0]] == LABELS
    first = [word.decode() for word in served["text"][0, : served["count"][0]]]
    assert first == ["the", "good", "film", "was", "bad", ",", "not", "at", "all", "good", "!"]


# -- saved, loaded, learned ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "modernbert", "roberta", "transformer_encoder"])
def test_saved_and_loaded(kind, tmp_path):
    task = tagger(kind, stride=5, max_length=20)
    task.save(tmp_path)
    loaded = load_task(tmp_path)
    assert isinstance(loaded, kzoo.Tag) and loaded.options() == task.options()
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {str(number): label for number, label in enumerate(LABELS)}
    assert config["label2id"]["I-mood"] == 4
    assert config["architectures"] == [task.pretrained.family.HEADS["tag"].architecture]
    texts = {"text": tf.constant(TEXTS)}
    np.testing.assert_array_equal(loaded.serve(texts)["score"], task.serve(texts)["score"])


def test_a_published_directory_is_a_tagger(task, tmp_path):
    task.save(tmp_path)
    (tmp_path / "kzoo.json").unlink()
    loaded = load_task(tmp_path)
    assert isinstance(loaded, kzoo.Tag) and loaded.labels == LABELS
    np.testing.assert_array_equal(loaded.head.kernel, task.head.kernel)
    others = kzoo.Tag(kzoo.load(tmp_path), labels=["x", "y"])
    assert abs(others.head.kernel.numpy()).max() < 0.1  # a head of other classes is not taken over


def taught():
    return examples(
        ("the good film was bad", ("good film", "film"), ("bad", "mood")),
        ("it was a bad film", ("bad film", "film")),
        ("  good\tfilm  at all", ("good\tfilm", "film")),
        ("the film was not good", ("not good", "mood")),
    )


def test_it_learns_through_fit():
    keras.utils.set_random_seed(0)
    task = kzoo.Tag(tiny.bert(num_layers=1), labels=["film", "mood"])
    some = taught()
    often = some.take(list(range(4)) * 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        settings = dict(epochs=3, batch_size=4, learning_rate=0.02, logging={"progress": "none"})
        run = kzoo.fit(task, often, some, say=lambda text: None, **settings)
    assert run.history[-1]["val_f1"] == 1.0 and run.history[0]["val_f1"] < 1.0
    assert run.history[-1]["val_accuracy"] == 1.0
    found = [
        [(one["text"], one["type"]) for one in answer["entities"]] for answer in task.predict(some["text"].tolist())
    ]
    assert found == [
        [("good film", "film"), ("bad", "mood")],
        [("bad film", "film")],
        [("good\tfilm", "film")],
        [("not good", "mood")],
    ]


def test_the_loss_is_that_of_a_word(task):
    """However long the texts, however they are batched, whatever is padded."""
    some = taught()
    tokens = tokenized(task, some["text"].tolist())
    targets, weights = task.targets(some, tokens)
    logits = task.model(task.pack(tokens, 12), training=False)
    words = weights.to_tensor(shape=[None, 12]).numpy() > 0
    likelihood = tf.nn.log_softmax(logits).numpy()[words]
    expected = -likelihood[np.arange(words.sum()), targets.to_tensor(shape=[None, 12]).numpy()[words]].mean()
    for batch_size in (3, 4):
        measured = kzoo.evaluate(task, some, batch_size=batch_size)
        assert measured["loss"] == pytest.approx(expected, abs=1e-5)
        assert measured["targets"] == words.sum() == 19


def test_batches_need_both_columns(task):
    with pytest.raises(UserError, match="The task tag needs the columns text, entities"):
        data.batches(task, Examples({"text": ["a"]}), batch_size=1, training=True)


# -- the reference -------------------------------------------------------------------------------------------------


@pytest.mark.parity
def test_a_checkpoint_of_transformers_finds_what_its_pipeline_finds(tmp_path):
    import transformers

    names = dict(enumerate(["B-film", "O", "I-film", "I-mood", "B-mood"]))
    theirs = reference.make(
        "BertForTokenClassification",
        tmp_path,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    texts = [
        *tiny.TEXTS,
        "filmy good-badly zq! it's notallgood, wasbadfilm",
        "caf\u00e9 \U0001f600 \u5317\u4eac filmwas",
    ]
    found = 0
    for aggregation in ("simple", "first", "average", "max"):
        pipeline = transformers.pipeline(
            "token-classification", model=theirs, tokenizer=tokenizer, aggregation_strategy=aggregation
        )
        task = kzoo.Tag(kzoo.load(tmp_path), aggregation=aggregation)
        assert task.labels == list(names.values())
        for text, answer in zip(texts, task.predict(texts), strict=True):
            expected = pipeline(text)
            scores = [one["score"] for one in answer["entities"]]
            np.testing.assert_allclose(scores, [one["score"] for one in expected], atol=1e-4)
            assert [(one["type"], one["start"], one["end"]) for one in answer["entities"]] == [
                (one["entity_group"], one["start"], one["end"]) for one in expected
            ]
            found += len(expected)
    assert found > 40


@pytest.mark.parity
def test_transformers_loads_what_is_saved(task, tmp_path):
    task.save(tmp_path)
    theirs = reference.load(tmp_path, "BertForTokenClassification")
    assert theirs.config.id2label == dict(enumerate(LABELS))
    tokens = tokenized(task, tiny.TEXTS)
    features = {name: one.numpy() for name, one in task.pack(tokens, 24).items()}
    mine = task.model(features, training=False).numpy()
    real = features["padding_mask"] > 0
    np.testing.assert_allclose(reference.ask(theirs, features)["logits"][real], mine[real], atol=1e-4)
