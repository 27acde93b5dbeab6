"""Check build: the image of every service exists, and is pinned to its digest."""

from prefect import get_run_logger

from blocks.environment import Environment
from playbook.release.version import Image, Version
from tasks.retries import READ, step


@step("check build", **READ)
async def check_build(env: Environment, service: str, version: Version) -> Image | str:
    """The image that CI pushed for ``version``, by digest and as Cloud Run pulls it; or one line that says what is
    missing."""
    wanted = env.service(service)
    tag = wanted.image_tag(version)
    image = await env.registry.image(wanted.repository, tag)
    if image is None:
        return f"version: image {wanted.repository}:{tag} does not exist; has CI built and pushed {version}?"
    get_run_logger().info("%s: %s:%s is %s", service, wanted.repository, tag, image.digest)
    return wanted.deployed(image)
