"""Reads the template into plain dictionaries: !Ref X becomes {"Ref": "X"}, !If … {"Fn::If": […]}, and so on."""

import re
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent.parent
TEMPLATE = FOLDER / "template.yaml"
FUNCTION = FOLDER / "viewer-token.js"
README = FOLDER / "README.md"

NO_VALUE = {"Ref": "AWS::NoValue"}


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _short_form)


def parse(text):
    """The template's text as dictionaries."""
    return yaml.load(text, Loader)  # noqa: S506: a SafeLoader


def resources(template, kind):
    """Name and resource of every one whose type begins so."""
    return [(name, it) for name, it in template["Resources"].items() if it["Type"].startswith(kind)]


def properties(template, name):
    """A resource's properties."""
    return template["Resources"][name].get("Properties", {})


def branches(value):
    """What a value may be, whatever the conditions are."""
    if isinstance(value, dict) and list(value) == ["Fn::If"]:
        _, yes, no = value["Fn::If"]
        return branches(yes) + branches(no)
    return [] if value == NO_VALUE else [value]


def items(values):
    """The members of a list, whatever the conditions are."""
    values = values if isinstance(values, list) else [values]
    return [branch for value in values for branch in branches(value)]


def walk(value, path=()):
    """Every dictionary key, with the path to it and its value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield path + (key,), inner
            yield from walk(inner, path + (key,))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk(inner, path + (index,))


def statements(template):
    """Every statement of every policy: the resource's name and the statement."""
    for name, resource in template["Resources"].items():
        properties_ = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in items(properties_.get("Policies", []))]
        documents += [properties_[key] for key in ("PolicyDocument", "AssumeRolePolicyDocument") if key in properties_]
        for document in documents:
            for statement in items(document["Statement"]):
                yield name, statement


def user_data(template, name):
    """A launch template's user data as a machine gets it, with ${…} where values would be."""
    parts = properties(template, name)["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][1]
    texts = []
    for part in parts:
        if "Fn::FindInMap" in part:
            one, two, three = part["Fn::FindInMap"]
            texts.append(template["Mappings"][one][two][three])
        else:
            texts.append(part["Fn::Sub"])
    return "".join(texts)


def config(user_data_):
    """The program's configuration in user data."""
    found = re.search(r"/root/live360\.toml <<'END'\n(.*?)^END$", user_data_, re.S | re.M)
    return found[1] if found else ""


def with_function(text, code):
    """The template's text with this code for the function."""
    indented = "".join(line if line.isspace() else " " * 8 + line for line in code.splitlines(True))
    # A function, since backslashes in the code are its own.
    replaced, count = re.subn(
        r"(      FunctionCode: \|\n)(?:(?: {8}.*)?\n)+", lambda found: found[1] + indented + "\n", text, count=1
    )
    assert count == 1, "the template has a FunctionCode"
    return replaced


def in_readme(name, text, fix=False):
    """Whether the README shows this between its marks of this name; with `fix` it is put there first."""
    begin, end = f"<!-- {name} begins -->\n", f"\n<!-- {name} ends -->"
    if fix:
        before, rest = README.read_text().split(begin)
        README.write_text(before + begin + text + end + rest.split(end)[1])
    return begin + text + end in README.read_text()
