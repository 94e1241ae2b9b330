"""What a rule is: a function that yields what in the template breaks it, in words."""

RULES = {}


def rule(name):
    """Registers a rule under its name. Its docstring says what it holds."""

    def register(function):
        RULES[name] = function
        return function

    return register
