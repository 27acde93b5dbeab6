"""The flows are played by the driver of `tests/chaos`: the real flow functions, the outside in memory, virtual time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))
