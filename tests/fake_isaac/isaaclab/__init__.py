"""The part of Isaac Lab that the backend uses, with MuJoCo in the place of PhysX.

Every class, field, method and parameter in the public modules here has its like in the real package: tests/test_isaaclab_contract.py
reads the wheel and compares. So what runs on this fake names nothing that Isaac Lab does not have. `calls` is what was called, in order.
"""

calls = []
