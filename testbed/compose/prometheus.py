"""What a real Prometheus server holds of the stack: prometheus.py <url of Prometheus> <folder compose/>

Both parts are scraped, every metric that the alert rules and the dashboard name is there, the rules are loaded and
none is in error, and each query of the dashboard has data.
"""

import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# Several scrapes, and the first evaluation of the rules.
PATIENCE_SECONDS = 60
TARGETS = {"agent-runner-api", "agent-runner-reconciler"}
# What a run with successes, failures, retries and a lost worker has to have counted.
COUNTED = [
    'agent_runner_reconcile_total{result="error"}',
    "sum(agent_runner_reconcile_total) > 200",
    "agent_runner_reconcile_duration_seconds_count > 200",
    "agent_runner_workqueue_depth",
    'agent_runner_jobs{status="SUCCEEDED"} or agent_runner_jobs',
    "agent_runner_jobs_waiting",
    "sum(agent_runner_launches_total) > 0",
    'agent_runner_attempts_failed_total{class="NonZeroExitCode"} > 0',
    'agent_runner_attempts_failed_total{class="WorkerLost"}',
    "agent_runner_orphan_tasks_total",
    "agent_runner_invalid_records",
    "agent_runner_last_resync_timestamp_seconds > 0",
]
# Panels of the dashboard that may be empty in this stack, and why.
EMPTY = {
    "Alerts": "no alert is pending or fires while all is well",
}
# What Grafana puts in the place of its own variables.
GRAFANA = {"__rate_interval": "1m", "__interval": "15s", "__range": "15m", "__range_s": "900", "__interval_ms": "15000"}


def ask(base, path, **parameters):
    """The data of one answer; an error is raised with its words."""
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(f"{parameters.get('query', path)}: {json.load(error)['error']}") from error


def eventually(look):
    """Calls `look` until it answers with nothing that is missing."""
    until = time.monotonic() + PATIENCE_SECONDS
    while missing := look():
        if time.monotonic() > until:
            raise SystemExit(f"Prometheus: {missing}")
        time.sleep(0.5)


def targets(base):
    """Jobs whose targets are not up."""
    up = {target["labels"]["job"] for target in ask(base, "targets")["activeTargets"] if target["health"] == "up"}
    return f"not up: {sorted(TARGETS - up)}" if TARGETS - up else ""


def counted(base):
    """Queries without data."""
    empty = [query for query in COUNTED if not ask(base, "query", query=query)["result"]]
    return f"no data for {empty}" if empty else ""


def rules(base, folder):
    """Rules that are not loaded, or in error."""
    wanted = set(re.findall(r"^ *- alert: (\w+)", (folder / "prometheus/alerts.yml").read_text(), re.M))
    loaded = {rule["name"]: rule for group in ask(base, "rules")["groups"] for rule in group["rules"]}
    if missing := wanted - loaded.keys():
        return f"rules that are not loaded: {sorted(missing)}"
    bad = {name: rule.get("lastError") for name, rule in loaded.items() if rule["health"] != "ok"}
    return f"rules in error or not evaluated: {bad}" if bad else ""


def expressions(dashboard):
    """Title and expression of each query of a dashboard, rows and variables too."""
    found = []
    panels = list(dashboard["panels"])
    while panels:
        panel = panels.pop(0)
        panels += panel.get("panels", [])
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    values = dict(GRAFANA)
    for variable in dashboard.get("templating", {}).get("list", []):
        query = variable.get("query", "")
        query = query.get("query", "") if isinstance(query, dict) else query
        # label_values(metric, label) is asked as its metric; whatever is chosen, everything is shown.
        if inner := re.match(r"label_values\((.*),\s*\w+\s*\)$", query):
            found.append((f"variable {variable['name']}", inner[1]))
        values[variable["name"]] = ".+"
    return [(title, filled(expr, values)) for title, expr in found]


def filled(expr, values):
    """An expression without variables of Grafana."""
    for name, value in sorted(values.items(), key=lambda pair: -len(pair[0])):
        expr = re.sub(rf"\$\{{{name}(:\w+)?\}}|\${name}\b", value.replace("\\", "\\\\"), expr)
    return expr


def dashboards(base, folder):
    """Queries of the dashboards without data."""
    files = sorted(folder.glob("grafana/dashboards/*.json"))
    if not files:
        raise SystemExit("there is no dashboard in compose/grafana/dashboards")
    missing = []
    for file in files:
        for title, query in expressions(json.loads(file.read_text())):
            if title not in EMPTY and not ask(base, "query", query=query)["result"]:
                missing.append(f"{file.stem}: {title}: {query}")
    return f"no data for {missing}" if missing else ""


def main():
    base, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    eventually(lambda: targets(base))
    eventually(lambda: counted(base))
    eventually(lambda: rules(base, folder))
    eventually(lambda: dashboards(base, folder))


if __name__ == "__main__":
    main()
