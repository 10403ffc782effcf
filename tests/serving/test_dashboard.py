"""The dashboard: a form that Grafana imports, and expressions over metrics that the servers have."""

import json
import re

import pytest

from kzoo import resources
from kzoo.serving.conformance import inside
from kzoo.serving.server.metrics import Metrics

# words of PromQL that stand where a metric could
WORDS = {"sum", "by", "le", "rate", "increase", "histogram_quantile", "count", "or", "vector", "label_values"}


@pytest.fixture(scope="module")
def dashboard():
    return json.loads(resources.find("serving", "prometheus", "dashboard.json").read_text())


def expressions(dashboard):
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return panels + [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]


def series():
    """Name of every series of kzoo's own server to its labels; the server's names are the genuine one's."""
    found = {}
    for metric in vars(Metrics()).values():
        if hasattr(metric, "limits"):
            labels = {re.sub(r"\W", "_", one) for one in metric.labels}
            found |= {
                f"{metric.name}_bucket": labels | {"le"},
                f"{metric.name}_sum": labels,
                f"{metric.name}_count": labels,
            }
        else:
            found[metric.name] = set(metric.labels)
    return found


def test_every_series_and_label_is_one_that_the_servers_have(dashboard):
    known, used = series(), set()
    for expression in expressions(dashboard):
        named = re.findall(r":[a-z_:]+", expression)
        assert named, expression
        assert set(named) <= known.keys()
        used |= set(named)
        text = re.sub(r'"[^"]*"|\[[^\]]*\]|:[a-z_:]+', " ", expression)
        labels = set(re.findall(r"[A-Za-z_]+", text)) - WORDS
        assert labels <= set().union(*(known[name] for name in named)) | {"instance"}, (
            expression
        )  # Prometheus adds that
    # the conformance suite looks for those that a server shows once it has answered
    assert used <= {*inside.COUNTED, *inside.BATCHED, ":tensorflow:serving:batching_session:wrapped_run_count"}


def test_brackets_are_closed_and_times_are_milliseconds(dashboard):
    for expression in expressions(dashboard):
        for one, other in ("()", "{}", "[]"):
            assert expression.count(one) == expression.count(other), expression
    for panel in dashboard["panels"]:
        in_milliseconds = [
            target["expr"].endswith("/ 1000") for target in panel["targets"]
        ]  # metrics count microseconds
        assert set(in_milliseconds) == {panel["fieldConfig"]["defaults"]["unit"] == "ms"}


def test_panels_have_what_grafana_wants_and_do_not_overlap(dashboard):
    assert dashboard["schemaVersion"] >= 36 and dashboard["title"] and dashboard["uid"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels) >= 10
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    taken = set()
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries") and panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables | {"__rate_interval", "__interval"}
