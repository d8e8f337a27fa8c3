"""The OpenAPI document of the API, made from the structs that requests are read as and answers are described by."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import shan_engine

from shan_web import answers, asked
from shan_web.safety import PAGE_TOKEN

_JSON = "application/json"
# Method, address, what it does, parameters, the answer's struct or media type.
_ROUTES: tuple[tuple[str, str, str, type[Any] | None, type[Any] | str], ...] = (
    ("get", "/api/search", "Find photos by words, phrases, photos and filters.", asked.Search, answers.SearchAnswer),
    ("get", "/api/similar", "Find photos like one of the gallery.", asked.Similar, answers.SearchAnswer),
    ("get", "/api/explain", "Why one photo answers a query.", asked.Explain, answers.SearchAnswer),
    ("get", "/api/photos", "Photos without a query, the newest first.", asked.Browse, answers.SearchAnswer),
    ("get", "/api/captions", "Captions that fit an uploaded photo.", asked.Captions, answers.CaptionsAnswer),
    ("get", "/api/columns", "What a gallery's columns hold.", asked.OfGallery, answers.ColumnsAnswer),
    ("get", "/api/galleries", "All galleries.", None, answers.GalleriesAnswer),
    ("get", "/api/thumbnail", "A small copy of a photo, upright.", asked.Thumbnail, "image/jpeg"),
    ("get", "/api/original", "The file of a photo; takes Range.", asked.OfPhoto, "*/*"),
    ("get", "/api/health", "Whether every gallery can be searched.", None, answers.HealthAnswer),
    ("get", "/metrics", "Counts and times for Prometheus.", None, "text/plain"),
    ("post", "/api/uploads", "Send a photo to search with.", asked.OfGallery, answers.UploadAnswer),
    ("post", "/api/open", "Open a photo's folder on this machine.", asked.OfPhoto, answers.DoneAnswer),
    ("post", "/api/session", "Give the token once, and get a cookie.", None, answers.DoneAnswer),
)
_PROBLEMS = {
    "400": "What was asked cannot be answered.",
    "401": "The server needs its token.",
    "403": "Who asks may not.",
    "404": "There is no such gallery, photo or file.",
    "421": "The server does not go by that name.",
    "503": "Too many wait, or a gallery cannot be read now; Retry-After says when to ask again.",
}


@cache
def document() -> dict[str, Any]:
    """The document."""
    structs = [kind for *_, kind in _ROUTES if not isinstance(kind, str)]
    kinds = [*dict.fromkeys(structs), answers.Problem]
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    named = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for method, path, summary, parameters, answer in _ROUTES:
        content = {answer: {}} if isinstance(answer, str) else {_JSON: {"schema": named[answer]}}
        told = {"content": {_JSON: {"schema": named[answers.Problem]}}}
        problems = {status: {"description": text, **told} for status, text in _PROBLEMS.items()}
        # An address of over 64 kB is refused before it is read.
        problems["400"] = problems["400"] | {"content": told["content"] | {"text/plain": {}}}
        operation: dict[str, Any] = {
            "summary": summary,
            "operationId": path.rpartition("/")[2],
            "parameters": [*_parameters(parameters), *(_TOKEN if method == "post" else [])],
            "responses": {"200": {"description": "The answer.", "content": content}, **problems},
        }
        if path == "/api/original":
            operation["responses"]["206"] = {"description": "The range.", "content": content}
            operation["responses"]["416"] = {"description": "There is no such range.", "content": {"text/plain": {}}}
        if path == "/api/health":
            operation["responses"]["503"] = {"description": "A gallery fails.", "content": content}
        if path == "/api/uploads":
            photo = {"schema": {"type": "string", "format": "binary"}}
            operation["requestBody"] = {"required": True, "content": {"application/octet-stream": photo}}
        paths[path] = {method: operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": "shan-engine", "version": shan_engine.__version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


_TOKEN: list[dict[str, Any]] = [
    {
        "name": PAGE_TOKEN,
        "in": "header",
        "required": False,
        "description": "The page's token, where the request has no Authorization.",
        "schema": {"type": "string"},
    }
]


def _parameters(kind: type[Any] | None) -> list[dict[str, Any]]:
    """Each field of a struct as a parameter of the address."""
    if kind is None:
        return []
    (_,), components = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    schema = components[kind.__name__]
    found = []
    for name, held in schema["properties"].items():
        held = {key: value for key, value in held.items() if key != "default" or value not in (None, [])}
        if "anyOf" in held:  # a parameter is left out rather than null
            (given,) = (one for one in held.pop("anyOf") if one != {"type": "null"})
            held = given | {key: value for key, value in held.items() if key != "default"}
        text = held.pop("description", "")
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", []),
                **({"description": text} if text else {}),
                **({"style": "form", "explode": True} if held.get("type") == "array" else {}),
                "schema": held,
            }
        )
    return found
