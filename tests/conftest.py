"""How hypothesis is run: without a clock everywhere, and without chance in CI, where a red run must be somebody's doing."""

import os

from hypothesis import settings

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
