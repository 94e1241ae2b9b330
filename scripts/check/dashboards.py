#!/usr/bin/env python3
"""Whether deploy/dashboards fits the program: the dashboard's form, its queries, and that every metric in it exists.

    dashboards.py PROMTOOL [METRICS]

METRICS is the table of metrics, docs/metrics.md unless given. Says everything that is wrong; exit 1 if there is anything.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "dashboards"
# What a metric is called in queries: a histogram's series, and what Prometheus itself adds.
NAME = re.compile(r"\b(?:live360|process)_[a-z0-9_]+\b")
SUFFIXES = ("_bucket", "_count", "_sum")
# Grafana's variables, as anything that PromQL takes in their place.
VARIABLES = {"$instance": ".*", "$stream": ".*", "$__rate_interval": "1m"}

wrong: list[str] = []


def table(path: pathlib.Path) -> set[str]:
    return set(re.findall(r"^\| `([a-z0-9_]+)`", path.read_text(), re.MULTILINE))


def known(names: set[str], name: str) -> bool:
    return name in names or any(name.endswith(end) and name.removesuffix(end) in names for end in SUFFIXES)


def expressions(panel: dict) -> list[str]:
    return [target["expr"] for target in panel.get("targets", [])]


def check_form(board: dict) -> None:
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        wrong.append("two panels have one id")
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    if variables.get("datasource", {}).get("type") != "datasource":
        wrong.append("there is no variable for the datasource")
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        title = panel["title"]
        if panel["type"] != "row":
            if panel.get("datasource", {}).get("uid") != "${datasource}":
                wrong.append(f"{title}: asks another datasource than the variable's")
            if not expressions(panel):
                wrong.append(f"{title}: asks nothing")
            for expression in expressions(panel):
                for used in re.findall(r"\$\{?([a-z]+)", expression):
                    if used not in variables:
                        wrong.append(f"{title}: there is no variable {used}")
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if x >= 24 or taken.setdefault((x, y), title) != title:
                    wrong.append(f"{title}: lies over {taken.get((x, y), 'the edge')}")
                    return


def parses(promtool: str, asked: list[tuple[str, str]]) -> None:
    """promtool reads rules; so each query is made one."""
    rules = []
    for index, (_, expression) in enumerate(asked):
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        rules.append({"record": f"query:{index}", "expr": expression})
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        said = subprocess.run([promtool, "check", "rules", file.name], capture_output=True, text=True)
    if said.returncode != 0:
        wrong.append(f"the dashboard's queries:\n{said.stdout}{said.stderr}")


def check_quotes() -> None:
    """What a runbook says that the log says must be in the program: (log: "words") and, over a line's end, the same."""
    sources = ""
    for folder in ("crates", "origin", "edge", "transcoder"):
        for path in (ROOT / folder).rglob("*.rs"):
            # As the compiler reads a text that goes over several lines.
            sources += re.sub(r"\\\n\s*", "", path.read_text())
    for book in sorted((ROOT / "deploy" / "runbooks").glob("*.md")):
        text = " ".join(book.read_text().split())
        for said in re.findall(r"\(?log: ((?:\"[^\"]+\"(?:, or )?)+)", text):
            for quoted in re.findall(r'"([^"]+)"', said):
                if quoted not in sources:
                    wrong.append(f"runbooks/{book.name}: the program never says {quoted!r}")


def main() -> None:
    promtool = sys.argv[1]
    metrics = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "metrics.md"
    board = json.loads((FOLDER / "live360.json").read_text())
    rules = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    check_form(board)
    asked = [(panel["title"], expression) for panel in board["panels"] for expression in expressions(panel)]
    asked += [
        (variable["name"], variable["query"]["query"].removeprefix("label_values(").split(",")[0])
        for variable in board["templating"]["list"]
        if variable["type"] == "query"
    ]
    parses(promtool, asked)
    for rule in rules:
        book = ROOT / rule["annotations"]["runbook_url"]
        if not book.is_file():
            wrong.append(f"{rule['alert']}: there is no {book.relative_to(ROOT)}")
        elif book.name != "README.md" and rule["alert"] not in book.read_text():
            wrong.append(f"{rule['alert']}: {book.relative_to(ROOT)} doesn't speak of it")
        if rule["labels"]["severity"] not in ("page", "ticket"):
            wrong.append(f"{rule['alert']}: is neither page nor ticket")
    if metrics.is_file():
        names = table(metrics)
        asked += [(rule["alert"], rule["expr"]) for rule in rules]
        for book in sorted((ROOT / "deploy" / "runbooks").glob("*.md")):
            asked.append((f"runbooks/{book.name}", book.read_text()))
        for where, expression in asked:
            for name in sorted(set(NAME.findall(expression))):
                if not known(names, name):
                    wrong.append(f"{where}: the program has no metric {name} ({metrics.name})")
    else:
        print(f"note: {metrics} isn't there, so the names of metrics were not compared", file=sys.stderr)
    check_quotes()
    for words in wrong:
        print(f"deploy/dashboards: {words}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()
