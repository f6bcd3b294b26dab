"""Stands for Isaac Sim: that it is there is all that is asked of it."""
