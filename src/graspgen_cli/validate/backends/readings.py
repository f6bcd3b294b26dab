"""What is read of the worlds on a device, copied in their own stream.

So that neither the device nor who reads waits for other worlds: `wp.array.numpy` copies in the device's default stream, which waits for
all others and has them wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import warp as wp
from numpy.typing import NDArray

from graspgen_cli.records import Floats
from graspgen_cli.validate.backends.warp_kernels import deepest_of_worlds

Overflow = NDArray[np.int32]


class Readings:
    """The part of a simulation's data that says how its worlds stand, in memory of this process. All methods but `seen` and `marked`
    return before the device has done anything; call them in the worlds' stream."""

    def __init__(self, data: Any, is_link: NDArray[np.int32]) -> None:
        """data: of MuJoCo Warp, on the device that is current. is_link: (geoms,) those of the gripper that are of no finger."""
        self._data, self._is_link = data, wp.array(is_link)
        self._deepest, self._deepest_of_links = (wp.zeros(data.nworld, dtype=float) for _ in range(2))
        self._sources = (data.qpos, data.sensordata, data.overflow, self._deepest, self._deepest_of_links)
        self._seen = tuple(map(_twin, self._sources))
        self._marked = _twin(self._deepest)

    def send(self) -> None:
        """Has the present state copied once the steps so far are made."""
        self._find_deepest()
        for source, twin in zip(self._sources, self._seen, strict=True):
            wp.copy(twin, source)

    def mark(self) -> None:
        """Notes the contacts of the last step so far, for `marked`."""
        self._find_deepest()
        wp.copy(self._marked, self._deepest)

    def seen(self) -> tuple[Floats, Floats, Overflow, Floats, Floats]:
        """qpos (worlds, nq), sensordata (worlds, nsensordata), overflow (worlds,) and the distances of the deepest contact and of the
        deepest one with a link of no finger (worlds,) m, at most 0, as sent last. Once the stream has come that far."""
        qpos, sensordata, overflow, deepest, deepest_of_links = (twin.numpy() for twin in self._seen)
        return qpos, sensordata, overflow, deepest, deepest_of_links

    def marked(self) -> Floats:
        """(worlds,) m, at most 0: distance of the deepest contact when it was marked last. Once the stream has come that far."""
        noted: Floats = self._marked.numpy()
        return noted

    def _find_deepest(self) -> None:
        self._deepest.zero_()
        self._deepest_of_links.zero_()
        deepest_of_worlds(self._data, self._is_link, self._deepest, self._deepest_of_links)


def _twin(source: Any) -> Any:
    """An array like another, in memory of this process to which a device copies by itself."""
    return wp.empty(source.shape, dtype=source.dtype, device="cpu", pinned=source.device.is_cuda)
