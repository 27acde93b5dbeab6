"""Families that were not looked at: written down whole, and committed, before the judge first saw them.

Their shapes are none of the simulator's others, their seed is new, and nothing was changed in the judge or its policy
because of them. Tuning the judge on them moves them to the families that were looked at, and writes others.
"""

import numpy as np

from bench.simulator import CLEAN, Course, Family, Floats, Truth, flicker, steady, step, waves


def load_waves(t: Floats) -> Floats:
    """Traffic between 0.4 and 1.6 times the rate, every four minutes."""
    return 1 + 0.6 * np.sin(2 * np.pi * t / 240)


def under_load(mean: float) -> Course:
    """A ratio that grows with the square of the traffic of `load_waves`; ``mean`` over all requests."""
    return lambda t: mean * load_waves(t) ** 2 / (1 + 1.5 * 0.6**2)


def hump(ratio: float, up_until_s: float, down_from_s: float, over_s: float) -> Course:
    """Slowly from 0.01 % up to ``ratio``, and back within ``over_s``: it recovers by itself."""
    return lambda t: np.interp(t, [0, up_until_s, down_from_s, down_from_s + over_s], [1e-4, ratio, ratio, 1e-4])


def broken_before(ratio: float) -> Course:
    """Stable broke ten minutes before the bake and was well again when it began."""
    return lambda t: np.where(t >= -600, ratio, 1e-4)


def _h(name: str, truth: Truth, canary: Course, **more: object) -> Family:
    return Family(name, truth, canary, group="held out", **more)  # type: ignore[arg-type]


HELD_OUT: tuple[Family, ...] = (
    _h(
        "0.05 %, more under load",
        "healthy",
        under_load(5e-4),
        stable=under_load(5e-4),
        load=load_waves,
        before=under_load(5e-4),
    ),
    _h("0.04 % in lognormal bursts", "healthy", steady(4e-4), stable=steady(4e-4), burst=12, tail="lognormal"),
    _h("0.04 %, wandering", "healthy", steady(4e-4), stable=steady(4e-4), drift=1.0),
    _h("0.02 %, scraped every 10 s with jitter", "healthy", steady(2e-4), jitter=True),
    _h("0.03 %, no 5xx series before the first", "healthy", steady(3e-4), stable=steady(3e-4), unborn=True),
    _h("0.02 %, stable broke before the bake", "healthy", steady(2e-4), before=broken_before(0.01)),
    _h("0.05 %, stable itself at 0.8 %", "healthy", steady(5e-4), stable=steady(8e-3)),
    _h("2 % slower than 5 s, in waves", "healthy", CLEAN, very_slow=waves(0.02, 150)),
    _h("0.25 %, more under load", "band", under_load(2.5e-3), load=load_waves, before=CLEAN),
    _h("0.3 %, wandering", "band", steady(3e-3), stable=steady(5e-4), drift=0.7),
    _h("1.2 %, more under load", "bad", under_load(0.012), load=load_waves, before=CLEAN),
    _h("1 instance of 3 fails 4 %, uneven share", "bad", steady(0.04 / 3), uneven=True),
    _h("slowly to 3 % in 300 s, well again at 600 s", "bad", hump(0.03, 300, 450, 150)),
    _h("2.5 % for 30 s in every 60 s", "bad", flicker(0.025, 30, 30)),
    _h("2 % in lognormal bursts", "bad", steady(0.02), burst=12, tail="lognormal"),
    _h("1.2 %, wandering", "bad", steady(0.012), stable=steady(5e-4), drift=0.7),
    _h("1.5 %, scraped every 10 s with jitter", "bad", steady(0.015), jitter=True),
    _h("0.9 %, no 5xx series before the first", "bad", steady(0.009), unborn=True),
    _h("2 %, stable broke before the bake", "bad", steady(0.02), before=broken_before(0.01)),
    _h("2.5 %, stable itself at 0.8 %", "bad", steady(0.025), stable=steady(8e-3)),
    _h("10 % from 780 s", "bad", step(0.1, 780), onset_s=780),
    _h("8 % slower than 5 s from 400 s", "bad", CLEAN, very_slow=step(0.08, 400, before=0.0), onset_s=400),
    _h("1 % on both, before the bake too", "shared", steady(0.01), stable=steady(0.01)),
)
