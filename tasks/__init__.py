"""Verbs: one visible, retryable step each, thin.

What to do is decided in `playbook`; how it is said to the outside, in `blocks`.
"""

from tasks.logs import clean_logs

clean_logs()
