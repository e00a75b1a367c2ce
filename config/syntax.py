"""Says in the words of the person who wrote the file what PyYAML's scanner and parser complain about.

Never repeats text of the file: it could be a password that was not quoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import yaml

#: Part of PyYAML's problem, part of its context, what to say, and whether the place is where the construct began.
_KNOWN: Final = (
    ("found character '\\t'", "", "found a tab; indent with spaces", False),
    (
        "mapping values are not allowed",
        "",
        "found ': ' where no key can be; check the indentation, or quote the text",
        False,
    ),
    ("could not find expected ':'", "", "a line without ': ' where a key is expected; check the indentation", True),
    ("found unexpected end of stream", "quoted scalar", "a quote that is never closed; close it", True),
    ("found unexpected document separator", "quoted scalar", "a quote that is never closed; close it", True),
    ("expected ',' or ']'", "", "a list '[' that is not closed before here, or a missing comma", False),
    ("expected ',' or '}'", "", "a mapping '{' that is not closed before here, or a missing comma", False),
    (
        "expected <block end>",
        "block mapping",
        "does not line up with the keys above; check the indentation, and quotes further up",
        False,
    ),
    (
        "expected <block end>",
        "block collection",
        "does not line up with the list items above; check the indentation",
        False,
    ),
    (
        "found unknown escape",
        "",
        "an escape that YAML does not know; double the backslash, or use single quotes",
        False,
    ),
    ("hexadecimal", "", "an escape that YAML does not know; double the backslash, or use single quotes", False),
    ("expected the node content", "", "a value is missing here; check brackets, braces and commas", False),
    ("cannot start any token", "", "found a character that cannot start a text; put the text in quotes", False),
    ("alias", "", "an alias (*) whose anchor (&) is not above it; if it is text, put it in quotes", False),
    ("tag", "", "found a tag (!); tags are not allowed; if it is text, put it in quotes", False),
    ("sequence entries are not allowed", "", "found '- ' where no list item can be; check the indentation", False),
    ("expected '<document start>'", "", "does not belong to the text above; check the indentation", False),
)


def explain(failure: yaml.MarkedYAMLError, text: str) -> tuple[yaml.Mark | None, str]:
    """The place and the sentence for a syntax error in ``text``."""
    problem, context = failure.problem or "", failure.context or ""
    mark = failure.problem_mark or failure.context_mark
    tab = _tab_in_indentation(text, mark)
    if tab:
        return mark, "found a tab in the indentation; indent with spaces"
    for of_problem, of_context, sentence, at_begin in _KNOWN:
        if (of_problem in problem or of_problem in context) and of_context in context:
            return (failure.context_mark or mark) if at_begin else mark, sentence
    return mark, "not valid YAML here; check quotes, brackets and indentation, on the line above too"


def _tab_in_indentation(text: str, mark: yaml.Mark | None) -> bool:
    if mark is None:
        return False
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    return "\t" in line[: len(line) - len(line.lstrip(" \t"))]
