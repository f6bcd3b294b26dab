"""Who works on a dataset: several runs with the same settings share it, an object at a time; a run with other settings is told who is
there.

Relied on: POSIX record locks (`fcntl`), which the kernel gives back when a process dies however it dies, and which hold between
machines on NFS 4, Lustre (mounted with flock), GPFS and CephFS. On a file system without locks every run goes on as if nobody else
were there: objects may be made twice, with the same bytes, and nothing that another run might need is removed.
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
from graspgen_cli.errors import InputError, OutputError

PATIENCE = 5.0
"""s to wait for another run that is just starting or ending."""


@dataclass(frozen=True, eq=False)
class ObjectLocks:
    """The locks of a dataset's objects, one byte of a file each. A process that holds several opens the file once: the kernel gives
    back all of a process's locks on a file when the process closes it anywhere."""

    file: IO[bytes]

    @contextlib.contextmanager
    def held(self, object_id: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process now has the object to itself; with `wait`, only once it has."""
        place = int.from_bytes(hashlib.sha256(object_id.encode()).digest()[:7], "little")
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:  # no locks here
            yield True
            return
        try:
            yield True
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Gives back all that are held."""
        self.file.close()


def open_object_locks(paths: DatasetPaths) -> ObjectLocks:
    """The locks of a dataset's objects. Raises OutputError."""
    return ObjectLocks(_opened(paths.locks / "objects"))


@contextlib.contextmanager
def object_lock(paths: DatasetPaths, object_id: str, *, wait: bool) -> Iterator[bool]:
    """One object's lock, for a process that holds no other."""
    with contextlib.closing(open_object_locks(paths)) as locks, locks.held(object_id, wait=wait) as mine:
        yield mine


@contextlib.contextmanager
def owned(paths: DatasetPaths, settings: dict[str, Any], *, clean: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the gripper's dataset for a run with these settings, beside other runs with the same.

    clean: removes what processes left that were killed, before anything else and when the run is over (its own workers or nodes may have
    died meanwhile), each time only where no other run is there, and none can come meanwhile; never on a file system without locks.
    Raises InputError, naming the other run and what differs, where one with other settings is at work.
    """
    with _opened(paths.locks / "owner") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            locks = _locked(file, fcntl.LOCK_EX)
            if locks is not False:
                if locks:
                    clean()
                _write_owner(file, settings)
                _locked(file, fcntl.LOCK_SH)
                break
            if _locked(file, fcntl.LOCK_SH):
                _require_same(paths, _read_owner(file), settings)
                break
            if time.monotonic() > deadline:
                raise InputError(f"{paths.grasps}: another run is at work there and does not say which; wait for it")
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
        raise OutputError(f"{path}: cannot be opened ({error.strerror or error}); check the disk and the permissions") from error


def _locked(file: IO[bytes], kind: int) -> bool | None:
    """Whether the file could be locked; None where the file system has no locks."""
    try:
        fcntl.lockf(file, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
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
