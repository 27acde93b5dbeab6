"""A rehearsal runs on one machine: connections within it bypass the proxies that the environment names."""

import os
from collections.abc import MutableMapping

HOSTS = ("127.0.0.1", "localhost")


def reach_directly(environ: MutableMapping[str, str] = os.environ) -> None:
    """Loopback is reached without a proxy by this process and by every child that gets its environment.

    Said in both spellings: requests and curl prefer the small one, gRPC and httpx take either. What stands there stays.
    """
    said = [host for name in ("no_proxy", "NO_PROXY") for host in environ.get(name, "").split(",") if host.strip()]
    hosts = ",".join(dict.fromkeys([*map(str.strip, said), *HOSTS]))
    environ["no_proxy"] = environ["NO_PROXY"] = hosts
