"""Where an environment's services are."""

from blocks.environment import Environment


def place_of(env: Environment) -> str:
    """gcloud's flags for where the services of ``env`` are."""
    return f"--project={env.cloud_run.project} --region={env.cloud_run.region}"
