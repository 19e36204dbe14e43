"""One list of panels, three outputs: the page, Grafana's dashboard and CloudWatch's show the same in the same order."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import yaml

from ansible_collections.smart_classroom.platform.plugins.filter.dashboards import (
    COLUMNS,
    cloudwatch_dashboard,
    grafana_dashboard,
)

ROOT = Path(__file__).resolve().parents[3]
PANELS: list[dict[str, Any]] = yaml.safe_load((ROOT / "roles/monitoring/files/panels.yml").read_text())
NAMES = {
    name: name.replace("_", "-")
    for name in ("input_queue", "output_queue", "input_dead_letters", "output_dead_letters")
}
NAMES["function"] = "smart-classroom"


def page() -> str:
    """The page as the role's template makes it."""
    environment = jinja2.Environment(autoescape=False, undefined=jinja2.StrictUndefined)  # noqa: S701 it escapes itself
    environment.filters["to_json"] = json.dumps
    text = (ROOT / "roles/monitoring/templates/page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(monitoring_environment="local", __monitoring_panels=PANELS)


def figures() -> list[tuple[str, str, list[dict[str, str]]]]:
    """Title, unit and series of each panel of the page."""
    found = re.findall(r'<figure data-unit="(\w+)" data-series="(.*?)">\s*<h2>(.*?)</h2>', page())
    return [(html.unescape(title), unit, json.loads(html.unescape(series))) for unit, series, title in found]


def test_the_three_show_the_same_panels_in_the_same_order() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    assert [title for title, _, _ in figures()] == titles
    assert [panel["title"] for panel in grafana_dashboard(PANELS, "x")["panels"]] == titles
    widgets = cloudwatch_dashboard(PANELS, NAMES, "us-east-1")["widgets"]
    shown = [
        widget["properties"].get("title") or widget["properties"]["markdown"].splitlines()[0].removeprefix("### ")
        for widget in widgets
    ]
    assert shown == titles


def test_page_and_grafana_ask_prometheus_the_same() -> None:
    asked = [[(one["legend"], one["query"]) for one in series] for _, _, series in figures()]
    grafana = [
        [(target["legendFormat"], target["expr"]) for target in panel["targets"]]
        for panel in grafana_dashboard(PANELS, "x")["panels"]
    ]
    assert asked == grafana
    assert [unit for _, unit, _ in figures()] == [panel["unit"] for panel in PANELS]


def test_cloudwatch_shows_each_figure_that_aws_knows_under_the_same_name() -> None:
    widgets = cloudwatch_dashboard(PANELS, NAMES, "eu-central-1")["widgets"]
    for panel, widget in zip(PANELS, widgets, strict=True):
        known = [series["legend"] for series in panel["series"] if "cloudwatch" in series]
        assert widget["type"] == ("metric" if known else "text")
        if known:
            assert [metric[-1]["label"] for metric in widget["properties"]["metrics"]] == known
            assert widget["properties"]["region"] == "eu-central-1"
            assert {metric[3] for metric in widget["properties"]["metrics"]} <= set(NAMES.values())
    told = json.dumps(widgets)
    assert all(name in told for name in NAMES.values())


def test_panels_do_not_lie_upon_one_another() -> None:
    for places in (
        [
            (one["gridPos"]["x"], one["gridPos"]["y"], one["gridPos"]["w"])
            for one in grafana_dashboard(PANELS, "x")["panels"]
        ],
        [(one["x"], one["y"], one["width"]) for one in cloudwatch_dashboard(PANELS, NAMES, "x")["widgets"]],
    ):
        assert len({(x, y) for x, y, _ in places}) == len(PANELS)
        assert all(x + width <= COLUMNS for x, _, width in places)


def test_the_page_needs_nothing_from_elsewhere_and_no_template_of_prometheus() -> None:
    text = page()
    assert "{{" not in text
    assert not re.findall(r"(?:src|href)=", text)
    # The name of SVG, which nobody fetches.
    assert set(re.findall(r"https?://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
