"""Who calls: tokens, denials, and the certificate authority."""

import asyncio

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.oauth2 import service_account

from rehearsal.world.identity import Authority, BadTokenError, Identities


async def client_of(cloud, email: str) -> run_v2.ServicesAsyncClient:
    """A client with another service account's key."""
    key = await cloud.world.key_file(email)
    credentials = service_account.Credentials.from_service_account_file(str(key))
    options = {"api_endpoint": cloud.world.grpc_endpoint}
    return run_v2.ServicesAsyncClient(credentials=credentials, client_options=options)


async def test_the_writer_is_who_signed_the_token(cloud):
    """last_modifier and the log of writes name the email of the key that was used."""
    other = await client_of(cloud, "other@ethixai-production.iam.gserviceaccount.com")
    service = run_v2.Service(name=cloud.name, annotations={"x.example/a": "1"})
    await other.update_service(request={"service": service, "update_mask": {"paths": ["annotations"]}})
    assert (await cloud.get()).last_modifier == "other@ethixai-production.iam.gserviceaccount.com"
    write = (await cloud.world.writes())[-1]
    assert write["caller"] == "other@ethixai-production.iam.gserviceaccount.com"
    assert (write["mask"], write["annotations"]) == (["annotations"], {"x.example/a": "1"})


async def test_one_that_may_not_is_denied(cloud):
    """A denied identity reads but does not write; the attempt is in the log of writes, others are not denied."""
    email = "reader@ethixai-production.iam.gserviceaccount.com"
    reader = await client_of(cloud, email)
    await cloud.world.deny("reader@*", "Services.Update")
    await reader.get_service(name=cloud.name)
    service = run_v2.Service(name=cloud.name, annotations={"x.example/a": "1"})
    with pytest.raises(exceptions.PermissionDenied, match=r"Permission 'run\.services\.update' denied"):
        await reader.update_service(request={"service": service, "update_mask": {"paths": ["annotations"]}})
    assert [(w["caller"], w["code"], w["applied"]) for w in await cloud.world.writes()] == [
        (email, "PERMISSION_DENIED", False)
    ]
    await cloud.update(service, "annotations")


@pytest.mark.parametrize("token", [None, "Bearer nonsense", "Basic abc"])
async def test_a_call_without_a_good_token_is_unauthenticated(cloud, token):
    """No token, no JWT, another scheme: UNAUTHENTICATED."""
    roots = await asyncio.to_thread(open, cloud.world.client_environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"], "rb")
    with roots:
        credentials = grpc.ssl_channel_credentials(roots.read())
    async with grpc.aio.secure_channel(cloud.world.grpc_endpoint, credentials) as channel:
        method = channel.unary_unary("/google.cloud.run.v2.Services/GetService")
        metadata = (("authorization", token),) if token else ()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(
                run_v2.GetServiceRequest.serialize(run_v2.GetServiceRequest(name=cloud.name)), metadata=metadata
            )
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_persons_hand_is_seen_as_that_persons(cloud):
    """A change made through the control API has the person as last_modifier and is a write like any other."""
    before = await cloud.get()
    await cloud.world.out_of_band(cloud.name, traffic=[{"revision": cloud.STABLE, "percent": 100}])
    after = await cloud.get()
    assert after.last_modifier == "person@ethixai.example"
    assert after.etag != before.etag
    assert (await cloud.world.writes())[-1]["caller"] == "person@ethixai.example"


def test_a_key_that_is_not_ours_signs_for_nobody(tmp_path):
    """A token of another authority's account of the same name is refused."""
    ours, theirs = (Identities(Authority(tmp_path / name)) for name in ("ours", "theirs"))
    email = "a@b.iam.gserviceaccount.com"
    ours.key_file(email)
    credentials = service_account.Credentials.from_service_account_file(
        str(theirs.key_file(email)), always_use_jwt_access=True
    )
    credentials._create_self_signed_jwt("https://run.googleapis.com/")
    headers: dict[str, str] = {}
    credentials.before_request(None, "POST", "https://run.googleapis.com/", headers)
    with pytest.raises(BadTokenError):
        ours.email_of(headers["authorization"])
    assert theirs.email_of(headers["authorization"]) == email
