"""One instance of an EthixAI service: a small real HTTP server, run as a script by its path (``python -I app.py``).

Environment: ``JOB`` (backend, ai-core or frontend), ``LISTEN_FD`` (a listening socket from the parent) or ``PORT``,
``BEHAVIOUR`` (see ``ethixai/behaviour.py``; where ``APP_ENV`` is staging, ``BEHAVIOUR_STAGING`` if there is one),
``CPU_LIMIT`` in cores, ``MEMORY_LIMIT`` in bytes, ``K_REVISION``. SIGTERM: stop accepting, finish what is in flight,
exit 0.

Standard library only, since many of these start at once on a small machine. The folder is put at the *end* of the path:
none of its modules can stand in for a standard one.
"""

import asyncio
import os
import sys

sys.path.append(os.path.dirname(os.path.abspath(__file__)))

from ethixai.server import serve

if __name__ == "__main__":
    sys.exit(asyncio.run(serve(os.environ)))
