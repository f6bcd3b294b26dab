"""PhysX's tensor views, as far as the backend uses them. They come with Isaac Sim and not with Isaac Lab, whose sources call them.

What they take and give is as the published source of omni.physics.tensors 107.3 has it (python/api.py): properties on the host, places as
x, y, z and a quaternion with the scalar last, tensors of inertia as nine numbers in the body's axes.
"""

import numpy as np
import torch


class PropertiesView:
    def __init__(self, world, bodies):
        self._world, self._bodies = world, bodies

    def get_masses(self):
        return self._sent(self._world.masses(self._bodies))

    def get_material_properties(self):
        return self._sent(self._world.materials(self._bodies))

    def set_material_properties(self, data, indices):
        self._world.set_materials(self._bodies, self._taken(data, indices))

    def _sent(self, values):
        return torch.tensor(values, torch.float32, "cpu")

    def _taken(self, data, indices):
        assert data.device == indices.device == "cpu", "PhysX takes properties on the host only"
        assert indices.numpy().tolist() == list(range(len(self._world.models)))
        return data.numpy().astype(float)


class ArticulationView(PropertiesView):
    def get_inertias(self):
        return self._sent(self._world.inertias(self._bodies))


class RigidBodyView(PropertiesView):
    def get_inertias(self):
        return self._sent(self._world.inertias(self._bodies)[:, 0])

    def get_coms(self):
        return self._sent(self._world.centers(self._bodies[0]))

    def set_masses(self, data, indices):
        self._world.set_masses(self._bodies[0], self._taken(data, indices)[:, 0])

    def set_coms(self, data, indices):
        self._world.set_centers(self._bodies[0], self._taken(data, indices))

    def set_inertias(self, data, indices):
        self._world.set_inertias(self._bodies[0], self._taken(data, indices).reshape(-1, 3, 3))


class RigidContactView:
    """Of the contacts between the object and bodies of the gripper."""

    def __init__(self, world, cfg):
        self._world, self._room = world, cfg.max_contact_data_count_per_prim * world.cfg.num_envs
        self._others = [path.rpartition("/")[2] for path in cfg.filter_prim_paths_expr]

    def get_contact_data(self, dt):
        """Forces, points, normals, separations, and for each environment and body how many and from where on."""
        assert dt == self._world.step_length
        found = [self._world.separations(data, other) for data in self._world.data for other in self._others]
        counts = np.array([len(each) for each in found])
        starts = np.cumsum(counts) - counts
        separation = np.zeros((self._room, 1))
        every = np.concatenate(found)[: self._room]
        separation[: len(every), 0] = every
        points = np.zeros((self._room, 3))
        shape = len(self._world.data), len(self._others)
        of_contacts = [self._world.sent(each) for each in (np.zeros_like(separation), points, points, separation)]
        return *of_contacts, *(self._world.sent_whole(each.reshape(shape)) for each in (counts, starts))
