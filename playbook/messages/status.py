"""The status page of an environment: what serves, what is under way, how the last runs ended. Markdown from values."""

LINK = "What serves now: "
"""Begins the line that a deployment's description ends with."""


def key_of(environment: str) -> str:
    """The key of the environment's status page among Prefect's artifacts."""
    return f"{environment}-now"


def link_to(environment: str, ui_url: str) -> str:
    """Where the status page is seen."""
    return f"{ui_url}/v2/artifacts/key/{key_of(environment)}"


def described(description: str, environment: str, ui_url: str) -> str:
    """A deployment's description with the link to the status page of its environment. It may be given again."""
    text = description.partition(f"\n\n{LINK}")[0].rstrip()
    return f"{text}\n\n{LINK}[{environment}]({link_to(environment, ui_url)})" if ui_url else text
