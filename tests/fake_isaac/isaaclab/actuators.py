from dataclasses import dataclass, field


@dataclass
class ImplicitActuatorCfg:
    joint_names_expr: list
    stiffness: float
    damping: dict
    armature: dict = field(default_factory=dict)
    friction: float = 0.0
    effort_limit_sim: float = None
    velocity_limit_sim: float = None
