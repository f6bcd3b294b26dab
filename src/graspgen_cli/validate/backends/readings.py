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
from graspgen_cli.validate.backends.warp_kernels import smallest_of_worlds

Overflow = NDArray[np.int32]


class Readings:
    """The part of a simulation's data that says how its worlds stand, in memory of this process. All methods but `seen` and `marked`
    return before the device has done anything; call them in the worlds' stream."""

    def __init__(self, data: Any) -> None:
        """data: of MuJoCo Warp, on the device that is current."""
        self._data = data
        self._sources = (data.qpos, data.sensordata, data.overflow)
        self._seen = tuple(map(_twin, self._sources))
        self._smallest = wp.zeros(data.nworld, dtype=float)
        self._deepest, self._marked = _twin(self._smallest), _twin(self._smallest)

    def send(self) -> None:
        """Has the present state copied once the steps so far are made."""
        for source, twin in zip(self._sources, self._seen, strict=True):
            wp.copy(twin, source)
        self._note_deepest(self._deepest)

    def mark(self) -> None:
        """Notes the contacts of the last step so far, for `marked`."""
        self._note_deepest(self._marked)

    def seen(self) -> tuple[Floats, Floats, Overflow, Floats]:
        """qpos (worlds, nq), sensordata (worlds, nsensordata), overflow (worlds,) and the distance of the deepest contact (worlds,) m, at
        most 0, as sent last. Once the stream has come that far."""
        return *(twin.numpy() for twin in self._seen), self._deepest.numpy()

    def marked(self) -> Floats:
        """(worlds,) m, at most 0: distance of the deepest contact when it was marked last. Once the stream has come that far."""
        noted: Floats = self._marked.numpy()
        return noted

    def _note_deepest(self, twin: Any) -> None:
        self._smallest.zero_()
        contact = self._data.contact
        smallest_of_worlds(self._data.nacon, contact.worldid, contact.dist, self._smallest)
        wp.copy(twin, self._smallest)


def _twin(source: Any) -> Any:
    """An array like another, in memory of this process to which a device copies by itself."""
    return wp.empty(source.shape, dtype=source.dtype, device="cpu", pinned=source.device.is_cuda)
