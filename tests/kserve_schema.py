"""The schema of KServe's resources: its Python SDK names every field, Kubernetes' schema what it borrows.

The SDK needs half a hundred packages to be imported, some in versions of their own; so its wheel is fetched
and its models are read as text.
"""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from tests.manifests import KUBERNETES, Manifest
from train.ready_text.pypi import PyPI

VERSION = "0.21.0"
_PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


class KserveSchema:
    """Refuses what KServe does not know."""

    def __init__(self) -> None:
        """Raises UnavailableError where PyPI cannot be reached."""
        (package,) = PyPI().fetch(f"kserve=={VERSION}", ["kserve/models/*.py"])
        classes = [
            node
            for text in package.files.values()
            for node in ast.parse(text).body
            if isinstance(node, ast.ClassDef)
        ]
        folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
        borrowed = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))["$defs"]
        # ServiceAccount is called io.k8s.api.core.v1.ServiceAccount there and V1ServiceAccount here.
        self._borrowed = {"V1" + name.rpartition(".v1.")[2]: name for name in borrowed if ".v1." in name}
        self._own = {node.name for node in classes}
        self._definitions = {**borrowed, **{node.name: self._model(node) for node in classes}}

    def validate(self, manifest: Manifest) -> None:
        """Raises jsonschema's ValidationError."""
        version = manifest["apiVersion"].removeprefix("serving.kserve.io/").capitalize()
        root = {"$ref": f"#/$defs/{version}{manifest['kind']}", "$defs": self._definitions}
        Draft202012Validator(root).validate(manifest)

    def _model(self, model: ast.ClassDef) -> dict[str, Any]:
        types, names = (_dictionary(model, name) for name in ("openapi_types", "attribute_map"))
        fields = {names[field]: self._type(kind) for field, kind in types.items()}
        return {"type": "object", "properties": fields, "additionalProperties": False}

    def _type(self, kind: str) -> dict[str, Any]:
        if kind in _PLAIN:
            return {"type": _PLAIN[kind]}
        if found := re.fullmatch(r"list\[(.*)\]", kind):
            return {"type": "array", "items": self._type(found[1])}
        if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
            return {"type": "object", "additionalProperties": self._type(found[1])}
        name = kind if kind in self._own else self._borrowed.get(kind)
        return {"$ref": f"#/$defs/{name}"} if name else {}


def _dictionary(model: ast.ClassDef, name: str) -> dict[str, str]:
    for node in model.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            value: dict[str, str] = ast.literal_eval(node.value)
            return value
    raise AssertionError(f"{model.name} has no {name}")
