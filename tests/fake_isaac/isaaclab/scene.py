from isaaclab import _physics, calls
from isaaclab.assets import Articulation, RigidObject
from isaaclab.sensors import ContactSensor


class InteractiveSceneCfg:
    def __init__(self, num_envs, env_spacing):
        self.num_envs, self.env_spacing = num_envs, env_spacing


class InteractiveScene:
    def __init__(self, cfg):
        calls.append(("InteractiveScene", cfg))
        self._world = _physics.World(cfg)
        _physics.worlds.append(self._world)

    def __getitem__(self, key):
        if key in ("gripper", "target"):
            return (Articulation if key == "gripper" else RigidObject)(self._world)
        return ContactSensor(self._world, key)

    def write_data_to_sim(self):
        self._world.write()

    def update(self, dt):
        assert dt == self._world.step_length
