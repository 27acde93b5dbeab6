"""The program of ``python -m rehearsal``: `rehearsal.command_line`."""

import signal
import sys

if __name__ == "__main__":
    # What the commands import takes a second or two: Ctrl-C ends that, too, with a line instead of a traceback.
    signal.signal(signal.SIGINT, lambda *_: sys.exit("Stopped."))
    from rehearsal.command_line import main

    sys.exit(main())
