"""The page for a person, in headless Chromium: every kind of signature is asked by its form and its answer is read."""

import json
import re

import pytest

from kzoo.serving.server import Server
from kzoo.serving.server.front_page import front_page
from tests.browser import Browser

TEXT = "Ada 👩‍👩‍👧 Löve met Bob"  # offsets count code points: Löve begins at 10


def _save(folder):
    """One model with a signature of every kind that kzoo's tasks have; the answers are what the page must show."""
    import tensorflow as tf

    def spec(*names, dtype=tf.string):
        return [tf.TensorSpec([None], dtype, name=name) for name in names]

    def fixed(rows, value, dtype=None):  # the same answer for every row
        tensor = tf.constant(value, dtype)
        return tf.broadcast_to(tensor, tf.concat([tf.shape(rows)[:1], tf.shape(tensor)], 0))

    made = {}

    def signature(*specs, **answers):
        def keep(function):
            made[function.__name__] = tf.function(function, input_signature=specs, autograph=False)

        return keep

    @signature(*spec("text"))
    def serving_default(text):
        negative = tf.strings.regex_full_match(text, ".*not.*")
        scores = tf.where(negative[:, None], [[0.125, 0.875]], [[0.75, 0.25]])
        names = ["good", "bad <b>"]
        return {
            "label": tf.gather(tf.constant(names), tf.argmax(scores, -1)),
            "scores": scores,
            "classes": fixed(text, names),
        }

    @signature(*spec("text"))
    def several_labels(text):
        return {
            "labels": fixed(text, ["film", "music", ""]),
            "count": fixed(text, 2),
            "classes": fixed(text, ["film", "music", "sport"]),
            "scores": fixed(text, [0.9, 0.6, 0.1]),
        }

    @signature(*spec("text"))
    def tag(text):
        return {
            "text": fixed(text, ["Ada", "Löve", ""]),
            "type": fixed(text, ["person", "place", ""]),
            "score": fixed(text, [0.9, 0.5, 0.0]),
            "start": fixed(text, [0, 10, 0]),
            "end": fixed(text, [3, 14, 0]),
            "count": fixed(text, 2),
        }

    @signature(*spec("text"))
    def tokens(text):
        return {
            "text": fixed(text, ["Ada", "met"]),
            "label": fixed(text, ["B-person", "O"]),
            "score": fixed(text, [0.9, 0.5]),
            "start": fixed(text, [0, 15]),
            "end": fixed(text, [3, 18]),
            "count": fixed(text, 2),
        }

    @signature(*spec("question", "context"))
    def answer(question, context):
        return {
            "answer": fixed(context, "Löve"),
            "score": fixed(context, 0.5),
            "start": fixed(context, 10),
            "end": fixed(context, 14),
        }

    @signature(*spec("question", "context"))
    def n_best(question, context):
        return {
            "answer": fixed(context, ["Ada", "Löve", ""]),
            "score": fixed(context, [0.75, 0.125, 0.0]),
            "start": fixed(context, [0, 10, 0]),
            "end": fixed(context, [3, 14, 0]),
            "count": fixed(context, 2),
            "no_answer_score": fixed(context, 0.0625),
            "margin": fixed(context, 0.6875),
        }

    @signature(*spec("text"))
    def embed(text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        return {"embedding": tf.stack([length, tf.zeros_like(length) + 3.0], -1)}

    @signature(*spec("text"))
    def fill_mask(text):
        return {
            "words": fixed(text, [["good", "bad"], ["", ""]]),
            "scores": fixed(text, [[0.5, 0.25], [0.0, 0.0]]),
            "count": fixed(text, 1),
        }

    half, seven = tf.constant([0.5]), tf.constant([7])

    @signature(*spec("prompt"), *spec("temperature", dtype=tf.float32), *spec("seed", dtype=tf.int32))
    def generate(prompt, temperature=half, seed=seven):
        return {
            "text": tf.strings.join([" at ", tf.strings.as_string(temperature, 2), " ", tf.strings.as_string(seed)]),
            "finish_reason": fixed(prompt, "length"),
            "count": fixed(prompt, 3),
            "log_probability": fixed(prompt, -1.5),
        }

    @signature(*spec("prompt"))
    def generate_several(prompt):
        return {"text": fixed(prompt, [" one", " two"]), "finish_reason": fixed(prompt, ["stop", "length"])}

    @signature(*spec("text"))
    def rate(text):
        return {"score": tf.cast(tf.strings.length(text), tf.float32) / 4.0}

    @signature(*spec("prompt", "text"))
    def score(prompt, text):
        return {
            "perplexity": fixed(text, 12.5),
            "log_probability": fixed(text, -3.0),
            "count": fixed(text, 4),
        }

    @signature(*spec("inputs"))
    def classify(inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return {"classes": fixed(text, ["few", "many"]), "scores": fixed(text, [0.25, 0.75])}

    @signature(*spec("inputs"))
    def regress(inputs):
        text = tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return {"outputs": tf.cast(tf.strings.length(text), tf.float32)}

    @signature(*spec("text"))
    def explain(text):
        return {
            "label": fixed(text, "good"),
            "score": fixed(text, 0.75),
            "baseline_score": fixed(text, 0.5),
            "gap": fixed(text, 0.0),
            "token": fixed(text, ["Ada", "Löve", ""]),
            "attribution": fixed(text, [0.5, -0.25, 0.0]),
            "start": fixed(text, [0, 10, 0]),
            "end": fixed(text, [3, 14, 0]),
            "count": fixed(text, 2),
        }

    @signature(*spec("text"))
    def search(text):
        return {
            "text": fixed(text, ["the nearest", "the next"]),
            "score": fixed(text, [0.9, 0.8]),
            "index": fixed(text, [17, 4]),
        }

    @signature(
        tf.TensorSpec([None, 2], tf.float32, name="pair"),
        *spec("flag", dtype=tf.bool),
        *spec("ratio", dtype=tf.float32),
        *spec("whole", dtype=tf.int64),
    )
    def odd(pair, flag, ratio, whole):
        return {"quotient": pair / ratio[:, None], "flag": flag, "whole": whole + 1}

    module = tf.Module()
    module.kept = made
    tf.saved_model.save(module, str(folder), signatures=made)
    example = {"examples": {"fill_mask": {"inputs": {"text": ["It was [MASK]."]}, "outputs": {}}}, "task": "classify"}
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "kzoo.json").write_text(json.dumps(example))


def _save_words(folder, mark):
    """A model that says which version it is, and refuses an empty text."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def shout(text):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(text != ""), ["a text is empty"])]):
            return {"shout": tf.strings.upper(text), "mark": tf.fill(tf.shape(text), mark)}

    tf.saved_model.save(tf.Module(), str(folder), signatures=shout)


@pytest.fixture(scope="module")
def page_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    _save(folder / "kinds" / "3")
    _save_words(folder / "words" / "1", "one")
    _save_words(folder / "words" / "2", "two")
    (folder / "models.config").write_text(f"""
model_config_list {{
  config {{ name: "kinds" base_path: "{folder}/kinds" model_platform: "tensorflow" }}
  config {{
    name: "words" base_path: "{folder}/words" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
    version_labels {{ key: "old" value: 1 }}
  }}
}}
""")
    options = {"allow_version_labels_for_unavailable_models": True, "rest_port": 0, "grpc_port": None}
    with Server(folder / "models.config", **options) as server:
        yield server


class Page:
    """The front page in a browser."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.open(f"{address}/")
        browser.wait_for("Try the models")

    def choose(self, name, text):
        """Chooses an option by the beginning of its text."""
        found = self.browser.evaluate(f"""(() => {{
            const select = document.getElementById({json.dumps(name)});
            const option = [...select.options].find(one => one.text.startsWith({json.dumps(text)}));
            if (option) {{ select.value = option.value; select.dispatchEvent(new Event("change")); }}
            return !!option;
        }})()""")
        assert found, f"{name} has no {text}"

    def ask(self, **written):
        """Writes, presses the button, and returns what the page answers."""
        for name, text in written.items():
            self.browser.fill(f"#input-{name}", text)
        self.browser.evaluate("document.getElementById('answer').replaceChildren()")
        self.browser.click("#send")
        self.browser.evaluate("""new Promise(done => {
            const look = () => document.getElementById("answer").childElementCount
                && !document.getElementById("send").disabled ? done() : setTimeout(look, 20);
            look();
        })""")
        return self.read("answer")

    def read(self, name):
        return self.browser.evaluate(f"document.getElementById({json.dumps(name)}).innerText")

    def all(self, selector):
        return self.browser.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)"
        )


