"""What the engine's equations leave open about contacts and how they are integrated, in one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from graspgen_cli.tables import ENGINES


class Integrator(StrEnum):
    """MuJoCo's integrators (its documentation, Computation, numerical integration)."""

    EULER = "euler"
    IMPLICIT = "implicit"
    IMPLICITFAST = "implicitfast"
    RK4 = "rk4"


@dataclass(frozen=True)
class ContactModel:
    """How hard the object is and how its contacts are solved. The defaults are what every command uses; docs/judging.md says why.

    The engine makes contacts softer where a step is longer than half of the time constant, so that finer steps of one model come to
    the same motion, and coarser ones do not.
    """

    time_constant: float = 0.03
    """s: how long a contact takes to push the bodies apart (solref); seven and a half steps at 250 Hz, so that an impact is resolved. A
    grip of 70 to 125 N then presses 0.5 to 0.8 mm deep, as into a rubber pad."""
    damping_ratio: float = 1.0
    impedance: tuple[float, float, float, float, float] = (0.95, 0.99, 0.001, 0.5, 2.0)
    """solimp: smallest and largest share of a constraint's force, the depth (m) over which it grows, midpoint and power of the growth."""
    friction_stiffness: float = 100.0
    """impratio: how much stiffer contacts are against sliding than against pressing. A stiff friction keeps grips from creeping."""
    elliptic: bool = True
    """Whether the friction cone is an ellipse; a pyramid turns over more than twice as many labels, and costs no less."""
    integrator: Integrator = Integrator.IMPLICITFAST
    tolerance: float = 1e-8
    """At which improvement of a step's cost, in the engine's scale, its solver stops."""


DEFAULT_CONTACT = ContactModel()


def recorded_contact(backend: str) -> dict[str, Any] | None:
    """The constants as plain values, for the record of trials on this backend; None where it has contacts of its own."""
    if not ENGINES[backend].has_our_contacts:
        return None
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(DEFAULT_CONTACT).items()}
    return values | {"integrator": DEFAULT_CONTACT.integrator.value}
