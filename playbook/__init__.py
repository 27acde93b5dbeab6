"""What the playbook says, as pure values: a release, its plan, its rules, its words.

No I/O, no clock, no randomness.
"""
