"""The text of a GraspGen JSON file: parsed with its poses as one array, and its checksum."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from graspgen_cli.records import Floats

CHECKSUM = "checksum"


@dataclass(frozen=True, eq=False)
class PoseText:
    """``grasps.transforms`` of a document that was read: poses (N, 4, 4), and their text."""

    poses: Floats
    text: bytes


def checksum(document: Mapping[str, Any], *, pose_text: bool = False) -> str:
    """SHA-256 (hex) of a document's values without the checksum; white space and the order of keys in the file do not matter.

    pose_text: hash the text of the poses. This is faster, and gives the same result for a text as `encode` writes it.
    """

    def plain(value: object) -> object:
        if not isinstance(value, PoseText):
            raise TypeError(type(value).__name__)
        return orjson.Fragment(value.text) if pose_text else value.poses.tolist()

    rest = {key: value for key, value in document.items() if key != CHECKSUM}
    return hashlib.sha256(orjson.dumps(rest, default=plain, option=orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)).hexdigest()


_POSES_BEGIN, _POSES_END = b'"transforms":[[[', b"]]]"
_NUMBERS = b"0123456789+-.eE \t\r\n"
_POSE = b"[[,,,],[,,,],[,,,],[,,,]]"
"""A pose without its numbers."""


def parse_json(content: bytes) -> Any:
    """The values of a JSON text. ``grasps.transforms`` becomes a PoseText if it is written as most tools do: lists would take three times
    as long as all other values."""
    begin = content.find(_POSES_BEGIN)
    if begin < 0:
        return _plain(content)
    begin += _POSES_BEGIN.index(b"[")
    # The poses end before the next quotation mark; one character is found ten times as fast as the brackets at their end.
    quote = content.find(b'"', begin)
    end = content.rfind(_POSES_END, begin, quote if quote >= 0 else len(content)) + len(_POSES_END)
    text = content[begin:end]
    poses = _pose_array(text)
    if poses is not None:
        rest = content[:begin] + b"[]" + content[end:]
        document = orjson.loads(rest) if rest.count(b'"transforms"') == 1 else None
        if isinstance(document, dict) and isinstance(grasps := document.get("grasps"), dict) and grasps.get("transforms") == []:
            grasps["transforms"] = PoseText(poses, text)
            return document
    return _plain(content)


def _pose_array(text: bytes) -> Floats | None:
    """The array (N, 4, 4) of a JSON text; None for any other text."""
    marks = text.translate(None, _NUMBERS)
    count = (len(marks) - 1) // (len(_POSE) + 1)
    if count < 1 or marks != b"[" + b",".join([_POSE] * count) + b"]":
        return None
    try:
        numbers: list[float] = orjson.loads(_without_brackets(text))
    except orjson.JSONDecodeError:
        return None
    poses = np.empty((count, 4, 4))
    struct.pack_into(f"{len(numbers)}d", poses.data, 0, *numbers)  # three times as fast as np.array(list)
    return poses


def _without_brackets(text: bytes) -> memoryview:
    """A JSON text with white space for all brackets but the outermost: ``[`` shares with 13 the bits of a tab, ``]`` those of a return."""
    letters = np.frombuffer(text, np.uint8)
    bracket = (letters - ord("[") & ~np.uint8(ord("]") - ord("["))) == 0
    result = letters & ~(bracket * np.uint8(255 - 13))
    result[[0, -1]] = letters[[0, -1]]
    return result.data


def _plain(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # Python writes NaN, and accepts a byte order mark.
        if b"NaN" in content or b"Infinity" in content or content.startswith(b"\xef\xbb\xbf"):
            return json.loads(content)
        raise
