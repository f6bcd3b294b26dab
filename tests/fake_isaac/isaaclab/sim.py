from contextlib import contextmanager
from dataclasses import dataclass, field

from isaaclab import _physics, calls

assert _physics.started, "Isaac Lab cannot be imported before the app runs"


@dataclass
class PhysxCfg:
    min_position_iteration_count: int = 1
    enable_ccd: bool = False
    gpu_max_rigid_patch_count: int = 5 * 2**15


@dataclass
class SimulationCfg:
    device: str = "cuda:0"
    dt: float = 1 / 60
    gravity: tuple = (0.0, 0.0, -9.81)
    physx: PhysxCfg = field(default_factory=PhysxCfg)


@dataclass
class ArticulationRootPropertiesCfg:
    enabled_self_collisions: bool = None
    solver_position_iteration_count: int = None
    sleep_threshold: float = None


@dataclass
class RigidBodyPropertiesCfg:
    disable_gravity: bool = None
    linear_damping: float = None
    angular_damping: float = None
    sleep_threshold: float = None
    solver_position_iteration_count: int = None


@dataclass
class UsdFileCfg:
    usd_path: str
    activate_contact_sensors: bool = False
    articulation_props: object = None
    rigid_props: object = None


class SimulationContext:
    def __init__(self, cfg=None):
        self._cfg = cfg
        self._app_control_on_stop_handle = object()

    def reset(self):
        _physics.worlds[-1].play(self._cfg)

    def step(self, render=True):
        _physics.worlds[-1].step()


@contextmanager
def build_simulation_context(*, sim_cfg=None):
    calls.append(("build_simulation_context", sim_cfg))
    context = SimulationContext(sim_cfg)
    yield context
    assert context._app_control_on_stop_handle is None, "the real one would wait here for ever"
    calls.append(("stopped", None))
