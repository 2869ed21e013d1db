"""Knows whether a value fits a JSON schema: a light check of what schemas of tools say, that no schema can hang."""

import json
import operator
from collections.abc import Mapping, Sized
from functools import reduce
from typing import Any

TYPES: Mapping[str, Any] = {
    **{"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict},
    "null": type(None),
}
BOUNDS = {  # of which type, and how its value or length is compared
    **{"minimum": ("number", operator.ge), "exclusiveMinimum": ("number", operator.gt)},
    **{"maximum": ("number", operator.le), "exclusiveMaximum": ("number", operator.lt)},
    **{"minLength": ("string", operator.ge), "maxLength": ("string", operator.le)},
    **{"minItems": ("array", operator.ge), "maxItems": ("array", operator.le)},
}


def fault(value: Any, schema: Any, where: str = "arguments", root: Any = None) -> str:
    """Why `value` does not fit; "" if it does. `$ref` is looked up in `root`, which is `schema` if not given.

    Types, enum, const, bounds, required, properties, items, anyOf, oneOf (as anyOf), allOf; other keywords pass, a
    pattern among them, for a stranger's may take for ever. On a schema that is none it raises AttributeError,
    LookupError, RecursionError or TypeError.
    """
    if isinstance(schema, bool):
        return "" if schema else f"{where}: nothing may stand here"
    root = schema if root is None else root
    if reference := schema.get("$ref"):
        return fault(value, reduce(operator.getitem, reference.split("/")[1:], root), where, root)
    kinds = [kind] if isinstance(kind := schema.get("type", []), str) else kind
    if kinds and not any(_is_a(value, kind) for kind in kinds):
        return f"{where}: must be of type {' or '.join(kinds)}"
    choices = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if choices is not None and not any(value == one and _is_bool(value) == _is_bool(one) for one in choices):
        return f"{where}: must be one of {json.dumps(choices, ensure_ascii=False):.200}"
    for name in BOUNDS.keys() & schema.keys():
        kind, holds = BOUNDS[name]
        if _is_a(value, kind) and not holds(len(value) if isinstance(value, Sized) else value, schema[name]):
            return f"{where}: {name} is {schema[name]}"
    faults = [fault(value, part, where, root) for part in schema.get("allOf", ())]
    for name in ("anyOf", "oneOf"):
        tried = [fault(value, part, where, root) for part in schema.get(name, ())]
        faults.append("" if "" in tried or not tried else f"{where}: has none of its forms ({tried[0]})")
    return next(filter(None, [*faults, *_inner_faults(value, schema, where, root)]), "")


def _inner_faults(value: Any, schema: Any, where: str, root: Any) -> list[str]:
    if isinstance(value, list) and "items" in schema:
        return [fault(part, schema["items"], f"{where}[{n}]", root) for n, part in enumerate(value)]
    if not isinstance(value, dict):
        return []
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    missing = [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in value]
    unknown = [f"{where}: {name!r:.99} is unknown" for name in value if name not in known and others is False]
    inside = (fault(part, known.get(name, others), f"{where}.{name}", root) for name, part in value.items())
    return [*missing, *unknown, *inside]


def _is_a(value: object, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)
