#!/usr/bin/env python3
"""Holds the template to its rules, and the rules to the breaches that they must find. `--fix` first copies viewer-token.js
into the template, and the table of rights into the README."""

import copy
import sys

import access  # noqa: F401: registers its rules
import machines  # noqa: F401
from mutations import MUTATIONS
from rights import table
from rule import RULES
from template import FUNCTION, TEMPLATE, in_readme, parse, with_function


def main():
    text, fix = TEMPLATE.read_text(), sys.argv[1:] == ["--fix"]
    if fix:
        text = with_function(text, FUNCTION.read_text())
        TEMPLATE.write_text(text)
    template = parse(text)
    wrong = [f"{name}: {words}" for name, rule in RULES.items() for words in rule(template)]
    wrong += [f"{name}: no breach is planted, so nobody knows whether it finds any" for name in RULES if not MUTATIONS.get(name)]
    planted = [(name, what, change) for name, changes in MUTATIONS.items() for what, change in changes]
    found = 0
    for name, what, change in planted:
        broken = copy.deepcopy(template)
        change(broken)
        if list(RULES[name](broken)):
            found += 1
        else:
            wrong.append(f"{name} doesn't find: {what}")
    if not in_readme("rights.py", table(), fix):
        wrong.append("the README shows other rights than rights.py: scripts/check/aws.sh --fix")
    for words in wrong:
        print(words, file=sys.stderr)
    print(f"{len(template['Resources'])} resources, {len(RULES)} rules, {found} of {len(planted)} planted breaches found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
