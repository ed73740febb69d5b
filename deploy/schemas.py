#!/usr/bin/env python3
"""Turns CustomResourceDefinitions (JSON on standard input, one or several) into JSON Schemas for kubeconform.

usage: schemas.py DIRECTORY < crds.json
"""

import json
import pathlib
import sys


def strict(schema):
    """Refuses unknown fields, as the API server does with --validate=strict."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            strict(value)
    elif isinstance(schema, list):
        for value in schema:
            strict(value)


def documents(text):
    decoder, at = json.JSONDecoder(), 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        document, at = decoder.raw_decode(text, at)
        yield from document.get("items", [document])


directory = pathlib.Path(sys.argv[1])
for crd in documents(sys.stdin.read()):
    for version in crd["spec"]["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"] |= {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
        }
        strict(schema)
        kind = crd["spec"]["names"]["kind"].lower()
        (directory / f"{kind}_{version['name']}.json").write_text(json.dumps(schema))
