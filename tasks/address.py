"""Where a service, or a tagged revision of it, answers requests of ours, and what they are sent with."""

from blocks.environment import Environment
from blocks.ports import Application
from playbook.errors import Refused, Transient
from playbook.lease.lease import Lease
from playbook.release.traffic import ServiceSnapshot


def application(env: Environment, service: str) -> Application:
    """The application as ``service`` is asked: with the headers that its file gives it."""
    headers = env.service(service).headers
    return env.ethixai.sending(headers) if headers else env.ethixai


def url_of(env: Environment, snapshot: ServiceSnapshot, tag: str = "", revision: str = "") -> str:
    """The URL of ``revision``, which has ``tag``, or of the service: as its file says, else as Cloud Run names it.

    Raises: Refused (there is none, or a person has moved the tag to another revision, whose answers would be taken for
    the new one's), Transient (the tag is not served yet).
    """
    found = snapshot.split.tags.get(tag, revision)
    if found != revision:
        by = snapshot.last_modifier or "another person"
        raise Refused(
            f"{snapshot.service}: tag {tag} is on {found}, moved there by {by}. "
            f"What answers at its URL is not {revision}. Start again."
        )
    named = env.service(snapshot.service).answers_at(tag)
    if not named:
        return snapshot.url_of(tag)
    if tag and (snapshot.served is None or tag not in snapshot.served.tags):
        raise Transient(f"{snapshot.service}: tag {tag} is not served yet. Ask again.")
    return named


def tagged(lease: Lease | None, service: str) -> tuple[str, str]:
    """The tag of the new revision of ``lease``, and that revision; both empty where the service itself is meant."""
    return (lease.tag, lease.rollout(service).to_revision) if lease else ("", "")


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
