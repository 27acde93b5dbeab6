"""What a bake will be able to say, by the service's requests per second: `python -m bench.forecast`.

The forecast is the one that a release makes before it begins (playbook/analysis/forecast.py), under the playbook's
policy.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.tables import markdown
from playbook.analysis.explanation import percent
from playbook.analysis.forecast import Forecast, Traffic, forecast
from playbook.analysis.policy import Policy
from playbook.messages.forecast import need, sentence
from playbook.messages.times import minutes

RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 7.0, 10.0, 20.0, 200.0, 2000.0)


def at(per_s: float, phi_hat: float, policy: Policy) -> Forecast:
    """The forecast of one service."""
    traffic = {"the service": Traffic(last_hour=per_s, phi_hat=phi_hat)}
    (found,) = forecast(traffic, policy, policy.canary_percent, policy.canary_percent_max)
    return found


def known(per_s: float, policy: Policy) -> float:
    """The dispersion that the judge takes where errors come one at a time: not known, where an hour has too few
    requests."""
    return 1.0 if per_s * policy.history_s >= policy.history_min_requests else policy.phi_unknown


def table(rates: Sequence[float], phi_hat: float | None, policy: Policy) -> str:
    """A row for each rate. ``phi_hat``: the dispersion of errors; None: as `known`."""
    rows = []
    for per_s in rates:
        one = at(per_s, known(per_s, policy) if phi_hat is None else phi_hat, policy)
        planned, chosen = one.planned, one.chosen
        assert planned is not None
        assert chosen is not None
        rows.append(
            [
                f"{per_s:g}",
                f"{planned.requests:,.0f}",
                f"{one.percent} % for {minutes(one.bake_s)}",
                f"{chosen.requests:,.0f}",
                ", ".join(map(percent, chosen.found)) or "none",
                f"{100 * chosen.promotes:.0f} %",
                f"{100 * chosen.promotes_small:.0f} %",
                need(one, one.needed),
            ]
        )
    head = [
        "requests/s",
        f"requests at {policy.canary_percent} % in {minutes(policy.bake_s)}",
        "chosen",
        "requests then",
        "faults found with 90 %",
        "healthy, promoted on evidence",
        f"healthy, {percent(policy.small_fault_max)} ruled out",
        "for evidence with 90 %",
    ]
    return markdown(head, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or the sentence for one rate. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--rate", type=float, help="requests/s of the service: print only what people would read")
    parser.add_argument("--phi-hat", type=float, help="dispersion of its errors (1: they come one at a time)")
    options = parser.parse_args(arguments)
    policy = Policy()
    if options.rate is None:
        print(table(RATES, options.phi_hat, policy))
        return 0
    if options.rate < 0:
        parser.error(f"--rate {options.rate:g} is below 0")
    phi_hat = known(options.rate, policy) if options.phi_hat is None else options.phi_hat
    print(sentence(at(options.rate, max(1.0, phi_hat), policy)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
