"""Trials on PhysX by way of Isaac Lab, in a process of its own."""
