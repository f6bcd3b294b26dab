"""The path of a mechanism is the one that its constraints leave, from limit to limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.mechanism import Mechanism, trace, trace_springs
from graspgen_cli.grippers.read_mjcf import read_mjcf_text


def mechanism(bodies: str, constraints: str = "") -> Mechanism:
    text = f"""<mujoco><compiler angle="radian" autolimits="true"/>
    <worldbody><body name="base"><geom size="0.01"/>{bodies}</body></worldbody>{constraints}</mujoco>"""
    return Mechanism(read_mjcf_text(text, source="mechanism.xml"))


def slides(first: str, second: str) -> str:
    return "".join(
        f'<body><joint name="{name}" type="slide" axis="1 0 0" {limits}/><geom size="0.01"/></body>'
        for name, limits in (("a", first), ("b", second))
    )


def four_bar(rocker: float, ground: float) -> Mechanism:
    """Crank 0.05 at the origin, coupler 0.08, rocker on the ground pivot, closed by a connect constraint; hinges about Y."""
    bodies = f"""
    <body><joint name="crank" axis="0 -1 0" range="0.5 2.5"/><geom size="0.001"/>
      <body pos="0.05 0 0"><joint name="coupler" axis="0 -1 0"/><geom size="0.001"/><site name="end" pos="0.08 0 0"/></body>
    </body>
    <body pos="{ground} 0 0"><joint name="rocker" axis="0 -1 0"/><geom size="0.001"/><site name="top" pos="{rocker} 0 0"/></body>"""
    return mechanism(bodies, '<equality><connect site1="end" site2="top"/></equality>')


def test_mimic_joint_follows_its_polynomial() -> None:
    limits = 'range="-0.1 0.1"'
    path = trace(mechanism(slides(limits, 'range="-1 1"'), '<equality><joint joint1="b" joint2="a" polycoef="0.01 0.5 2 0 0"/></equality>'))
    a, b = path.knots.T
    assert b == pytest.approx(0.01 + 0.5 * a + 2 * a**2, abs=1e-12)
    assert sorted(a[[0, -1]]) == pytest.approx([-0.1, 0.1], abs=1e-12)


def test_the_first_limit_met_ends_the_path() -> None:
    path = trace(mechanism(slides('range="-0.1 0.1"', 'range="-0.02 0.15"'), '<equality><joint joint1="b" joint2="a"/></equality>'))
    assert sorted(path.knots[[0, -1], 0]) == pytest.approx([-0.02, 0.1], abs=1e-12)


def test_tendon_couples_joints() -> None:
    tendon = """<tendon><fixed name="t"><joint joint="a" coef="1"/><joint joint="b" coef="2"/></fixed></tendon>
    <equality><tendon tendon1="t"/></equality>"""
    path = trace(mechanism(slides('range="-0.1 0.1"', 'range="-1 1"'), tendon))
    a, b = path.knots.T
    assert a + 2 * b == pytest.approx(np.zeros(len(a)), abs=1e-12)


@pytest.mark.parametrize(("rocker", "ground"), [(0.05, 0.08), (0.07, 0.06), (0.06, 0.07)])
def test_four_bar_linkage_keeps_its_lengths(rocker: float, ground: float) -> None:
    linkage = four_bar(rocker, ground)
    path = trace(linkage)
    for parameter in np.linspace(0, path.end, 23):
        crank, coupler, swing = path.at(float(parameter))
        end = 0.05 * np.array([math.cos(crank), math.sin(crank)]) + 0.08 * np.array([math.cos(crank + coupler), math.sin(crank + coupler)])
        top = np.array([ground, 0.0]) + rocker * np.array([math.cos(swing), math.sin(swing)])
        assert end == pytest.approx(top, abs=1e-9)
    assert sorted(path.knots[[0, -1], 0]) == pytest.approx([0.5, 2.5], abs=2e-6)


def test_path_hits_a_value_exactly() -> None:
    path = trace(
        mechanism(slides('range="0 0.1"', 'range="-1 1"'), '<equality><joint joint1="b" joint2="a" polycoef="0 1 5 0 0"/></equality>')
    )
    path = path if path.knots[0, 0] < path.knots[-1, 0] else path.reversed()
    found = path.find(lambda q: float(q[0] + q[1]), path.knots.sum(axis=1), 0.0333)
    assert found.sum() == pytest.approx(0.0333, abs=1e-12)
    assert path.find(lambda q: float(q[0]), path.knots[:, 0], 0.2)[0] == pytest.approx(0.1, abs=1e-12)


def test_reversed_path_is_the_same_path() -> None:
    path = trace(four_bar(0.05, 0.08))
    back = path.reversed()
    assert back.knots == pytest.approx(path.knots[::-1])
    assert back.at(0.5) == pytest.approx(path.at(path.end - 0.5), abs=1e-3)


@pytest.mark.parametrize(
    ("bodies", "constraints", "complaint"),
    [
        (slides('range="0 1"', 'range="0 1"'), "", "2 independent ways"),
        (slides("", ""), '<equality><joint joint1="a" joint2="b"/></equality>', "no limit stops"),
        (slides('range="0 1"', 'range="0 1"'), '<equality><joint joint1="a"/><joint joint1="b"/></equality>', "no way to move"),
        (slides('range="0 1"', 'range="2 3"'), '<equality><joint joint1="a" joint2="b"/></equality>', "limits and"),
    ],
)
def test_what_cannot_be_swept_is_refused(bodies: str, constraints: str, complaint: str) -> None:
    with pytest.raises(GripperError, match=complaint):
        trace(mechanism(bodies, constraints))


def test_loop_that_cannot_close_is_refused() -> None:
    with pytest.raises(GripperError, match="cannot be met"):
        trace(four_bar(0.01, 0.5))


# --- springs decide what constraints leave open ----------------------------------------------------------------------------------


SERIES = """<tendon><fixed name="t">
  <joint joint="driven" coef="1"/><joint joint="soft" coef="-1"/><joint joint="stiff" coef="-1"/>
