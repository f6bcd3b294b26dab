"""Two-finger grippers: read (MJCF), measured, handed to GraspGen, and the built-in ones (catalog/)."""
