"""The built-in grippers: one folder each, with `gripper.yaml` and the model that it names."""
