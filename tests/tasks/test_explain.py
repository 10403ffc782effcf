"""Attributions: they add up to the score, do not depend on the batch, name parts of the text, are those of torch."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.serving import saved_model, warmup
from kzoo.serving.export import export
from kzoo.serving.graph import Graph
from kzoo.tasks.explain import INTEGRATED, TIMES_INPUT
from kzoo.tasks.load import load_task
from tests import reference, tiny

LABELS = ["bad", "so so", "good"]
TEXTS = [*tiny.TEXTS, "Schön, 👩‍👩‍👧 \x00", ""]
OTHERS = ["all", "", "it was bad", "good film", "été", "a"]


def made(form, kind="bert"):
    pretrained = tiny.pretrained(kind, num_layers=1)
    if form == "number":
        task = kzoo.Regress(pretrained, pair=True)
    else:
        task = kzoo.Classify(pretrained, labels=LABELS, multi_label=form == "several", pair=form == "pair")
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, task.units)))
    return task


def asked(task):
    return {"text": TEXTS, "text_pair": OTHERS} if task.pair else TEXTS


FORMS = [
    ("pair", "bert"),
    *(pytest.param(one, marks=pytest.mark.slow) for one in (("one", "gpt2"), ("several", "bert"), ("number", "bert"))),
]


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def task(request):
    return made(*request.param)


@pytest.fixture(scope="module")
def classifier():
    return made("one")


def test_attributions_add_up_to_the_way_from_the_baseline(task):
    explained, answers = task.explain(asked(task)), task.predict(asked(task))
    for found, answer in zip(explained, answers, strict=True):
        parts = sum(token["attribution"] for token in found["tokens"])
        assert found["score"] - found["baseline_score"] == pytest.approx(parts + found["gap"], abs=1e-6)
        assert abs(found["gap"]) < 1e-3
        if task.explained_labels:
            place = int(np.argmax(answer["scores"]))
            assert found["label"] == LABELS[place]
            assert found["score"] == pytest.approx(answer["scores"][place], abs=1e-5)
        else:
            assert found["score"] == pytest.approx(answer["score"], abs=1e-5)


def test_a_text_is_explained_alike_in_every_batch_and_by_parts_of_itself(task):
    together = task.explain(asked(task))
    for place, found in enumerate(together):
        texts = [TEXTS[place], OTHERS[place]] if task.pair else [TEXTS[place]]
        for token in found["tokens"]:
            assert token["token"] == texts[token.get("text_index", 0)][token["start"] : token["end"]]
        (alone,) = task.explain(dict(zip(task.inputs, ([text] for text in texts), strict=True)))
        assert [one["token"] for one in alone["tokens"]] == [one["token"] for one in found["tokens"]]
        np.testing.assert_allclose(
            [one["attribution"] for one in alone["tokens"]], [one["attribution"] for one in found["tokens"]], atol=1e-5
        )
    shown = "".join(token["token"] for token in together[1]["tokens"] if token.get("text_index", 0) == 0)
    assert shown.replace(" ", "") == TEXTS[1].replace(" ", "")


def test_any_label_can_be_explained_by_either_method(classifier):
    (answer,) = classifier.predict(TEXTS[1])
    found = {label: classifier.explain(TEXTS[1], target=label)[0] for label in LABELS}
    assert [one["score"] for one in found.values()] == pytest.approx(answer["scores"], abs=1e-5)
    shares = np.sum([[token["attribution"] for token in one["tokens"]] for one in found.values()], axis=0)
    np.testing.assert_allclose(shares, 0, atol=1e-5)  # probabilities add up to 1, so what is for one is against others
    (rough,) = classifier.explain(TEXTS[1], method=TIMES_INPUT, target="good")
    task, features = classifier, classifier.pack(classifier.tokenize({"text": tf.constant(TEXTS[1:2])}), 9)
    vectors = tf.convert_to_tensor(task.backbone.token_embedding(features["token_ids"]))
    with tf.GradientTape() as tape:
        tape.watch(vectors)
        score = tf.nn.softmax(task.logits_of_vectors(features, vectors))[0, 2]
    expected = tf.reduce_sum(tape.gradient(score, vectors) * vectors, -1)[0, 1:-1]
    np.testing.assert_allclose([token["attribution"] for token in rough["tokens"]], expected, atol=1e-5)
    assert abs(rough["gap"]) > 1e-3  # what is small elsewhere is not small of itself


@pytest.mark.slow
def test_baselines(classifier):
    (found,) = classifier.explain("bad film", baseline="mask")
    assert found["baseline_score"] == pytest.approx(
        classifier.predict("[MASK] [MASK]")[0]["scores"][LABELS.index(found["label"])], abs=1e-5
    )
    with pytest.raises(UserError, match="has no mask token. Use baseline zero"):
        made("one", "gpt2").explain("a", baseline="mask")


@pytest.mark.slow
@pytest.mark.parametrize("form, kind", [("pair", "bert"), ("one", "gpt2")])
def test_attention_maps(form, kind):
    task = made(form, kind)
    for found in task.explain(asked(task), attention=True, steps=2):
        maps = np.array(found["attention"])  # [L, P, P]
        assert maps.shape[0] == 1 and maps.shape[1] == maps.shape[2]
        places = [token["place"] for token in found["tokens"]]
        assert places == sorted(set(places)) and (not places or places[-1] < maps.shape[1])
        np.testing.assert_allclose(maps[:, places].sum(-1), 1, atol=1e-5)
        if task.pretrained.is_decoder:
            assert np.triu(maps[0], 1).max() == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "fine"}, "target must be one of the model's labels, 'bad', 'so so', 'good'. Received 'fine'"),
        ({"method": "saliency"}, "method must be one of integrated_gradients, gradient_times_input. Received 's"),
        ({"baseline": "noise"}, "baseline must be one of zero, pad, mask. Received 'noise'"),
        ({"steps": 0}, "steps must lie between 1 and 512. Received 0"),
    ],
)
def test_mistakes(classifier, options, message):
    with pytest.raises(UserError, match=message):
        classifier.explain("a film", **options)


@pytest.mark.slow
def test_it_is_served(classifier, tmp_path):
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8,))
    path = export(classifier, tmp_path / "export", warm_up=plan, explain={"steps": 24, "attention": True})
    loaded = tf.saved_model.load(str(path))
    answers = loaded.signatures["explain"](text=tf.constant(TEXTS))
    expected = classifier.explain(TEXTS, steps=24, attention=True)
    for place, found in enumerate(expected):
        count = int(answers["count"][place])
        tokens = [token.decode() for token in answers["token"][place, :count].numpy()]
        assert tokens == [token["token"] for token in found["tokens"]]
        shares = answers["attribution"][place]
        np.testing.assert_allclose(shares[:count], [token["attribution"] for token in found["tokens"]], atol=1e-5)
        assert not np.any(shares[count:])
    knobs = {"target": ["good"] * 6, "method": [INTEGRATED, TIMES_INPUT] * 3}
    asked = loaded.signatures["explain_options"](text=tf.constant(TEXTS), **map_constants(knobs))
    assert set(asked["label"].numpy()) == {b"good"}
    exact, rough = np.abs(asked["gap"].numpy()[0:4:2]), np.abs(asked["gap"].numpy()[1:4:2])
    assert exact.max() < 1e-3 < rough.max()
    with pytest.raises(tf.errors.InvalidArgumentError, match="target must be one of"):
        loaded.signatures["explain_options"](
            text=tf.constant(["a"]), **map_constants({"target": ["x"], "method": [INTEGRATED]})
        )
    meta_graph = saved_model.read(path)
    outputs = [one.name for one in meta_graph.signature_def["explain"].outputs.values()]
    reached = {node.op for _, node in Graph(meta_graph.graph_def).reached(outputs)}
    assert not [name for name in reached if name.startswith(("Assign", "ResourceApply", "Random"))], reached


def map_constants(values):
    return {name: tf.constant(value) for name, value in values.items()}


def test_other_tasks_cannot_explain(tmp_path):
    with pytest.raises(UserError, match="Only the tasks classify and regress explain their answers. This one is embed"):
        export(kzoo.Embed(tiny.bert(num_layers=1)), tmp_path / "export", explain=True)


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["Bert", "GPT2"])
def test_it_is_what_torch_differentiates(kind, tmp_path):
    import torch

    theirs = reference.make(f"{kind}ForSequenceClassification", tmp_path, num_labels=3)
    task = load_task(tmp_path)
    (found,) = task.explain(TEXTS[1], steps=16, attention=True)
    features = task.pack(task.tokenize({"text": tf.constant(TEXTS[1:2])}), found_length(task))
    ids = torch.tensor(features["token_ids"].numpy()).long()
    given = theirs.get_input_embeddings()(ids).detach()
    base = given.clone()
    base[0, [token["place"] for token in found["tokens"]]] = 0
    nodes, weights = np.polynomial.legendre.leggauss(16)
    total = torch.zeros_like(given)
    place = [task.labels.index(found["label"])]
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        vectors = (base + node * (given - base)).float().requires_grad_()
        score = torch.softmax(theirs(inputs_embeds=vectors)["logits"], -1)[0, place].sum()
        total += weight * torch.autograd.grad(score, vectors)[0]
    expected = ((given - base) * total).sum(-1)[0, [token["place"] for token in found["tokens"]]]
    np.testing.assert_allclose([token["attribution"] for token in found["tokens"]], expected, atol=1e-5)
    theirs.set_attn_implementation("eager")
    seen = reference.ask(theirs, features, output_attentions=True)["attentions"]
    np.testing.assert_allclose(found["attention"], [one[0].mean(0) for one in seen], atol=1e-5)


def found_length(task):
    return int(task.tokenize({"text": tf.constant(TEXTS[1:2])})["token_ids"].row_lengths()[0])
