"""What Prefect knew of the runs of one environment and month, kept for as long as the server has its blocks."""

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from playbook.history.record import Run


class ReleaseRecords(Block):
    """The ended runs of one environment in one month. Prefect may delete runs by retention; a block stays."""

    _block_type_name: ClassVar[str | None] = "EthixAI Release Records"

    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    runs: tuple[Run, ...] = Field((), title="Runs", description="Written once a day by the flow retrospective.")
