"""The REST API of a running server, over small models of the tests' own."""

import gzip
import json
import math
import threading

import pytest

from kzoo.serving.server import Server

WORDS = "/v1/models/words:predict"
NUMBERS = "/v1/models/numbers:predict"


def test_rows_and_columns_answer_alike(rest):
    rows = rest("POST", WORDS, {"instances": ["a b", {"b64": "Yw=="}]})
    assert rows.status == 200 and rows.headers["Content-Type"] == "application/json"
    assert rows.json == {
        "predictions": [{"mark": "two", "shout": "A B", "words": 2}, {"mark": "two", "shout": "C", "words": 1}]
    }
    columns = rest("POST", WORDS, {"inputs": {"text": ["a b", "c"]}})
    assert columns.json == {"outputs": {"mark": ["two", "two"], "shout": ["A B", "C"], "words": [2, 1]}}


@pytest.mark.parametrize(
    "path, mark", [("versions/1", "one"), ("versions/2", "two"), ("labels/old", "one"), ("labels/new", "two")]
)
def test_a_version_or_a_label_chooses(rest, path, mark):
    assert rest("POST", f"/v1/models/words/{path}:predict", {"instances": ["a"]}).json["predictions"][0]["mark"] == mark


def test_one_output_stands_without_its_name(rest):
    assert rest("POST", WORDS, {"signature_name": "same", "instances": ["a", "b"]}).json == {"predictions": ["a", "b"]}
    assert rest("POST", WORDS, {"signature_name": "same", "inputs": ["a", "b"]}).json == {"outputs": ["a", "b"]}


def test_two_inputs_are_named_and_both_needed_though_one_has_a_default(rest):
    body = {"signature_name": "join", "instances": [{"text": "a", "suffix": "1"}, {"suffix": "2", "text": "b"}]}
    assert rest("POST", WORDS, body).json == {"predictions": ["a1", "b2"]}
    missing = rest("POST", WORDS, {"signature_name": "join", "inputs": {"text": ["a"]}})
    assert (missing.status, missing.error) == (400, "Missing named input: suffix in 'inputs' object.")


def test_every_kind_of_number_goes_through(rest):
    values = {
        "float32": [0.1, -1e38], "float64": [0.1, 1e300], "int8": [-128, 127], "int16": [-32768, 32767],
        "int32": [-(2**31), 2**31 - 1], "int64": [-(2**63), 2**63 - 1], "uint8": [0, 255], "uint32": [0, 2**32 - 1],
        "uint64": [0, 2**64 - 1], "bool": [True, False],
    }  # fmt: skip
    reply = rest("POST", NUMBERS, {"signature_name": "types", "inputs": values})
    outputs = {name.removesuffix("_out"): value for name, value in reply.json["outputs"].items()}
    assert outputs.pop("float32") == pytest.approx(values.pop("float32"))
    assert outputs == values


def test_floats_that_json_has_no_word_for(rest):
    reply = rest("POST", NUMBERS, b'{"signature_name": "grid", "instances": [0, -0.0, NaN, Inf]}')
    first, _, third, fourth = reply.json["predictions"]
    assert first == {"grid": [[0.0, math.inf]], "x": 0.0} and b"Infinity" in reply.body
    assert math.isnan(third["x"]) and fourth["grid"] == [[math.inf, 0.0]]


def test_bytes_come_back_as_base64_and_other_strings_as_they_are(rest):
    reply = rest("POST", WORDS, {"signature_name": "raw", "instances": [{"b64": "/2E="}]})
    assert reply.status == 200
    assert b'"text": "\xffa"' in reply.body and b'"b64": "/2E="' in reply.body


def test_a_half_has_no_json(rest):
    assert rest("POST", NUMBERS, {"signature_name": "half", "inputs": [1.0]}).status == 501
    outgoing = rest("POST", NUMBERS, {"signature_name": "to_half", "inputs": [1.0]})
    assert (outgoing.status, outgoing.error) == (400, "Failed to write JSON value for tensor type: half")


def test_outputs_that_are_no_rows(rest):
    scalar = rest("POST", NUMBERS, {"signature_name": "mean", "instances": [1.0, 2.0]})
    assert (scalar.status, scalar.error) == (400, "Tensor name: mean has no shape information ")
    assert rest("POST", NUMBERS, {"signature_name": "mean", "inputs": [1.0, 2.0]}).json == {"outputs": 1.5}
    uneven = rest("POST", NUMBERS, {"signature_name": "uneven", "instances": [1.0, 2.0]})
    assert uneven.status == 400 and "has inconsistent batch size: " in uneven.error


def test_the_shape_is_the_graphs_business(rest):
    assert rest("POST", NUMBERS, {"instances": [[1, 1]]}).json == {"predictions": [11.0]}
    wrong = rest("POST", NUMBERS, {"instances": [[1, 1, 1, 1]]})
    assert wrong.status == 400 and wrong.error.startswith("Matrix size-incompatible: In[0]: [1,4], In[1]: [3,1]")


