"""docs/api.md: the public surface with its signatures and docstrings. `python tests/api_page.py` writes it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shan_engine

WIDTH = 100
PAGE = Path(__file__).parents[1] / "docs" / "api.md"
INTRODUCTION = """# The Python interface

Written from the docstrings by `tests/renew_docs.py`; do not edit it here. This is all of the public surface. What is
not on this page may change without notice. Every error is a `ShanError` with a message that says what to do.

The examples run on the bundled demo, as a test:

```pycon
>>> import shan_engine
>>> with shan_engine.open() as engine:
...     found = engine.search("a dog on grass", top_k=2)
...     windmills = engine.search("a windmill", where="id LIKE 'renewable%'", top_k=1)
...     scores = engine.score(["a dog on grass", "a windmill"], ids=["dog.jpg", "pig.jpg"])
>>> [hit.image.id for hit in found]
['dog.jpg', 'pig.jpg']
>>> found.hits[0].words[-1].word
'grass'
>>> windmills.hits[0].image.id
'renewable_windmill7.jpg'
>>> scores.shape
(2, 2)

```
"""


class _Text:
    """Prints as it is, so that annotations stand without quotes and functions without addresses."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature_of(name: str, function: Any, *, method: bool = False) -> str:
    """`name(a: int, *, b: str = 'x') -> None`, without self."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())[1 if method else 0 :]
    shown = [
        parameter.replace(
            annotation=_annotation(parameter.annotation),
            default=_Text("…") if inspect.isfunction(parameter.default) else parameter.default,
        )
        for parameter in parameters
    ]
    whole = signature.replace(parameters=shown, return_annotation=_annotation(signature.return_annotation))
    text = f"{name}{whole}"
    if len(text) > WIDTH:  # a parameter a line
        lines = [f"    {line}," for line in _apart(whole)]
        text = "\n".join([f"{name}(", *lines, f"){text.rpartition(')')[2]}"])
    return re.sub(r"\bshan_engine(\.\w+)*\.", "", text)


def _apart(signature: inspect.Signature) -> Iterator[str]:
    """Parameters as they are written, with the mark `*` before those that must be named."""
    named = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            named = True
            yield "*"
        yield str(parameter)


def _annotation(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for name in sorted(shan_engine.__all__, key=lambda name: (not name.islower(), name.lower())):
        parts.extend(_entry(name, getattr(shan_engine, name)))
    return "\n".join(parts)


def _entry(name: str, value: Any) -> Iterator[str]:
    yield f"## {name}\n"
    if inspect.isclass(value):
        error = issubclass(value, BaseException)
        head = f"class {name}({value.__bases__[0].__name__})" if error else _constructor(name, value)
        yield f"```python\n{head}\n```\n"
        yield _docstring(value)
        for member, found in _members(value) if not error else ():
            yield f"### {name}.{member}\n"
            if isinstance(found, property):
                yield f"```python\n{member}: {inspect.signature(found.fget).return_annotation}\n```\n"  # type: ignore[arg-type]
                yield _docstring(found)
            else:
                function = found.__func__ if isinstance(found, classmethod | staticmethod) else found
                bound = not isinstance(found, staticmethod)
                yield f"```python\n{signature_of(member, function, method=bound)}\n```\n"
                yield _docstring(function)
    elif inspect.isroutine(value):
        yield f"```python\n{signature_of(name, value)}\n```\n"
        yield _docstring(value)
    else:
        yield f"A `{type(value).__name__}`.\n" if not hasattr(value, "__args__") else f"`{value}`\n"


def _constructor(name: str, value: type) -> str:
    try:
        return "class " + signature_of(name, value.__init__, method=True).removesuffix(" -> None")  # type: ignore[misc]
    except (TypeError, ValueError):
        return f"class {name}"


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties of the class and its bases here, in the order of their definition."""
    found: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if base.__module__.startswith("shan_engine"):
            found.update(vars(base))
    for name, member in found.items():
        kinds = (property, classmethod, staticmethod)
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, kinds)):
            yield name, member


def _docstring(value: Any) -> str:
    """The docstring with indented examples as blocks of code."""
    text = inspect.cleandoc(value.__doc__ or "")
    assert text, f"{value} has no docstring"
    text = re.sub(r"(?m)((?:^(?:>>>|\.\.\.) .*\n?(?:^(?!>>>|\.\.\.)\S.*\n?)*)+)", r"```pycon\n\1\n```\n", text)
    return text.rstrip() + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
