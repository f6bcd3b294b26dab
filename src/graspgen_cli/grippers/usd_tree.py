"""The tree of a USD articulation: its joints as they hang from the base, whichever way round the file gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graspgen_cli.errors import GripperError
from graspgen_cli.grippers.links import Joint


def pick_base(bodies: Sequence[str], joints: Sequence[Joint], wanted: str | None, source: str) -> str:
    """The base: the one asked for, or the one body that no joint gives as its second. Raises GripperError where it is not clear."""
    if wanted is not None:
        if wanted not in bodies:
            raise GripperError(f"{source}: no body is called {wanted}; there are {', '.join(bodies)}")
        return wanted
    ends = {joint.parent for joint in joints} | {joint.child for joint in joints}
    hanging = {joint.child for joint in joints if not joint.closes_loop}
    roots = [body for body in bodies if body in ends and body not in hanging]
    if len(roots) != 1:
        raise GripperError(f"{source}: {len(roots)} bodies hang on no joint; name the base with --base-frame: {', '.join(bodies)}")
    return roots[0]


def joint_tree(base: str, joints: Sequence[Joint]) -> tuple[list[Joint], list[str]]:
    """The joints below the base with parents nearer to it, and the links that they reach, the base first.

    A joint that the file leads towards the base is turned round. One that is marked as outside the articulation, or that would reach a
    link a second time, closes a loop.
    """
    tree: list[Joint] = []
    reached = [base]
    waiting = [base]
    used: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        for index, joint in enumerate(joints):
            if index in used or joint.closes_loop or link not in (joint.parent, joint.child):
                continue
            used.add(index)
            ahead = joint if joint.parent == link else turned(joint)
            if ahead.child in reached:
                tree.append(replace(joint, closes_loop=True))
                continue
            tree.append(ahead)
            reached.append(ahead.child)
            waiting.append(ahead.child)
    loops = [joint for joint in joints if joint.closes_loop and joint.parent in reached and joint.child in reached]
    return [*tree, *loops], reached


def turned(joint: Joint) -> Joint:
    """The same joint with its links the other way round: the same motion has the same position, along the opposite axis."""
    return replace(
        joint,
        parent=joint.child,
        child=joint.parent,
        pose_joint_in_parent=joint.pose_joint_in_child,
        pose_joint_in_child=joint.pose_joint_in_parent,
        axis=-joint.axis,
    )
