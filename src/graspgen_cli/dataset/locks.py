"""Locks: several runs with the same settings share a dataset, object by object; a run with other settings is refused.

POSIX record locks (`fcntl`): the kernel releases them when a process ends in any way. They hold between machines on NFS 4, Lustre (mounted
with flock), GPFS and CephFS. On a file system without locks every run continues as if it were alone: an object may be made twice, with the
same bytes, and nothing is cleaned up.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from graspgen_cli.dataset.paths import DatasetPaths
from graspgen_cli.errors import InputError, OutputError, one_line
from graspgen_cli.files import remove_leftovers

PATIENCE = 5.0
"""s to wait for another run that starts or ends."""


@dataclass(frozen=True, eq=False)
class ObjectLocks:
    """The locks of a dataset's objects, one byte of a file each. A process must open the file once: the kernel releases all locks of a
    process on a file when the process closes it anywhere."""

    file: IO[bytes]

    @contextlib.contextmanager
    def held(self, object_id: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process has the object; with `wait`, blocks until it has."""
        place = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:7], "little")
        locked = _locked(self.file, fcntl.LOCK_EX, wait=wait, place=place)
        try:
            yield locked is not False
        finally:
            if locked:
                fcntl.lockf(self.file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Releases all locks."""
        self.file.close()


def open_object_locks(paths: DatasetPaths) -> ObjectLocks:
    """The locks of a dataset's objects. Raises OutputError."""
    return ObjectLocks(_opened(paths.locks / "objects"))


@contextlib.contextmanager
def object_lock(paths: DatasetPaths, object_id: str, *, wait: bool) -> Iterator[bool]:
    """The lock of one object, for a process without other locks."""
    with contextlib.closing(open_object_locks(paths)) as locks, locks.held(object_id, wait=wait) as mine:
        yield mine


def remove_remains(paths: DatasetPaths) -> None:
    """Removes the temporary files of killed runs."""
    for folder in (paths.grasps, paths.splits, paths.config, paths.index.parent):
        remove_leftovers(folder)


@contextlib.contextmanager
def owned(paths: DatasetPaths, settings: dict[str, Any], *, clean: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the gripper's dataset for a run with these settings, beside runs with the same settings.

    clean: removes the remains of killed processes; called at the start and at the end if no other run is active, and none can start
    meanwhile. Raises InputError, with the other run and the differences, if a run with other settings is active.
    """
    with _opened(paths.locks / "owner") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            alone = _locked(file, fcntl.LOCK_EX)
            if alone is not False:
                if alone:
                    clean()
                _write_owner(file, settings)
                _locked(file, fcntl.LOCK_SH)
                break
            if _locked(file, fcntl.LOCK_SH):
                _require_same(paths, _read_owner(file), settings)
                break
            if time.monotonic() > deadline:
                raise InputError("another run is active there", path=paths.grasps, advice="wait for it")
            time.sleep(0.05)
        try:
            yield
        finally:
            if _locked(file, fcntl.LOCK_EX):
                clean()


def _opened(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    except OSError as error:
        raise OutputError(f"cannot be opened ({one_line(error)})", path=path, advice="check the disk and the permissions") from error


def _locked(file: IO[bytes], kind: int, *, wait: bool = False, place: int | None = None) -> bool | None:
    """Locks a file, or one byte of it; returns whether it did, None on a file system without locks."""
    try:
        fcntl.lockf(file, kind | (0 if wait else fcntl.LOCK_NB), *(() if place is None else (1, place)))
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _write_owner(file: IO[bytes], settings: dict[str, Any]) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime())
    record = {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "settings": settings}
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
    theirs, ours = owner.get("settings"), json.loads(orjson.dumps(settings))
    if not isinstance(theirs, dict) or theirs == ours:
        return
    differing = sorted(name for name in {*theirs, *ours} if theirs.get(name) != ours.get(name))
    who = f"process {owner.get('pid')} on {owner.get('host')} since {owner.get('since')}"
    what = ", ".join(f"{name} {theirs.get(name)} there, {ours.get(name)} here" for name in differing[:3])
    reason = f"{who} is making it with other settings ({what})"
    raise InputError(reason, path=paths.grasps, advice="wait for it, or choose another --grasp-dataset")
