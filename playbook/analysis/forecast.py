"""How much a bake will be able to say, worked out before it begins: requests expected, faults that would be found, and
the share and the length that a service with few requests needs.

The thresholds are the judge's own: how many requests rule out an error ratio, and how many errors roll back.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from playbook.analysis.policy import LowTraffic, Policy
from playbook.analysis.sequential import SINGLE_MAX, least, requests_needed, upper_bound

SURE = 0.9  # the chance with which a fault is to be found, and a healthy release to be promoted
HEALTHY = 1e-4  # the error ratio of a healthy service
FAULTS = (0.3, 0.1, 0.05, 0.02, 0.01)  # error ratios that are asked about, the largest first
BAKE_STEP_S = 60.0  # a bake is lengthened by whole steps of it, or by 1/15 of the planned one where that is shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is known of a service before its release. Requests per second of all its users; None where not known."""

    last_hour: float | None = None
    last_week: float | None = None  # in the hour that begins now, a week ago
    phi_hat: float = 1.0  # dispersion of its errors, as the judge will take it

    @property
    def per_s(self) -> float | None:
        """What is expected: the smaller of the two, as a bake with too many requests costs less than one with too
        few."""
        known = [one for one in (self.last_hour, self.last_week) if one is not None]
        return min(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """One way to bake a canary, and what it can say. ``requests`` are those expected at the canary."""

    percent: int
    bake_s: float
    requests: float
    found: tuple[float, ...]
    """of `FAULTS`: those that are rolled back, or not promoted, with a chance of at least `SURE`"""
    promotes: float  # chance that a healthy release is promoted on evidence: 0.5 % ruled out
    promotes_small: float  # the same where it is enough that `small_fault_max` is ruled out

    @property
    def missed(self) -> float | None:
        """The largest of `FAULTS` that is not sure to be found; None where every one is."""
        return next((fault for fault in FAULTS if fault not in self.found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is expected of one service's bake: as the policy has it, and as it was chosen."""

    service: str
    traffic: Traffic
    steps: tuple[LowTraffic, ...]
    small_fault: float  # `Policy.small_fault_max`
    planned: Bake | None  # None where the traffic is not known
    chosen: Bake | None
    percent: int
    bake_s: float
    needed: float  # requests at the canary for a promotion on evidence, with `SURE`
    needed_small: float  # the same to rule out ``small_fault``

    @property
    def is_news(self) -> bool:
        """Whether people should hear of it: the canary was changed for it, or the bake will not be enough."""
        return self.chosen is None or self.chosen != self.planned or self.chosen.promotes < SURE


class Rules:
    """The judge's thresholds for one dispersion of errors."""

    def __init__(self, policy: Policy, phi_hat: float) -> None:
        self.policy, self.phi_hat = policy, phi_hat
        self.least = policy.errors_min * max(1.0, phi_hat / 2)
        self.needed = functools.cache(self._needed)
        self.needed_small = functools.cache(self._needed_small)

    def _needed(self, errors: int) -> float:
        """Requests, ``errors`` of them failed, that rule out 0.5 %."""
        return _requests_for(errors, self.phi_hat, self.policy.alpha_promote, self.policy.error_ratio_max)

    def _needed_small(self, errors: int) -> float:
        """Requests, or scrapes with a request, that rule out ``small_fault_max``; ``errors`` of them failed."""
        phi = 1.0 if self.phi_hat >= SINGLE_MAX else self.phi_hat
        return _requests_for(errors, phi, self.policy.alpha_small, self.policy.small_fault_max)

    def bake(self, percent: int, bake_s: float, per_s: float) -> Bake:
        """What a bake with this share and length can say at ``per_s`` requests/s of the service."""
        requests = per_s * percent / 100 * bake_s
        scrapes = max(1.0, bake_s / self.policy.scrape_s)
        found = tuple(fault for fault in FAULTS if self._is_found(fault, requests, scrapes))
        return Bake(
            percent=percent,
            bake_s=bake_s,
            requests=requests,
            found=found,
            promotes=self.promotes(requests),
            promotes_small=self.promotes_small(requests, scrapes),
        )

    def promotes(self, requests: float) -> float:
        """The chance that a healthy release with so many expected requests is promoted on evidence."""
        return sum(
            _poisson(errors, requests * HEALTHY) * _at_least(self.needed(errors) - errors, requests)
            for errors in range(_most(requests * HEALTHY) + 1)
        )

    def promotes_small(self, requests: float, scrapes: float) -> float:
        """The chance that a healthy release rules out the policy's ``small_fault_max``, as `verdict` tests it: by
        request where stable's past says that errors come alone, else by scrape."""
        by_scrape = self.phi_hat >= SINGLE_MAX
        busy = 1 - math.exp(-requests / scrapes)  # chance that a scrape has a request
        chance = 0.0
        for errors in range(_most(requests * HEALTHY) + 1):
            needed = self.needed_small(errors)
            seen = _at_least_of(needed, scrapes, busy) if by_scrape else _at_least(needed - errors, requests)
            enough = _at_least(self._diluted(errors) - errors, requests)
            chance += _poisson(errors, requests * HEALTHY) * min(seen, enough)
        return chance

    def _diluted(self, errors: int) -> float:
        """Requests among which so many errors are no reason to ask a person: at most 0.5 %, and 0.1 % but for one."""
        policy = self.policy
        return max(errors / policy.error_ratio_max, (errors - 1) / policy.error_ratio_investigate)

    def _is_found(self, fault: float, requests: float, scrapes: float) -> bool:
        """Whether a canary with this fault from the start on is rolled back, or not promoted, with `SURE`."""
        if requests <= 0:
            return False
        policy, errors = self.policy, requests * fault
        worst = _worst(errors / scrapes, scrapes) * (2 if self.phi_hat >= 2 else 1)
        rolled_back = _at_least(max(self.least, policy.error_ratio_max * requests + worst + 1e-9), errors)
        band = max(math.ceil(self.least) - 1, int(policy.error_ratio_investigate * requests + worst))
        most_promoted = _most_errors(requests, self.phi_hat, policy.alpha_promote, policy.error_ratio_max)
        most = min(band, max(most_promoted, self._most_promoted_small(requests, scrapes)))
        held = _at_least(most + 1, errors) if most >= 0 else 0.0
        return max(rolled_back, held) >= SURE

    def _most_promoted_small(self, requests: float, scrapes: float) -> int:
        """The most errors with which the step `promote` is taken; -1: none would do."""
        policy, seen, phi = self.policy, requests, self.phi_hat
        if phi >= SINGLE_MAX:
            seen, phi = scrapes * (1 - math.exp(-requests / scrapes)), 1.0
        most = _most_errors(seen, phi, policy.alpha_small, policy.small_fault_max)
        return min(most, int(policy.error_ratio_max * requests), int(policy.error_ratio_investigate * requests) + 1)


def forecast(traffic: Mapping[str, Traffic], policy: Policy, percent: int, percent_max: int) -> tuple[Forecast, ...]:
    """A forecast for each service of a release, with the share that each canary gets and the one bake of all.

    ``percent``: the share as asked for; ``percent_max``: how far it may be raised. Each service has a share of its own:
    a large one keeps ``percent`` although a small one beside it gets more. The bake is the longest that one of them
    needs. Where the traffic is not known, or there is none, nothing is changed.
    """
    found = [_one(service, known, policy, percent, percent_max) for service, known in traffic.items()]
    bake_s = max((one.bake_s for one in found), default=policy.bake_s)
    return tuple(_with_bake(one, policy, percent, percent_max, bake_s) for one in found)


def _one(service: str, traffic: Traffic, policy: Policy, percent: int, percent_max: int) -> Forecast:
    """The forecast of one service alone."""
    rules, per_s = Rules(policy, traffic.phi_hat), traffic.per_s
    scrapes = policy.bake_s / policy.scrape_s
    plain = None if per_s is None else rules.bake(percent, policy.bake_s, per_s)
    chosen = _chosen(rules, plain, per_s, max(percent, percent_max)) if per_s and plain else plain
    return Forecast(
        service=service,
        traffic=traffic,
        steps=policy.low_traffic_for(service),
        small_fault=policy.small_fault_max,
        planned=plain,
        chosen=chosen,
        percent=chosen.percent if chosen else percent,
        bake_s=chosen.bake_s if chosen else policy.bake_s,
        needed=_first_sure(rules.promotes, rules.needed(0)),
        needed_small=_first_sure(lambda n: rules.promotes_small(n, scrapes), rules.needed_small(0)),
    )


def _chosen(rules: Rules, plain: Bake, per_s: float, percent_max: int) -> Bake:
    """The smallest share that lets a healthy release be promoted on evidence, then the shortest bake; where none within
    the policy's bounds does, the most that they allow."""
    shares = ((percent, plain.bake_s) for percent in range(plain.percent, percent_max + 1))
    bakes = ((percent_max, bake_s) for bake_s in longer(plain.bake_s, rules.policy.bake_max_s))
    for percent, bake_s in (*shares, *bakes):
        if rules.promotes(per_s * percent / 100 * bake_s) >= SURE:
            break
    return rules.bake(percent, bake_s, per_s)


def longer(bake_s: float, most_s: float) -> Sequence[float]:
    """The lengths that a bake may have beyond ``bake_s``, the shortest first; ``bake_s`` alone where none is."""
    step_s = min(BAKE_STEP_S, bake_s / 15)
    steps = max(0, math.ceil((most_s - bake_s) / step_s - 1e-9))
    return [min(most_s, bake_s + step_s * (k + 1)) for k in range(steps)] or [bake_s]


def _with_bake(one: Forecast, policy: Policy, percent: int, percent_max: int, bake_s: float) -> Forecast:
    """The forecast where the release's bake is ``bake_s``, which is at least what this service needs."""
    per_s = one.traffic.per_s
    if bake_s <= one.bake_s or per_s is None:
        return replace(one, bake_s=bake_s)
    rules = Rules(policy, one.traffic.phi_hat)
    bakes = (rules.bake(share, bake_s, per_s) for share in range(percent, max(percent, percent_max) + 1))
    chosen = next((bake for bake in bakes if bake.promotes >= SURE), rules.bake(one.percent, bake_s, per_s))
    return replace(one, bake_s=bake_s, chosen=chosen, percent=chosen.percent)


def _first_sure(chance: Callable[[float], float], start: float) -> float:
    """The fewest expected requests with which ``chance`` is `SURE`, within 2 %; infinite where none does."""
    requests = max(1.0, start)
    while chance(requests) < SURE:
        requests *= 1.02
        if requests > 1000 * start:
            return math.inf
    return requests


def _requests_for(errors: int, phi_hat: float, alpha: float, line: float) -> float:
    """The fewest requests, ``errors`` of them failed, that rule out an error ratio of ``line``."""
    if not errors:
        needed = requests_needed(0, 0, phi_hat, alpha, line)
        assert needed is not None
        return needed
    most = errors / line + 100 * phi_hat / line
    return least(lambda n: upper_bound(n, errors, phi_hat, alpha) < line, float(errors), most, 0.5)


def _most_errors(requests: float, phi_hat: float, alpha: float, line: float) -> int:
    """The most errors with which so many requests rule out ``line``; -1: none would do."""
    if upper_bound(requests, 0, phi_hat, alpha) >= line:
        return -1
    too_many = least(
        lambda errors: upper_bound(requests, math.floor(errors), phi_hat, alpha) >= line,
        0,
        math.ceil(requests * line),
        0.5,
    )
    return math.floor(too_many) - 1


def _worst(per_scrape: float, scrapes: float) -> int:
    """How many independent errors the worst scrape of a bake has, with a chance of one in ten to have more."""
    most = math.ceil(per_scrape)
    while scrapes * _at_least(most + 1, per_scrape) > 1 - SURE:
        most += 1
    return most


def _most(mean: float) -> int:
    """A count that is passed once in a million."""
    return math.ceil(mean + 6 * math.sqrt(mean) + 6)


def _poisson(count: int, mean: float) -> float:
    """The chance of exactly ``count``."""
    if not mean:
        return float(count == 0)
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


def _at_least_of(count: float, tries: float, chance: float) -> float:
    """The chance that at least ``count`` of ``tries`` succeed."""
    from scipy.special import bdtrc

    least = math.ceil(count - 1e-9)
    return 1.0 if least <= 0 else float(bdtrc(least - 1, round(tries), chance)) if least <= tries else 0.0


def _at_least(count: float, mean: float) -> float:
    """The chance of at least ``count``."""
    from scipy.special import pdtrc

    least = math.ceil(count - 1e-9)
    return 1.0 if least <= 0 else float(pdtrc(least - 1, mean))
