"""A model's input, put together from the flags of `run` by the model's own schema. It sends nothing."""

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from gesso.core.errors import BadRequest

JSON = dict[str, Any]
IMAGE_FORMATS = {"image_uri", "image_uris"}


def read_body(text: str | None, file: str | None) -> JSON:
    """The JSON object of --input or --input-file.

    Raises:
        FileNotFoundError: there is no such file.
        BadRequest: it is no JSON object.
    """
    if text is not None and file is not None:
        raise click.UsageError("give either --input or --input-file, not both")
    if file is not None:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    try:
        body = json.loads(text or "{}")
    except ValueError as error:
        raise BadRequest.told(f"the input is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest.told('the input must be one JSON object, as in {"prompt": "a cat"}')
    return body


def fill_in(body: JSON, properties: JSON, *, prompt: str | None, images: Sequence[str],
            settings: Sequence[str]) -> JSON:  # fmt: skip
    """*body* with what the flags add; local files in image fields have become paths.

    Args:
        properties: of the model's input schema; empty where it publishes none.
        images: paths and URLs, for the model's first image field.
        settings: `key=value` each; a value is JSON where the schema does not ask for a string.

    Raises:
        click.UsageError: the model has no such field.
        FileNotFoundError: an image is neither a URL nor a file.
    """
    added: JSON = {} if prompt is None else {"prompt": prompt}
    added |= dict(_setting(each, properties) for each in settings)
    if images:
        added |= _images(images, body, properties)
    for name in added:
        if properties and name not in properties:
            raise click.UsageError(f"this model has no field '{name}'; it has: {', '.join(properties)}")
    filled = body | added
    return filled | {name: _with_paths(filled[name]) for name in _image_fields(properties) if name in filled}


def _setting(text: str, properties: JSON) -> tuple[str, Any]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise click.UsageError(f"--set wants key=value, not '{text}'")
    if properties.get(name, {}).get("type") == "string":
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _images(images: Sequence[str], body: JSON, properties: JSON) -> JSON:
    fields = _image_fields(properties) or ([] if properties else ["image_urls"])
    if not fields:
        raise click.UsageError("this model takes no image")
    field = fields[0]
    if properties.get(field, {}).get("type") == "string":
        if len(images) > 1:
            raise click.UsageError("this model takes one image")
        return {field: images[0]}
    return {field: [*body.get(field, []), *images]}


def _image_fields(properties: Mapping[str, Any]) -> list[str]:
    """The fields that hold images, lists of them first."""
    found = [name for name, rule in properties.items() if {rule.get("format"), _item_format(rule)} & IMAGE_FORMATS]
    return sorted(found, key=lambda name: properties[name].get("type") != "array")


def _item_format(rule: Mapping[str, Any]) -> Any:
    items = rule.get("items")
    return items.get("format") if isinstance(items, Mapping) else None


def _with_paths(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_paths(item) for item in value]
    if not isinstance(value, str) or value.startswith(("http://", "https://", "data:")):
        return value
    path = Path(value).expanduser()
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), value)
    return path
