"""The steps of the flows: each is visible in the UI and retried by itself.

`playbook` decides what to do; `blocks` calls the outside.
"""

from tasks.logs import clean_logs

clean_logs()
