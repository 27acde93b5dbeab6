"""What the judge says of saved traces, or of a past release that a live Prometheus still remembers.

python -m bench.replay TRACES.npz --out verdicts.json [--phi-hat X]
python -m bench.replay --prometheus URL --service S --canary R --stable R --start T --minutes 15 [--out verdict.json]
    [--environment environments/production.toml]: with its queries, labels and policy
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.past import judge_past
from bench.traces import replay_file
from playbook.errors import BadRequest, ReleaseError


def unix(text: str) -> float:
    """Unix seconds of a number or an ISO time; without a zone it is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither unix seconds nor an ISO time") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or print the verdicts. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("traces", nargs="?", type=Path, help="saved traces (.npz)")
    parser.add_argument(
        "--out", type=Path, help="where to write what was found (JSON); a past release is printed without it"
    )
    parser.add_argument(
        "--phi-hat", type=float, help="dispersion of errors; else 1 for saved traces, which have no past, or measured"
    )
    parser.add_argument("--prometheus", metavar="URL", help="replay a past release from there instead")
    parser.add_argument(
        "--environment", type=Path, help="environment file whose queries, labels, policy and sign-in are used there"
    )
    parser.add_argument("--service", help="the service: its name in the environment file, else its job label")
    parser.add_argument("--canary", help="the canary's revision")
    parser.add_argument("--stable", help="the stable revision")
    parser.add_argument("--start", type=unix, help="when the canary's bake began: unix seconds, or an ISO time")
    parser.add_argument("--minutes", type=float, default=15.0, help="how long the bake was")
    parser.add_argument("--scrape-s", type=float, default=5.0, help="seconds between two scrapes there")
    options = parser.parse_args(arguments)
    if options.prometheus:
        return _past(options, parser)
    if options.traces is None or options.out is None:
        parser.error("say which TRACES.npz, and --out where the verdicts go; or --prometheus URL")
    try:
        verdicts = replay_file(options.traces, options.phi_hat or 1.0)
    except (OSError, KeyError, ValueError) as error:
        parser.error(f"{options.traces} cannot be read as saved traces: {error}")
    options.out.write_text(json.dumps(verdicts, indent=1) + "\n")
    print(f"{len(verdicts)} verdicts written to {options.out}")
    return 0


def _past(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    missing = [n for n in ("service", "canary", "stable", "start") if getattr(options, n) is None]
    if missing:
        parser.error(f"--prometheus also needs {', '.join(f'--{n}' for n in missing)}")
    try:
        found = json.dumps(asyncio.run(judge_past(options)), indent=2)
    except KeyError as error:
        parser.error(f"{options.environment} has no service {error}")
    except BadRequest as error:
        parser.error(str(error))
    except (ReleaseError, ValueError) as error:
        parser.error(f"--prometheus {options.prometheus} does not answer as one: {error}")
    if options.out is None:
        print(found)
    else:
        options.out.write_text(found + "\n")
        print(f"1 verdict written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
