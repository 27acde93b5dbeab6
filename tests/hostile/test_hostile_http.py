"""Every block method x every hostile answer: it ends soon, as a value or as one of this project's errors."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from answers import ANSWERS, ENDLESS, Server, hostile_server
from calls import BY_HAND, GRPC, HTTP, MONGODB, PREFECT, SECRET, against, deadline_s, public_methods
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.crypt import RSASigner
from google.oauth2.service_account import Credentials

from blocks.base import PerLoop
from blocks.google_token import GoogleToken
from blocks.http import HttpService
from playbook.errors import ReleaseError
from playbook.text import MESSAGE_MAX, clean

AT_ONCE = 24
ENDS_S = 60.0
"""Far more than all deadlines of a call together: it tells slow from never on a busy machine."""
MEMORY_MAX = 40 * 1024 * 1024


@pytest.fixture(scope="module")
async def hostile() -> AsyncIterator[Server]:
    """One server for all answers."""
    async with hostile_server() as server:
        yield server


def test_every_method_of_every_block_joins_by_itself() -> None:
    """Over each protocol that its block speaks; what is written by hand beside that is a method that there is."""
    by_hand = {name.partition(",")[0] for name in (*BY_HAND, *PREFECT)}
    assert {name.partition(",")[0] for name in (*HTTP, *MONGODB, *GRPC, *PREFECT)} == set(public_methods())
    assert by_hand <= set(public_methods())


async def outcome(method: str, name: str, server: Server) -> str:
    """What is wrong with how ``method`` took the answer ``name``; empty if nothing is."""
    try:
        async with asyncio.timeout(ENDS_S):
            with against(name):
                await HTTP[method](server.url(name))
    except ReleaseError as error:
        text = str(error)
        if text != clean(text) or len(text) > MESSAGE_MAX:
            return f"{name}: the message is not clean or too long: {text[:100]!r}"
        if SECRET.get_secret_value() in text:
            return f"{name}: the message shows the secret"
    except TimeoutError:
        return f"{name}: it does not end"
    except Exception as error:  # noqa: BLE001  # that none of these gets out is what is tested
        return f"{name}: {type(error).__name__}: {str(error)[:200]}"
    return ""


@pytest.mark.parametrize("method", HTTP)
async def test_a_hostile_answer_ends_as_a_value_or_as_our_error(
    method: str, hostile: Server, without_an_account: None
) -> None:
    """Whatever the status, the body, the headers or the pace."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> str:
        async with turns:
            return await outcome(method, name, hostile)

    problems = [problem for problem in await asyncio.gather(*map(one, ANSWERS)) if problem]
    assert not problems, "\n".join(problems)


async def test_a_hostile_token_server_ends_as_our_error(hostile: Server) -> None:
    """Cloud Run's v1 calls and those to private services are signed in with a token that such a server gives."""
    turns = asyncio.Semaphore(AT_ONCE)
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    signer = RSASigner.from_string(key)

    async def one(name: str) -> str:
        token = GoogleToken()
        token._credentials = Credentials(signer, "me", hostile.url(name), scopes=["s"])
        try:
            async with turns, asyncio.timeout(ENDS_S):
                with against(name):
                    await token.header("Cloud Run, asked for tea", deadline_s())
        except ReleaseError as error:
            return "" if str(error) == clean(str(error)) else f"{name}: the message is not clean"
        except TimeoutError:
            return f"{name}: it does not end"
        except Exception as error:  # noqa: BLE001  # that none of these gets out is what is tested
            return f"{name}: {type(error).__name__}: {str(error)[:200]}"
        return ""

    problems = [problem for problem in await asyncio.gather(*map(one, ANSWERS)) if problem]
    assert not problems, "\n".join(problems)


HUGE = [name for name in ANSWERS if "MB" in name or "bomb" in name or "endless" in name or "for ever" in name]


@pytest.mark.parametrize("name", HUGE)
async def test_a_huge_answer_takes_little_memory(name: str, hostile: Server) -> None:
    """Neither hundreds of megabytes nor the few hundred kilobytes that unpack to them."""
    service = HttpService("Vendor", "vendor", hostile.url(name), "token", 1 if name in ENDLESS else 5, PerLoop())
    tracemalloc.start()
    try:
        with pytest.raises(ReleaseError):
            await service.json("GET", "/", "for tea", dict)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_MAX
