"""From object meshes and a two-finger gripper to the dataset that GraspGen trains on."""

__version__ = "0.1.0"
