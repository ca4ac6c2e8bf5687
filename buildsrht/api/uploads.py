"""GraphQL requests with files, as the GraphQL multipart request specification has them.

The form has `operations`, a request in which null stands where a file belongs; `map`, which says
for each file which nulls those are; and the files. Those wait on disk while the form is read. Their
places are found by walking what JSON made, and nothing else: no path leads anywhere but there.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from flask import request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from buildsrht.api.fields import MOST_PROBLEMS, parse_object
from buildsrht.config import Limits
from buildsrht.errors import BadInput, FieldError
from buildsrht.graphql.scalars import Upload

# Of one request; nothing that can be asked for takes more than one.
MOST_FILES = 16
ROOT = "variables"
# The parser of forms counts what it is about to look at, of files too, as if it kept that.
PARSER_BYTES = 128 * 1024


def is_multipart() -> bool:
    return request.mimetype == "multipart/form-data"


def read_operations(limits: Limits) -> dict[str, Any]:
    """The request, with each file in its place. Raises BadInput unless every file has one, and
    every place that is named is there, and is null."""
    # Files have a limit of their own, beside the one for what is said about them.
    request.max_content_length = limits.tree + limits.request
    request.max_form_memory_size = limits.request + PARSER_BYTES
    request.max_form_parts = MOST_FILES + 2
    said = [request.form.get(name, "") for name in ("operations", "map")]
    if sum(map(len, said)) > limits.request:
        raise RequestEntityTooLarge
    operations, places = map(parse_object, said, ("operations", "map"))
    # No more than that are looked for: a map may be wrong a hundred thousand times.
    problems = list(islice(_place(operations, places, request.files), MOST_PROBLEMS))
    if problems:
        raise BadInput(problems)
    return operations


def _place(
    operations: dict[str, Any], places: dict[str, Any], files: MultiDict[str, FileStorage]
) -> Iterator[FieldError]:
    """Put the files where they belong, and say what hinders that."""
    yield from _strays(places, files)
    for name, paths in places.items():
        yield from _put(operations, name, paths, files.get(name))


def _strays(places: dict[str, Any], files: MultiDict[str, FileStorage]) -> Iterator[FieldError]:
    for name in files:
        if name not in places:
            yield FieldError("map", f"says nothing of the file {name!r}")
        if len(files.getlist(name)) > 1:
            yield FieldError("map", f"cannot tell the files apart that are called {name!r}")


def _put(
    operations: dict[str, Any], name: str, paths: Any, file: FileStorage | None
) -> Iterator[FieldError]:
    """The same for one file."""
    if file is None:
        yield FieldError("map", f"speaks of a file {name!r}, and none came")
        return
    if not (isinstance(paths, list) and paths and all(isinstance(path, str) for path in paths)):
        yield FieldError("map", f"must have a list of paths for {name!r}")
        return
    for path in paths:
        holder, key = _find(operations, path)
        if holder is None:
            yield FieldError("map", f"{path[:128]!r} is not where null stands for a file")
        else:
            holder[key] = Upload(file.stream)


def _find(operations: dict[str, Any], path: str) -> tuple[Any, Any]:
    """What holds the null that `path` leads to, and under which key; None if it leads to none."""
    first, *steps = path.split(".")
    holder: Any = None
    key: Any = first
    value: Any = operations.get(first) if first == ROOT else None
    for step in steps:
        holder, key = value, step
        if isinstance(holder, list) and step.isascii() and step.isdecimal() and len(step) < 7:
            key = int(step)
            known = key < len(holder)
        else:
            known = isinstance(holder, dict) and key in holder
        if not known:
            return None, None
        value = holder[key]
    return (holder, key) if holder is not None and value is None else (None, None)
