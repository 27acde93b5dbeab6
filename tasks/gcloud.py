"""The flags of the gcloud commands that people copy from messages."""

from blocks.environment import Environment


def gcloud_flags(env: Environment) -> str:
    """``--project`` and ``--region`` of the services of ``env``."""
    return f"--project={env.cloud_run.project} --region={env.cloud_run.region}"
