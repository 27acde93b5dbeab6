"""The way in: one haproxy whose weights follow the API, with a port of its own for each service and each tag.

Every *route* (a service's URL, or one of its tags') is a listener declared at the start; servers come and go at run
time over haproxy's admin socket. Each request is dispatched on its own, at random, as Cloud Run does. The random number
picks a slot of a table with exactly as many slots for a revision as its percent says: ``balance random`` of haproxy 2.6
gave 6 % of the requests to a server of weight 10 beside one of weight 90.
"""

import asyncio
import contextlib
import math
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rehearsal.world import child

ROUTES = 128
MAX_WEIGHT = 256
SLOTS_PER_PERCENT = 6
"""So that a revision of 1 % can have 2, 3 or 6 instances that get as much as each other."""
SLOTS_PER_COMMAND = 150
"""haproxy reads a command and its payload into one buffer of 16,384 bytes; a slot takes up to 75."""
DRAIN_POLL_S = 0.02
START_TIMEOUT_S = 10

COUNTED = {
    "1xx": ("hrsp_1xx",),
    "2xx": ("hrsp_2xx",),
    "3xx": ("hrsp_3xx",),
    "4xx": ("hrsp_4xx", "cli_abrt"),
    "5xx": ("hrsp_5xx", "econ", "eresp"),
}
"""Class of an answer -> haproxy's counters of a server that make it."""

Balance = Literal["random", "roundrobin"]


@dataclass(frozen=True)
class Server:
    """One instance behind a route. ``name`` is ``<revision>.<number>``."""

    name: str
    address: str


@dataclass
class _Route:
    section: str
    listener: socket.socket
    servers: dict[str, Server] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """Every server that haproxy was ever told of. None is deleted: haproxy 2.6 dies of that while a session remembers
    the server."""
    is_given_up: bool = False
    """Its tag was taken away. The route of a new tag has no servers either, until its revision has started."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while servers are named to haproxy."""

    def __post_init__(self) -> None:
        self.url = "http://{}:{}".format(*self.listener.getsockname())


NOT_FOUND = "<html><title>Error 404 (Page not found)!!1</title>The requested URL was not found on this server.</html>"
FORBIDDEN = (
    "<html><title>403 Forbidden</title><h1>Error: Forbidden</h1>"
    "<h2>Your client does not have permission to get this URL from this server.</h2></html>"
)


def front_rules(section: str, folder: Path, issuer: Path | None) -> list[str]:
    """What Google's front end does before a request reaches the service: internal ingress and private services."""
    closed, audience = (f"str({section}),map_str({folder / name}.map)" for name in ("closed", "audience"))
    answer = "http-request return status {} content-type text/html string '{}' if {}"
    rules = [answer.format(404, NOT_FOUND, f"{{ {closed} -m found }}")]
    if issuer is None:
        return rules
    return [
        *rules,
        f"http-request set-var(txn.wanted) {audience}",
        "acl private var(txn.wanted) -m found",
        # Without that header http_auth_bearer gives an empty token, not none: the header itself is looked for.
        "acl own req.hdr(X-Serverless-Authorization) -m found",
        "http-request set-var(txn.token) http_auth_bearer(X-Serverless-Authorization) if private own",
        "http-request set-var(txn.token) http_auth_bearer if private !own",
        "http-request set-var(txn.aud) var(txn.token),jwt_payload_query('$.aud') if private",
        "http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int') if private",
        f'acl signed var(txn.token),jwt_verify("RS256","{issuer}") -m int 1',
        "acl meant var(txn.aud),strcmp(txn.wanted) eq 0",
        "acl expired date,sub(txn.exp) ge 0",
        *(answer.format(403, FORBIDDEN, f"private {reason}") for reason in ("!signed", "!meant", "expired")),
    ]


