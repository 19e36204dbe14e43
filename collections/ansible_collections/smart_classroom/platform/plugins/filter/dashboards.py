"""One list of panels as a dashboard of Grafana and of CloudWatch. The list: roles/monitoring/files/panels.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Panels = Sequence[Mapping[str, Any]]

# Two panels side by side. Both have a grid of 24 columns.
WIDTH, HEIGHT, COLUMNS = 12, 6, 24
GRAFANA_UNITS = {"count": "short", "seconds": "s", "bytes": "bytes", "share": "percentunit"}
DIMENSIONS = {"AWS/SQS": "QueueName", "AWS/Lambda": "FunctionName"}


def place(index: int) -> tuple[int, int]:
    """Column and row of a panel.

    >>> place(0), place(3)
    ((0, 0), (12, 6))
    """
    beside = COLUMNS // WIDTH
    return index % beside * WIDTH, index // beside * HEIGHT


def grafana_dashboard(panels: Panels, title: str) -> dict[str, Any]:
    """The dashboard as Grafana (9 or newer) imports it; it asks which Prometheus is meant.

    Args:
        panels: the list.
        title: name of the dashboard.
    """
    source = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"}],
        "title": title,
        "schemaVersion": 37,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "panels": [
            {
                "id": index + 1,
                "type": "timeseries",
                "title": panel["title"],
                "description": panel["text"],
                "datasource": source,
                "gridPos": {"x": place(index)[0], "y": place(index)[1], "w": WIDTH, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": GRAFANA_UNITS[panel["unit"]], "min": None}, "overrides": []},
                "targets": [
                    {
                        "refId": chr(ord("A") + number),
                        "datasource": source,
                        "expr": series["query"],
                        "legendFormat": series["legend"],
                    }
                    for number, series in enumerate(panel["series"])
                ],
            }
            for index, panel in enumerate(panels)
        ],
    }


def cloudwatch_dashboard(panels: Panels, names: Mapping[str, str], region: str) -> dict[str, Any]:
    """The dashboard as CloudWatch's PutDashboard takes it. What AWS does not know is a text that says where it is seen.

    Args:
        panels: the list.
        names: the names of queues and function by what the list calls them.
        region: where they are.
    """
    return {"widgets": [_widget(panel, place(index), names, region) for index, panel in enumerate(panels)]}


def _widget(panel: Mapping[str, Any], where: tuple[int, int], names: Mapping[str, str], region: str) -> dict[str, Any]:
    frame = {"x": where[0], "y": where[1], "width": WIDTH, "height": HEIGHT}
    known = [series for series in panel["series"] if "cloudwatch" in series]
    if not known:
        text = f"### {panel['title']}\n{panel['text']}\n\nOnly the server knows it: `make monitor`"
        return {**frame, "type": "text", "properties": {"markdown": text}}
    metrics = []
    for series in known:
        namespace, metric, whose, statistic = series["cloudwatch"]
        shown = {"label": series["legend"], "stat": statistic}
        metrics.append([namespace, metric, DIMENSIONS[namespace], names[whose], shown])
    properties = {"title": panel["title"], "region": region, "view": "timeSeries", "period": 60, "metrics": metrics}
    return {**frame, "type": "metric", "properties": properties}


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """The filters of this file by name."""
        return {"cloudwatch_dashboard": cloudwatch_dashboard, "grafana_dashboard": grafana_dashboard}
