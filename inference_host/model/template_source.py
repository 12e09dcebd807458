"""Which class of a template.py is the template: read from its source, so that nothing of a package runs yet."""

import ast
from pathlib import Path
from typing import TypeGuard

from waypost.errors import Precondition


def template_class(source: Path) -> str:
    """The one class with a method `predict`.

    Raises: Precondition(BAD_TEMPLATE_CLASS) where none or several have one, Precondition(TEMPLATE_FAILED) where the
    file is no Python.
    """
    try:
        found = [node.name for node in ast.parse(source.read_bytes()).body if _predicts(node)]
    except (SyntaxError, ValueError) as error:  # ValueError: a NUL in it, before Python 3.12
        told = f", line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else f": {error}"
        raise Precondition("TEMPLATE_FAILED", f"{source}{told}", "mend it") from error
    if len(found) == 1:
        return found[0]
    if found:
        hint = "keep one of them there, and the others in modules beside it"
        raise Precondition("BAD_TEMPLATE_CLASS", f"{source} has several with a predict: {', '.join(found)}", hint)
    hint = "write one; `waypost host init DIR` shows how"
    raise Precondition("BAD_TEMPLATE_CLASS", f"{source} has no class with a method predict", hint)


def _predicts(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, ast.ClassDef) and any(
        isinstance(each, functions) and each.name == "predict" for each in node.body
    )
