"""Asks a served model over REST; needs Python's standard library alone.

python ask_rest.py reviews "A film to remember." "Dull."
python ask_rest.py story "Once upon a time" --signature generate --set temperature=0.8 --set max_new_tokens=20 \
    --set top_k=40 --set top_p=0.9 --set seed=1
python ask_rest.py reviews "A film to remember." --label stable --address https://localhost:8443 --ca certificate.pem
"""

import argparse
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request


def place(address, model, label=None):
    """Where a model, or the version of it that a label names, is asked."""
    chosen = f"/labels/{urllib.parse.quote(label, '')}" if label else ""
    return f"{address}/v1/models/{urllib.parse.quote(model)}{chosen}"


def ask(address, model, instances, *, signature="serving_default", label=None, timeout=30, trust=None):
    """The predictions for a list of instances, one dict of inputs (or one text) each; trust is an SSLContext.

    Raises RuntimeError with the server's own words when it refuses.
    """
    body = json.dumps({"signature_name": signature, "instances": instances}).encode("utf-8")
    return fetch(f"{place(address, model, label)}:predict", body, timeout=timeout, trust=trust)["predictions"]


def fetch(url, body=None, *, timeout=30, trust=None):
    """The server's reply, parsed."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=trust) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"The server answered {error.code}: {error.read().decode('utf-8', 'replace')}") from None
    except urllib.error.URLError as error:
        raise RuntimeError(f"No server answers at {url}: {error.reason}.") from None


def signature_inputs(address, model, signature, *, label=None, timeout=30, trust=None):
    """Names of a signature's inputs."""
    reply = fetch(f"{place(address, model, label)}/metadata", timeout=timeout, trust=trust)
    signatures = reply["metadata"]["signature_def"]["signature_def"]
    if signature not in signatures:
        raise RuntimeError(f"{model} has no signature {signature}; it has {', '.join(sorted(signatures))}.")
    return set(signatures[signature]["inputs"])


def main():
    """Asks what the command line says and prints one answer a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--address", default="http://127.0.0.1:8501")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an input besides the text")
    parser.add_argument("--label", help="a label of a version, such as stable")
    parser.add_argument("--ca", help="a PEM file of the certificates to trust, for https")
    arguments = parser.parse_args()
    try:
        trust = ssl.create_default_context(cafile=arguments.ca) if arguments.address.startswith("https") else None
        chosen = {"signature": arguments.signature, "label": arguments.label, "trust": trust}
        knobs = {name: json.loads(value) for name, _, value in (pair.partition("=") for pair in arguments.set)}
        names = signature_inputs(arguments.address, arguments.model, **chosen) - set(knobs)
        if len(names) != 1:
            raise RuntimeError(
                f"Over REST every input must be set; besides the text {', '.join(sorted(names))} are left."
            )
        (name,) = names
        instances = [{name: text, **knobs} for text in arguments.text]
        for answer in ask(arguments.address, arguments.model, instances, **chosen):
            print(json.dumps(answer, ensure_ascii=False))
    except (RuntimeError, OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
