"""A registry without desks, until the desks are there."""

import hashlib

from starlette.applications import Starlette


class Registry:
    def __init__(self):
        self.images = {}

    def publish(self, repository, tag, env):
        digest = "sha256:" + hashlib.sha256(f"{repository}{tag}{sorted(env.items())}".encode()).hexdigest()
        self.images[f"{repository}:{tag}"] = self.images[f"{repository}@{digest}"] = dict(env)
        return digest

    def config(self, reference):
        return self.images.get(reference)


class Desks:
    def __init__(self):
        self.app, self.registry, self.told = Starlette(), Registry(), []

    def reset(self):
        self.registry.images.clear()
