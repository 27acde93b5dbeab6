"""Tests are no packages: what drives them stands beside them, and is found by this."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
