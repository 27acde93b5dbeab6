"""Where an image comes from, and what is deployed of it."""

import pytest

from playbook.release.version import Image, Service

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("pull_from", "deployed"),
    [
        pytest.param("", f"ghcr.io/g/backend@{DIGEST}", id="without a mirror it is pulled from where CI pushed it"),
        pytest.param("eu-docker.pkg.dev/p/r/backend", f"eu-docker.pkg.dev/p/r/backend@{DIGEST}", id="with one, there"),
    ],
)
def test_what_is_deployed_has_the_digest_that_ci_pushed(pull_from: str, deployed: str) -> None:
    """Cloud Run takes no image from ghcr.io: a mirror changes where it is pulled from, never which image it is."""
    service = Service(name="backend", repository="ghcr.io/g/backend", job="backend", pull_from=pull_from)
    assert str(service.deployed(Image(repository="ghcr.io/g/backend", digest=DIGEST))) == deployed
