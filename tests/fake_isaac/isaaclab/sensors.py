from dataclasses import dataclass, field

from isaaclab._views import RigidContactView


@dataclass
class ContactSensorCfg:
    prim_path: str
    filter_prim_paths_expr: list = field(default_factory=list)
    max_contact_data_count_per_prim: int = 4


class ContactSensorData:
    def __init__(self, world, name):
        self._world, self._name = world, name

    @property
    def force_matrix_w(self):
        return self._world.contact_force(self._name)


class ContactSensor:
    def __init__(self, world, name):
        self._data = ContactSensorData(world, name)
        self._view = RigidContactView(world, getattr(world.cfg, name))

    @property
    def data(self):
        return self._data

    @property
    def contact_physx_view(self):
        return self._view