</fixed></tendon><equality><tendon tendon1="t"/></equality>"""


def test_springs_share_a_distance_by_their_stiffness() -> None:
    """Two slides in series whose end is held by a tendon's spring to the driven slide: the softer one moves more."""
    bodies = """<body><joint name="driven" type="slide" axis="1 0 0" range="0 0.1"/><geom size="0.01"/></body>
    <body><joint name="soft" type="slide" axis="1 0 0" stiffness="10" range="-1 1"/><geom size="0.01"/>
      <body><joint name="stiff" type="slide" axis="1 0 0" stiffness="30" range="-1 1"/><geom size="0.01"/></body></body>"""
    path = trace_springs(mechanism(bodies, SERIES), 0)
    for parameter in np.linspace(0, path.end, 7):
        driven, soft, stiff = path.at(float(parameter))
        assert soft == pytest.approx(0.75 * driven, abs=1e-8) and stiff == pytest.approx(0.25 * driven, abs=1e-8)
    assert path.knots[[0, -1], 0] == pytest.approx([0.0, 0.1], abs=1e-9)


def test_a_spring_presses_a_joint_against_its_limit_and_the_other_takes_over() -> None:
    bodies = """<body><joint name="driven" type="slide" axis="1 0 0" range="0 0.1"/><geom size="0.01"/></body>
    <body><joint name="soft" type="slide" axis="1 0 0" stiffness="10" range="-1 0.03"/><geom size="0.01"/>
      <body><joint name="stiff" type="slide" axis="1 0 0" stiffness="30" range="-1 1"/><geom size="0.01"/></body></body>"""
    path = trace_springs(mechanism(bodies, SERIES), 0)
    driven, soft, stiff = path.knots.T
    assert soft == pytest.approx(np.minimum(0.75 * driven, 0.03), abs=1e-7)
    assert stiff == pytest.approx(driven - soft, abs=1e-9)


def test_springs_that_nothing_stops_need_a_driven_joint_with_limits() -> None:
    with pytest.raises(GripperError, match="no limit stops"):
        trace_springs(mechanism(slides("", 'range="0 1" stiffness="1"')), 0)
