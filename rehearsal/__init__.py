"""A team's worst days on a laptop: a stand-in world, a Prefect server of its own, and the stories told there."""

import warnings

# A library of the embedded database says so to everybody who is no desktop session; nothing is kept there.
warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