def test_an_assertion_in_the_graph_is_the_callers_mistake(rest):
    failed = rest("POST", WORDS, {"signature_name": "strict", "instances": [""]})
    assert failed.status == 400 and failed.error.startswith("assertion failed: [a text is empty]")


@pytest.mark.parametrize(
    "method, path, status, error",
    [
        ("POST", "/v1/models/nosuch:predict", 404, "Servable not found for request: Latest(nosuch)"),
        ("POST", "/v1/models/words/versions/9:predict", 404, "Servable not found for request: Specific(words, 9)"),
        ("POST", "/v1/models/words/labels/nosuch:predict", 400, "Unrecognized servable version label: nosuch"),
        ("POST", "/v1/models/words:PREDICT", 400, "Malformed request: POST /v1/models/words:PREDICT"),
        ("PUT", "/v1/models/words", 400, "Malformed request: PUT /v1/models/words"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/nosuch", 404, "Could not find any versions of model nosuch"),
        ("GET", "/v1/models/words/versions/9", 404, "Could not find version 9 of model words"),
        ("GET", "/v1/models/nosuch/metadata", 404, "Servable not found for request: Latest(nosuch)"),
        ("GET", f"/v1/models/words/versions/{10**30}", 400, f"Failed to convert version: {10**30} to numeric."),
    ],
)
def test_what_is_not_there_is_told(rest, method, path, status, error):
    reply = rest(method, path, {"instances": ["a"]} if method == "POST" else None)
    assert (reply.status, reply.error) == (status, error)


@pytest.mark.parametrize(
    "body, error",
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[1]", "JSON Value: [1] Is not object"),
        (b"{}", "Missing 'inputs' or 'instances' key"),
        (b'{"instances": []}', "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (b'{"instances": ["a"], "signature_name": "no"}', 'Serving signature name: "no" not found in signature def'),
        (b'{"instances": ["\\ud800"]}', "JSON Parse error: The surrogate pair in string is invalid. at offset: 16"),
        (b'{"instances": [1]}', "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON "
         "Value: 1 Type: Number is not of expected type: string"),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_answered(rest, body, error):
    reply = rest("POST", WORDS, body)
    assert (reply.status, reply.error) == (400, error)


def test_odd_bodies_that_can(rest):
    assert rest("POST", WORDS, b'{"signature_name": "raw", "instances": ["\xff"]}').status == 200
    assert rest("POST", WORDS, b'{"instances": ["a"]} trailing').status == 200
    assert rest("POST", WORDS, {"inputs": []}).json == {"outputs": {"mark": [], "shout": [], "words": []}}
    assert rest("POST", f"{WORDS}?query=ignored", {"instances": ["a"]}).status == 200
    assert rest("POST", "/V1/Models/words:predict", {"instances": ["a"]}).status == 200
    assert rest("POST", "/v1/models/w%6frds:predict", {"instances": ["a"]}).status == 200


def test_gzip_is_unpacked(rest):
    body = json.dumps({"instances": ["a"]}).encode()
    zipped = {"Content-Encoding": "gzip"}
    assert rest("POST", WORDS, gzip.compress(body), zipped).status == 200
    assert rest("POST", WORDS, body, zipped).error == "JSON Parse error: The document is empty"
    assert rest("POST", WORDS, gzip.compress(body)[:-9], zipped).error == "JSON Parse error: The document is empty"


def test_a_request_past_the_limit_is_refused_also_when_it_grows_by_unpacking(rest):
    body = json.dumps({"instances": ["a" * (2 << 20)]}).encode()
    for reply in (
        rest("POST", WORDS, body),
        rest("POST", WORDS, gzip.compress(body), {"Content-Encoding": "gzip"}),
        rest("POST", WORDS, iter([body[:9], body[9:]])),  # in chunks, of no length known beforehand
    ):
        assert reply.status == 413
        assert reply.error == "Request body is larger than the limit of 1048576 bytes"
    assert rest("POST", WORDS, {"instances": ["a"]}).status == 200


def test_status_lists_versions_newest_first_whatever_the_label(rest):
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = {"model_version_status": [{"version": "2", **available}, {"version": "1", **available}]}
    assert rest("GET", "/v1/models/words").json == both
    assert rest("GET", "/v1/models/words/labels/old").json == both
    assert rest("GET", "/v1/models/words/versions/1").json == {"model_version_status": [{"version": "1", **available}]}


def test_metadata_tells_signatures_and_defaults(rest):
    reply = rest("GET", "/v1/models/words/labels/old/metadata").json
    assert reply["model_spec"] == {"name": "words", "signature_name": "", "version": "1"}
    signatures = reply["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "join", "classify"} <= signatures.keys()
    text = signatures["serving_default"]["inputs"]["text"]
    assert text["dtype"] == "DT_STRING" and text["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]
    assert signatures["join"]["defaults"]["suffix"]["string_val"] == ["IQ=="]


def test_classify_and_regress(rest):
    body = {"signature_name": "classify", "examples": [{"text": "abcd"}, {"text": {"b64": "YQ=="}}]}
    reply = rest("POST", "/v1/models/words:classify", body)
    assert reply.json["results"][0] == [["few", pytest.approx(0.4)], ["many", pytest.approx(0.6)]]
    assert len(reply.json["results"]) == 2
    labels = rest("POST", "/v1/models/words:classify", {"signature_name": "labels", "examples": [{"text": "x"}]})
    assert labels.json == {"results": [[["x", 0.0]]]}
    regress = {"signature_name": "regress", "context": {"text": "shared"}, "examples": [{}, {"text": "own"}]}
    assert rest("POST", "/v1/models/words:regress", regress).json == {"results": [6.0, 3.0]}


@pytest.mark.parametrize(
    "body, error",
    [
        ({}, "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
        ({"examples": 1}, "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array"),
        ({"examples": ["a"]}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [["b"]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": [1, 0.5]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": [2**63]}]}, "Feature: a has uint64_t element. Only int64_t is supported."),
        ({"examples": [{"a": {"b64": "*"}}]}, "Unable to base64 decode"),
        ({"examples": [{"a": 1}], "signature_name": "no"}, "No signature was found with the name: no"),
        ({"examples": [{"a": 1}]}, "Expected one or two output Tensors, found 3"),
        ({"examples": [{"a": 1}], "signature_name": "join"}, "Expected one input Tensor."),
    ],
)
def test_examples_that_cannot_be_answered(rest, body, error):
    reply = rest("POST", "/v1/models/words:classify", body)
    assert (reply.status, reply.error) == (400, error)


def test_half_a_surrogate_pair_is_no_text_anywhere(rest):
    half = b'"\\ud800"'
    for body in (b'{"examples": [{"text": %s}]}' % half, b'{"examples": [{%s: 1}]}' % half):
        reply = rest("POST", "/v1/models/words:classify", body)
        assert reply.status == 400 and ("surrogate pair" in reply.error or "valid UTF-8" in reply.error)
    assert rest("POST", WORDS, b'{"signature_name": %s, "instances": ["a"]}' % half).status == 400
    quoted = rest("POST", WORDS, b'{"signature_name": 3, "instances": ["\\udc00"]}')
    assert quoted.status == 400 and "'signature_name' key must be a string value" in quoted.error


def test_paths_outside_the_api_are_pages(rest):
    page = rest("GET", "/")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b"words" in page.body and b"AVAILABLE" in page.body
    assert b"http://" not in page.body.replace(b"http://127", b"") and b"https://" not in page.body
    missing = rest("GET", "/nosuch")
    assert (missing.status, missing.headers["Content-Type"]) == (404, "text/html")
    assert rest("POST", "/", {}).status == 404


def test_a_function_that_must_be_compiled_fails_without_the_flag(rest, models, ask):
    refused = rest("POST", NUMBERS, {"signature_name": "compiled", "instances": [1.0]})
    assert (refused.status, refused.error) == (500, "XLA compilation disabled")
    assert rest("POST", NUMBERS, {"signature_name": "mean", "inputs": [1.0]}).status == 200


def test_many_at_once_each_get_their_own_answer(rest):
    answers: dict[int, object] = {}

    def one(number):
        answers[number] = rest("POST", WORDS, {"signature_name": "same", "instances": [f"text {number}"]}).json

    threads = [threading.Thread(target=one, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: {"predictions": [f"text {number}"]} for number in range(32)}


def test_time_labels_cors_and_per_request_options(models, ask):
    with Server(
        models / "models.config",
        rest_port=0,
        grpc_port=None,
        rest_timeout=0.3,
        cors=True,
        xla=True,
        front_page=False,
        warm_up=False,
        poll_seconds=0,
        allow_version_labels_for_unavailable_models=True,
    ) as server:
        late = ask(server, "POST", NUMBERS, {"signature_name": "sleep", "instances": [30.0]})
        assert (late.status, late.error) == (504, "Timed out waiting for notification")
        compiled = ask(server, "POST", NUMBERS, {"signature_name": "compiled", "instances": [1.5]})
        assert compiled.json == {"predictions": [15.0]}
        assert compiled.headers["Access-Control-Allow-Origin"] == "*"
        assert ask(server, "OPTIONS", NUMBERS, headers={"Origin": "http://a.example"}).status == 200
        assert ask(server, "OPTIONS", NUMBERS).status == 400
        assert ask(server, "GET", "/").status == 404
        with pytest.raises(RuntimeError, match="gRPC address"):
            _ = server.grpc_address
