"""Check build: the image of every service exists, and is pinned to its digest."""

import asyncio

from prefect import get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Refused
from playbook.messages.times import clock
from playbook.release.version import Image, Version
from tasks.retries import READ

LOOK_AGAIN_S = 5.0
"""Between two looks for an image that CI has not pushed yet."""


@task(name="check build", task_run_name="check build {service} in {env.name}", **READ)
async def check_build(env: Environment, service: str, version: Version) -> Image | str:
    """The image that CI pushed for ``version``, by digest and as Cloud Run pulls it; or one line that says what is
    missing.

    A merge starts a release before CI has pushed: while CI is at work on the commit, it is waited for until the
    policy's deadline, and the log says so. A version that CI knows nothing of is missing at once.
    """
    wanted, now_s = env.service(service), unix_s()
    tag, until_s, is_told = wanted.image_tag(version), now_s + env.gates.build_deadline_s, False
    while (image := await env.registry.image(wanted.repository, tag)) is None:
        waited = f" It was waited for until {clock(unix_s())} UTC." if is_told else ""
        is_over = unix_s() >= until_s
        if is_over or not await ci_is_at_work(env, version):
            if not is_over and (image := await env.registry.image(wanted.repository, tag)):
                break  # pushed between the two looks
            return (
                f"version: image {wanted.repository}:{tag} does not exist; has CI built and pushed {version}?{waited}"
            )
        if not is_told:
            get_run_logger().warning(
                "%s: %s:%s is not pushed yet; CI is at work on it. Waiting until %s UTC",
                service,
                wanted.repository,
                tag,
                clock(until_s),
            )
            is_told = True
        await asyncio.sleep(LOOK_AGAIN_S)
    get_run_logger().info("%s: %s:%s is %s", service, wanted.repository, tag, image.digest)
    return wanted.deployed(image)


async def ci_is_at_work(env: Environment, version: Version) -> bool:
    """Whether the commit is known and a check of it has not ended; also where none has begun. Raises: Transient."""
    if env.code_host is None or env.gates.build_deadline_s == 0:
        return False
    try:
        checks = await env.code_host.checks(version.commit)
    except Refused:
        return False
    return not checks or any(check.conclusion == "pending" for check in checks)
