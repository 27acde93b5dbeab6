"""The status page is one artifact, however often and by however many runs it is written."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from prefect.exceptions import ObjectNotFound

from blocks import status_page


class Artifacts:
    """As much of Prefect's client as the page needs. The newest artifact is the first."""

    def __init__(self) -> None:
        self.kept: list[SimpleNamespace] = []

    async def read_artifacts(self, artifact_filter: Any, sort: Any, limit: int) -> list[SimpleNamespace]:
        """Those of the key that was asked for."""
        return [one for one in self.kept if one.key in artifact_filter.key.any_][:limit]

    async def create_artifact(self, artifact: Any) -> SimpleNamespace:
        """One more."""
        self.kept.insert(0, SimpleNamespace(id=uuid4(), **artifact.model_dump()))
        return self.kept[0]

    async def update_artifact(self, artifact_id: UUID, artifact: Any) -> None:
        """In place. Raises ObjectNotFound."""
        found = [one for one in self.kept if one.id == artifact_id]
        if not found:
            raise ObjectNotFound(Exception("it was deleted"))
        found[0].data = artifact.data


async def test_every_run_writes_the_same_artifact() -> None:
    """So its address stays, and it stands among the artifacts of no run."""
    shelf: Any = Artifacts()
    first, said = await status_page.find(shelf, "production")
    assert said == ""
    assert await status_page.write(shelf, "production", first, "v1 serves") == first
    assert await status_page.find(shelf, "production") == (first, "v1 serves")
    assert [(one.key, one.flow_run_id) for one in shelf.kept] == [("production-now", None)]


async def test_each_environment_has_a_page_of_its_own() -> None:
    """Staging's is another one."""
    shelf: Any = Artifacts()
    pages = [(await status_page.find(shelf, name))[0] for name in ("production", "staging", "production")]
    assert pages[0] == pages[2] != pages[1]


async def test_a_page_that_a_person_has_deleted_is_made_again() -> None:
    """The next write has the whole text."""
    shelf: Any = Artifacts()
    page, _ = await status_page.find(shelf, "production")
    shelf.kept.clear()
    again = await status_page.write(shelf, "production", page, "v2 serves")
    assert await status_page.find(shelf, "production") == (again, "v2 serves")
