"""The scenarios, one file each: what is prepared, what is started, what happens meanwhile, what must be true then.

A new file here is a new scenario: `python -m rehearsal list` shows it.
"""

import importlib
import pkgutil

from rehearsal.scenario import Scenario

SCENARIOS: dict[str, Scenario] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}").SCENARIO
    for module in pkgutil.iter_modules(__path__)
}
"""By name, which is also the file's."""
