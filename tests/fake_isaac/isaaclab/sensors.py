from dataclasses import dataclass, field


@dataclass
class ContactSensorCfg:
    prim_path: str
    filter_prim_paths_expr: list = field(default_factory=list)


class ContactSensorData:
    def __init__(self, world, finger):
        self._world, self._finger = world, finger

    @property
    def force_matrix_w(self):
        return self._world.contact_force(self._finger)


class ContactSensor:
    def __init__(self, world, finger):
        self._data = ContactSensorData(world, finger)

    @property
    def data(self):
        return self._data
