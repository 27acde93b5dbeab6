"""Where a service, or a tagged revision of it, answers requests of ours, and what they are sent with."""

from blocks.environment import Environment
from blocks.ports import Application
from playbook.errors import Transient
from playbook.release.traffic import ServiceSnapshot


def application(env: Environment, service: str) -> Application:
    """The application as ``service`` is asked: with the headers that its file gives it."""
    headers = env.service(service).headers
    return env.ethixai.sending(headers) if headers else env.ethixai


def url_of(env: Environment, snapshot: ServiceSnapshot, tag: str = "") -> str:
    """The URL of the revision with ``tag``, or of the service: as its file says, else as Cloud Run names it.

    Raises: Refused (there is none), Transient (the tag is not served yet).
    """
    named = env.service(snapshot.service).answers_at(tag)
    if not named:
        return snapshot.url_of(tag)
    if tag and (snapshot.served is None or tag not in snapshot.served.tags):
        raise Transient(f"{snapshot.service}: tag {tag} is not served yet. Ask again.")
    return named


def audience_of(env: Environment, snapshot: ServiceSnapshot) -> str:
    """Whom an ID token for the service is for: its run.app URL, also at a tag's URL. Where that is off, the URL that
    the file names, which is then to be one of the service's custom audiences."""
    return snapshot.uri or env.service(snapshot.service).url


async def unreachable(env: Environment, snapshot: ServiceSnapshot) -> str:
    """Why no request of ours can reach the service before it has users, in one sentence; empty where it can."""
    service = env.service(snapshot.service)
    is_named = bool(service.url and (service.tag_url or not service.has_tags))
    if not is_named and (closed := snapshot.unreachable()):
        return closed + " Or name the URLs that do answer: url and tag_url of the service in the environment file."
    url = service.url or snapshot.uri
    return await application(env, snapshot.service).unreachable(url, audience_of(env, snapshot))
