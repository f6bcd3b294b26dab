"""Two-finger grippers: readers of models, measurement, checks, files for GraspGen, and the built-in grippers (catalog/)."""