def weights_for(shares: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Weights 0–256 for each instance of each revision, from (percent, instances).

    The weights of one revision's instances sum to its percent times a factor that all share, exactly. The factor is
    the largest that fits, one that divides evenly among the instances if there is such a one.
    """
    shares = [(percent if instances else 0, instances) for percent, instances in shares]
    live = [(percent, instances) for percent, instances in shares if percent]
    if not live:
        return [[0] * instances for _, instances in shares]
    limit = min(MAX_WEIGHT * instances // percent for percent, instances in live)
    step = math.lcm(*(instances // math.gcd(instances, percent) for percent, instances in live))
    factor = limit // step * step or limit
    return [_spread(percent * factor, instances) for percent, instances in shares]


def _spread(total: int, parts: int) -> list[int]:
    """``total`` in ``parts`` whole numbers that differ by one at most."""
    if not parts:
        return []
    base, rest = divmod(total, parts)
    return [base + (i < rest) for i in range(parts)]


def slots_for(shares: Sequence[tuple[int, Sequence[str]]]) -> list[str]:
    """The table a random number picks from: each revision has `SLOTS_PER_PERCENT` slots for each of its percents.

    A revision's instances take its slots in turn. A revision without instances has none: its requests fall to the rest.
    """
    return [names[i % len(names)] for percent, names in shares if names for i in range(percent * SLOTS_PER_PERCENT)]


class Proxy:
    """haproxy and what it was told. Addresses are loopback; nothing is written outside ``folder``."""

    def __init__(self, folder: Path, balance: Balance = "random", issuer: Path | None = None) -> None:
        self._folder, self._issuer = folder, issuer
        self._balance = balance
        self._free = [_Route(f"r{i}", _listener()) for i in range(ROUTES)]
        self._routes: dict[str, _Route] = {}
        self._admin = _listener()
        self._admin_address = self._admin.getsockname()
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """haproxy answers on every route (503 until it has servers). Raises RuntimeError with what haproxy said."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config, log = self._folder / "haproxy.cfg", self._folder / "haproxy.log"
        config.write_text(self._config())
        listeners = [self._admin, *(route.listener for route in self._free)]
        with log.open("wb") as out:
            self._process = await asyncio.create_subprocess_exec(
                *child.command("haproxy", "-db", "-q", "-f", config),
                pass_fds=[listener.fileno() for listener in listeners],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        # From here on the sockets are haproxy's alone: when it is gone, connections are refused.
        for listener in listeners:
            listener.close()
        try:
            await asyncio.wait_for(self._tell("show info"), START_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            raise RuntimeError(f"haproxy did not start: {log.read_text(errors='replace').strip()[-500:]}") from error

    async def stop(self) -> None:
        """haproxy has ended and its ports are free."""
        if self._process and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        for listener in [self._admin, *(route.listener for route in [*self._free, *self._routes.values()])]:
            listener.close()

    def url(self, route: str) -> str:
        """The URL of a route (a service's name, or ``name#tag``); the same one whenever it is asked again."""
        if route not in self._routes:
            self._routes[route] = self._free.pop(0) if self._free else self._reuse()
        return self._routes[route].url

    async def apply(self, route: str, shares: Mapping[str, tuple[int, Sequence[Server]]]) -> None:
        """The route splits its requests as ``{revision: (percent, instances)}`` says, from the next request on.

        Servers that are no longer named get no new request; `remove` takes them out once they are idle.
        """
        self.url(route)
        target, section = self._routes[route], self._routes[route].section
        target.is_given_up = not shares
        spread = weights_for([(percent, len(servers)) for percent, servers in shares.values()])
        weights: dict[str, int] = {}
        for (_, servers), parts in zip(shares.values(), spread, strict=True):
            weights |= {server.name: weight for server, weight in zip(servers, parts, strict=True)}
        async with target.lock:
            await self._add(target, [server for _, servers in shares.values() for server in servers])
            if self._balance == "random":
                slots = slots_for([(percent, [s.name for s in servers]) for percent, servers in shares.values()])
                await self._fill(section, slots)
            changes = [f"set server {section}/{name} weight {weights.get(name, 0)}" for name in target.servers]
            if changes:
                await self._order("; ".join(changes))

    async def guard(self, route: str, *, is_closed: bool, audience: str) -> None:
        """What comes straight to the route: closed, everything gets 404; with an audience, 403 without an ID token."""
        self.url(route)
        section = self._routes[route].section
        for name, value in (("closed", "yes" if is_closed else ""), ("audience", audience)):
            table = self._folder / f"{name}.map"
            await self._tell(f"del map {table} {section}")
            if value:
                await self._order(f"add map {table} {section} {value}")

    async def _add(self, target: _Route, servers: Sequence[Server]) -> None:
        for server in servers:
            if server.name in target.servers:
                continue
            place = f"{target.section}/{server.name}"
            if server.name in target.known:
                host, _, port = server.address.partition(":")
                await self._tell(f"set server {place} addr {host} port {port}")
                await self._order(f"set server {place} weight 0; set server {place} state ready")
            else:
                await self._order(f"add server {place} {server.address} weight 0; enable server {place}")
            target.known.add(server.name)
            target.servers[server.name] = server

    async def remove(self, service: str, names: Sequence[str], timeout_s: float) -> None:
        """These servers are gone from every route of ``service``, their requests answered; after ``timeout_s`` they are
        cut off. Another project's revision may have the same name."""
        places = [
            (route, f"{route.section}/{name}")
            for at, route in self._routes.items()
            for name in names
            if name in route.servers and at.partition("#")[0] == service
        ]
        for _, place in places:
            await self._order(f"set server {place} state drain")
        deadline = asyncio.get_running_loop().time() + timeout_s
        while places and await self._busy({place for _, place in places}):
            if asyncio.get_running_loop().time() > deadline:
                await self._order("; ".join(f"shutdown sessions server {place}" for _, place in places))
                deadline = math.inf
            await asyncio.sleep(DRAIN_POLL_S)
        for route, place in places:
            await self._order(f"set server {place} state maint")
            route.servers.pop(place.partition("/")[2], None)

    async def clear(self) -> None:
        """No route has a server, whatever was half done. Services and tags keep their URLs."""
        there = await self._stat()
        for route in self._routes.values():
            route.lock = asyncio.Lock()
            # What was cut short may have told haproxy of a server without our noting it.
            route.known = {row[1] for row in there if row[0] == route.section}
            await self._fill(route.section, [])
            for place in (f"{route.section}/{name}" for name in route.known):
                await self._order(f"set server {place} state maint; shutdown sessions server {place}")
            route.servers.clear()

    async def counts(self) -> dict[tuple[str, str, str], int]:
        """(service's full name, revision, "2xx" or another class) -> requests, as far as the services still have URLs.

        A request that an instance did not answer (refused, broken off, too late) is a 5xx; one that the user gave up is
        a 4xx. What the front itself turned away reached no revision, and is not counted.
        """
        head, *rows = (await self._tell("show stat -1 4 -1")).splitlines()
        columns = head.removeprefix("# ").split(",")
        owners = {route.section: name.partition("#")[0] for name, route in self._routes.items()}
        found: Counter[tuple[str, str, str]] = Counter()
        for row in filter(None, rows):
            stat = dict(zip(columns, row.split(","), strict=False))
            if owner := owners.get(stat["pxname"]):
                revision = stat["svname"].rpartition(".")[0]
                for code_class, fields in COUNTED.items():
                    found[owner, revision, code_class] += sum(int(stat[name] or 0) for name in fields)
        return dict(found)

    def _reuse(self) -> _Route:
        """The route of a tag that was taken away and has no server any more; the oldest one."""
        for name, route in self._routes.items():
            if "#" in name and route.is_given_up and not route.servers:
                route.is_given_up = False
                return self._routes.pop(name)
        raise RuntimeError(f"all {ROUTES} ports of the proxy are in use")

    async def _busy(self, places: set[str]) -> bool:
        """Whether one of these servers has a request in its hands (``scur``) or waiting (``qcur``)."""
        return any(f"{row[0]}/{row[1]}" in places and (row[4] != "0" or row[2] != "0") for row in await self._stat())

    async def _stat(self) -> list[list[str]]:
        """haproxy's row of figures for each server."""
        lines = (await self._tell("show stat -1 4 -1")).splitlines()
        return [line.split(",") for line in lines if line and not line.startswith("#")]

    async def _fill(self, section: str, slots: Sequence[str]) -> None:
        """Replace the route's table in one go: haproxy switches from the old one to the new one between requests."""
        table = self._folder / f"{section}.map"
        version = (await self._tell(f"prepare map {table}")).split()[-1]
        for start in range(0, len(slots), SLOTS_PER_COMMAND):
            rows = [f"{start + i} {name}\n" for i, name in enumerate(slots[start : start + SLOTS_PER_COMMAND])]
            await self._order(f"add map @{version} {table} <<\n{''.join(rows)}")
        await self._order(f"commit map @{version} {table}")

    async def _order(self, command: str) -> None:
        """Say it and insist on silence or on ``registered``: anything else is a complaint."""
        answer = (await self._tell(command)).strip()
        if answer and "registered" not in answer:
            raise RuntimeError(f"haproxy refused {command[:200]!r}: {answer[:200]}")

    async def _tell(self, command: str) -> str:
        reader, writer = await asyncio.open_connection(*self._admin_address)
        writer.write(f"{command}\n".encode())
        answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return answer.decode()

    def _config(self) -> str:
        head = f"""
global
    stats socket fd@{self._admin.fileno()} level admin
    nbthread 1
    maxconn 4096

defaults
    mode http
    option http-server-close
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout queue 5s
    balance roundrobin
"""
        for name in ("closed", "audience"):
            (self._folder / f"{name}.map").write_text("")
        return head + "".join(self._listen(route.section, route.listener) for route in self._free)

    def _listen(self, section: str, listener: socket.socket) -> str:
        lines = [f"bind fd@{listener.fileno()}"]
        if self._balance == "random":
            table = self._folder / f"{section}.map"
            table.write_text("")
            lines.append(f"use-server %[rand({100 * SLOTS_PER_PERCENT}),map_str({table})] if TRUE")
        lines += front_rules(section, self._folder, self._issuer)
        lines.append("http-response set-header x-rehearsal-revision %[srv_name,field(1,.)]")
        return f"\nlisten {section}\n" + "".join(f"    {line}\n" for line in lines)


def _listener() -> socket.socket:
    """A bound listening socket on a free loopback port, to be handed to a child."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener
