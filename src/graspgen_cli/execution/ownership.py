"""Who works on a dataset: several runs with the same settings share it, an object at a time; a run with other settings is told who is
there.

Relied on: POSIX record locks (`fcntl`), which the kernel gives back when a process dies however it dies, and which hold between
machines on NFS 4, Lustre (mounted with flock), GPFS and CephFS. On a file system without locks every run believes itself alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import InputError, OutputError

PATIENCE = 5.0
"""s to wait for another run that is just starting or ending."""


@contextlib.contextmanager
def object_lock(paths: DatasetPaths, object_id: str, *, wait: bool) -> Iterator[bool]:
    """Whether this process now has the object to itself; with `wait`, only once it has. One byte of a file stands for each object."""
    place = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:7], "little")
    with _opened(paths.locks / "objects") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:  # no locks here
            yield True
            return
        yield True  # closing the file gives the lock back


@dataclass(frozen=True)
class Ownership:
    """A run's hold on a dataset. alone: no other run was there when it began."""

    alone: bool


@contextlib.contextmanager
def owned(paths: DatasetPaths, settings: dict[str, Any]) -> Iterator[Ownership]:
    """Holds the gripper's dataset for a run with these settings, beside other runs with the same.

    Raises InputError, naming the other run and what differs, where one with other settings is at work.
    """
    with _opened(paths.locks / "owner") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            if _locked(file, fcntl.LOCK_EX):
                _write_owner(file, settings)
                _locked(file, fcntl.LOCK_SH)
                yield Ownership(alone=True)
                return
            if _locked(file, fcntl.LOCK_SH):
                _require_same(paths, _read_owner(file), settings)
                yield Ownership(alone=False)
                return
            if time.monotonic() > deadline:
                raise InputError(f"{paths.grasps}: another run is at work there and does not say which; wait for it")
            time.sleep(0.05)


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(f"{path}: cannot be opened ({error.strerror or error}); check the disk and the permissions") from error


def _locked(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # no locks here
        return True
    return True


def _write_owner(file: IO[bytes], settings: dict[str, Any]) -> None:
    record = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime()),
        "settings": settings,
    }
    file.seek(0)
    file.truncate()
    file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    file.flush()


def _read_owner(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    try:
        record = json.loads(file.read())
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _require_same(paths: DatasetPaths, owner: dict[str, Any], settings: dict[str, Any]) -> None:
    theirs = owner.get("settings")
    ours = json.loads(orjson.dumps(settings))
    if not isinstance(theirs, dict) or theirs == ours:
        return
    differing = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
    what = ", ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in differing[:3])
    raise InputError(f"{paths.grasps}: {who} is making it with other settings ({what}); wait for it, or choose another --grasp-dataset")
