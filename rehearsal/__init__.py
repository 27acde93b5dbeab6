"""Failure scenarios on one machine: a stand-in world, a Prefect server, and releases that run in them."""

import warnings

# The embedded database's library warns wherever there is no desktop session; it stores nothing there.
warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