@pytest.fixture(scope="module")
def page(page_server, chromium, tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile")
    with Browser(chromium, profile, width=1200) as browser:
        yield Page(browser, page_server.rest_address)


pytestmark = pytest.mark.browser
CASES = {
    "serving_default": ({"text": "not at all"}, ["bad <b>", "87.5 %", "good", "12.5 %"]),
    "several_labels": ({"text": TEXT}, ["film, music", "90.0 %", "sport", "10.0 %"]),
    "answer": ({"question": "Who?", "context": TEXT}, ["Löve", "score\n0.5"]),
    "n_best": ({"question": "Who?", "context": TEXT}, ["Ada", "75.0 %", "12.5 %", "margin\n0.6875"]),
    "fill_mask": ({}, ["It was good.", "50.0 %", "bad", "25.0 %"]),
    "generate_several": ({"prompt": "Once"}, ["Once one", "ended by\nstop", "Once two", "ended by\nlength"]),
    "rate": ({"text": "nine long"}, ["2.25"]),
    "score": ({"prompt": "", "text": "long"}, ["Perplexity 12.5", "log-probability\n-3", "tokens\n4"]),
    "classify": ({"text": "a text"}, ["many", "75.0 %", "few", "25.0 %"]),
    "regress": ({"text": "a text"}, ["6"]),
    "search": ({"text": "near"}, ["the nearest", "score 0.9, number 17", "the next"]),
}


@pytest.mark.parametrize("signature", CASES)
def test_a_signature_of_each_kind_is_asked_and_its_answer_read(page, signature):
    page.choose("model", "kinds")
    page.choose("signature", signature)
    written, expected = CASES[signature]
    answer = page.ask(**written)
    assert [one for one in expected if one not in answer] == []
    assert page.all(".problem") == []
    assert page.read("time").startswith("200 in ")


def test_what_was_found_is_marked_where_it_stands(page):
    page.choose("model", "kinds")
    for signature, kinds in (("tag", ["person", "place"]), ("tokens", ["B-person"])):
        page.choose("signature", signature)
        page.ask(text=TEXT)
        assert page.all("#answer mark") == [f"{word}{kind}" for word, kind in zip(["Ada", "Löve"], kinds, strict=False)]
        assert page.all("#answer .passage")[0].replace("person", "").replace("place", "").replace("B-", "") == TEXT
    page.choose("signature", "answer")
    page.ask(context=TEXT)
    assert page.all("#answer mark") == ["Löveanswer"]
    page.choose("signature", "explain")
    assert "orange against it" in page.ask(text=TEXT)
    assert page.all(".weighed span") == ["Ada", "Löve"]
    hues = [re.search(r"rgb\w*\((\d+), (\d+), (\d+)", colour).groups() for colour in page.browser.evaluate(
        "[...document.querySelectorAll('.weighed span')].map(one => getComputedStyle(one).backgroundColor)"
    )]  # fmt: skip
    (red, _, blue), (other_red, _, other_blue) = [tuple(map(int, hue)) for hue in hues]
    assert blue > red and other_red > other_blue


def test_two_texts_are_compared_by_their_embeddings(page):
    page.choose("model", "kinds")
    page.choose("signature", "embed")
    assert "Write a second text" in page.ask(text="four", compare="")
    answer = page.ask(text="four", compare="0123456789")  # (4, 3) and (10, 3): 49 / (5 · 10.44)
    assert "Cosine 0.9387" in answer


def test_settings_have_the_signatures_defaults(page):
    page.choose("model", "kinds")
    page.choose("signature", "generate")
    assert "Once at 0.50 7" in page.ask(prompt="Once")
    assert "ended by\nlength" in page.read("answer") and "log-probability\n-1.5" in page.read("answer")
    assert "Once at 0.25 9" in page.ask(temperature="0.25", seed="9")
    refused = page.ask(seed="1.5")
    assert "Not sent." in refused and "seed must be a whole number. It is 1.5." in refused
    assert page.browser.evaluate("document.activeElement.id") == "input-seed"
    assert page.browser.evaluate("document.getElementById('settings').open")
    assert "Once at 0.25 3" in page.ask(seed="3")


def test_other_inputs_have_a_plain_form_and_errors_are_shown(page):
    page.choose("model", "kinds")
    page.choose("signature", "odd")
    answer = page.ask(pair="[1, -3]", ratio="2", whole="41")
    assert "quotient\n[0.5,-1.5]" in answer and "flag\nfalse" in answer and "whole\n42" in answer
    assert '"Infinity"' in page.ask(pair="[1, 0]", ratio="0")  # which is no JSON, and comes as a bare word
    refused = page.ask(pair="[[1], [2, 3]]")
    assert "The server refused the request (400)." in refused and "Encountered list at unexpected size: 2" in refused
    assert "pair must be JSON, as in [1, 2]" in page.ask(pair="[1,")
    assert page.all("[role=alert]")


def test_a_reply_that_comes_late_is_not_shown_beneath_another_signature(page):
    page.choose("model", "kinds")
    page.choose("signature", "serving_default")
    page.browser.evaluate("send(); undefined")
    page.choose("signature", "rate")
    assert page.browser.evaluate("document.getElementById('send').disabled") is False
    assert "2.25" in page.ask(text="nine long")
    assert "%" not in page.read("answer")


def test_versions_and_labels_are_asked_and_what_was_written_stays(page):
    page.choose("model", "words")
    assert page.all("#version option") == ["newest (2)", "old (1)", "version 2", "version 1"]
    assert not page.browser.evaluate("document.getElementById('signature').offsetParent !== null")  # there is but one
    assert "mark\ntwo" in page.ask(text="my own words")
    for version, mark, place in (("old", "one", "labels/old"), ("version 2", "two", "versions/2")):
        page.choose("version", version)
        assert f"mark\n{mark}" in page.ask()
        page.browser.evaluate("document.querySelectorAll('#underneath details').forEach(one => one.open = true)")
        shell = page.read("curl")
        assert f"/v1/models/words/{place}:predict" in shell and "my own words" in shell
    assert '"shout": "MY OWN WORDS"' in page.read("reply")
    assert "a text is empty" in page.ask(text="")  # an assertion in the graph
    listing = page.browser.evaluate("document.getElementById('listing').textContent")
    assert "2AVAILABLE" in listing and "1, oldAVAILABLE" in listing and "serving_default(text: string)" in listing


def test_it_can_be_used_without_a_mouse_and_is_named_for_those_who_do_not_see(page):
    page.choose("model", "kinds")
    page.choose("signature", "serving_default")
    unnamed = page.browser.evaluate("""[...document.querySelectorAll("input, select, textarea, button")]
        .filter(one => !one.labels?.length && !one.textContent.trim()).map(one => one.outerHTML)""")
    assert unnamed == []
    page.browser.fill("#input-text", "not")
    page.browser.evaluate("""(() => {
        const field = document.getElementById("input-text");
        field.focus();
        document.getElementById("answer").replaceChildren();
        field.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", ctrlKey: true, bubbles: true}));
    })()""")
    page.browser.wait_for("87.5 %", seconds=20)
    assert page.browser.evaluate("document.getElementById('answering').getAttribute('aria-live')") == "polite"
    assert page.browser.evaluate("document.documentElement.lang") == "en"


def test_it_fits_a_phone(page_server, chromium, tmp_path):
    with Browser(chromium, tmp_path / "profile", width=360, height=740) as browser:
        narrow = Page(browser, page_server.rest_address)
        for signature in ("tag", "generate", "embed"):
            narrow.choose("signature", signature)
            narrow.ask(**{"prompt" if signature == "generate" else "text": "a_very_long_word" * 9})
            assert browser.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_page_loads_nothing_from_elsewhere_and_no_text_ends_its_script(page_server):
    text = front_page(page_server.registry).decode()
    places = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", text)
    assert places and [one for one in places if not one.startswith(("#", "data:"))] == []
    assert not re.search(r"@import|\burl\(", text)
    assert "default-src 'none'" in text and "%" + "NAMES%" not in text and "MODELS%" not in text
    assert text.count("</script>") == 1


@pytest.mark.slow
def test_every_task_of_the_zoo_answers_on_the_page(chromium, tmp_path):
    from kzoo.serving.export import export
    from tests.serving.every_task import tasks

    asked = {
        "classify": ({"text": "a good film"}, "négatif"),
        "pairs": ({"text": "a good film", "text_pair": "bad"}, "33"),
        "decoder": ({"text": "a good film"}, "%"),
        "regress": ({"text": "a good film"}, "0."),
        "embed": ({"text": "a good film", "compare": "bad"}, "Cosine 0."),
        "fill_mask": ({"text": "a [MASK] film"}, "film"),
        "tag": ({"text": "a good film"}, "mood"),
        "answer": ({"question": "what was it?", "context": "it was a bad, bad film!"}, "score"),
        "generate": ({"prompt": "the film"}, "the film"),
    }
    config = ""
    for name, task in tasks().items():
        export(task, tmp_path / name / "1")
        config += f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}\n'
    (tmp_path / "models.config").write_text(f"model_config_list {{ {config} }}")
    options = {"rest_port": 0, "grpc_port": None, "warm_up": False}
    with (
        Server(tmp_path / "models.config", **options) as server,
        Browser(chromium, tmp_path / "profile", width=1200) as browser,
    ):
        page = Page(browser, server.rest_address)
        for name, (written, expected) in asked.items():
            page.choose("model", name)
            assert expected in page.ask(**written), name
            assert page.all(".problem") == [], name
