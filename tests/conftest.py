"""How hypothesis is run: without a clock, and in CI without chance: a red run there must be somebody's doing.

And how loopback is reached: directly, whatever proxy the machine names.
"""

import os

from hypothesis import settings

from rehearsal.world.loopback import reach_directly

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
reach_directly()
