"""The one artifact that is an environment's status page: it belongs to no run, and its address stays the same.

Prefect's page of a key lists versions and shows none of them; the page of an artifact shows what it holds.
"""

from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.exceptions import ObjectNotFound

from playbook.messages.status import key_of

EMPTY = "Nothing is known yet. The next run of recovery/{environment}, at most 10 minutes from now, writes this page."


async def find(client: PrefectClient, environment: str) -> tuple[UUID, str]:
    """The artifact and what it says now; it is created where there is none. Raises: PREFECT_AWAY."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key_of(environment)]))
    found = await client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.CREATED_DESC, limit=1)
    if found:
        return found[0].id, str(found[0].data or "")
    return await _create(client, environment, EMPTY.format(environment=environment)), ""


async def write(client: PrefectClient, environment: str, page: UUID, text: str) -> UUID:
    """The page says ``text`` (Markdown). Returns its id: another one where a person has deleted it meanwhile.

    Raises: PREFECT_AWAY.
    """
    try:
        await client.update_artifact(page, ArtifactUpdate(data=text))
    except ObjectNotFound:
        return await _create(client, environment, text)
    return page


async def _create(client: PrefectClient, environment: str, text: str) -> UUID:
    said = f"What serves {environment} now"
    artifact = ArtifactCreate(key=key_of(environment), type="markdown", description=said, data=text)
    return (await client.create_artifact(artifact)).id
