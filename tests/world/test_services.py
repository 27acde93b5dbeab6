"""Services over gRPC: etags, masks, revision names, what an update changes and what it leaves."""

import pytest
from google.api_core import exceptions
from google.cloud import run_v2


async def test_every_write_makes_a_new_etag_and_names_its_writer(cloud):
    """An update changes etag, generation and last_modifier; the creator stays."""
    before = await cloud.get()
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    after = await cloud.get()
    assert after.etag != before.etag
    assert after.generation == before.generation + 1
    assert after.observed_generation == after.generation
    assert after.last_modifier.startswith("releaser@")
    assert after.creator == before.creator != after.last_modifier


async def test_a_stale_etag_is_aborted_and_changes_nothing(cloud):
    """With the switch on: of two writers that read the same etag the second gets ABORTED."""
    await cloud.world.turn(enforce_etag=True)
    read = await cloud.get()
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    late = run_v2.Service(name=cloud.name, etag=read.etag, annotations={"x.example/late": "yes"})
    with pytest.raises(exceptions.Aborted):
        await cloud.update(late, "annotations")
    assert "x.example/late" not in (await cloud.get()).annotations


@pytest.mark.parametrize("etag", ["stale", "nonsense"])
async def test_an_etag_is_not_enforced_unless_the_switch_is_on(cloud, etag):
    """As the real service was seen to do: a write under a stale or a nonsensical etag takes effect."""
    read = await cloud.get()
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    sent = read.etag if etag == "stale" else '"nonsense"'
    late = run_v2.Service(name=cloud.name, etag=sent, annotations={"x.example/late": "yes"})
    assert not (await cloud.update(late, "annotations")).HasField("error")
    assert (await cloud.get()).annotations["x.example/late"] == "yes"


@pytest.mark.parametrize(
    "path",
    [
        "minInstanceCount",
        "scaling.minInstanceCount",
        "annotations.key",
        "template.containers.image",
        "traffics",
        "uri.x",
    ],
)
async def test_a_mask_path_that_is_no_field_is_refused(cloud, path):
    """camelCase, unknown names, and paths into maps, lists and scalars are INVALID_ARGUMENT."""
    with pytest.raises(exceptions.InvalidArgument, match="update_mask"):
        await cloud.update(run_v2.Service(name=cloud.name), path)


async def test_a_masked_field_is_replaced_whole(cloud):
    """Annotations that are not sent again go, and traffic targets are not appended."""
    first = run_v2.Service(name=cloud.name, annotations={"x.example/a": "1", "x.example/b": "2"})
    await cloud.update(first, "annotations")
    second = run_v2.Service(name=cloud.name, annotations={"x.example/b": "3"})
    second.traffic = [cloud.target(cloud.STABLE, 100)]
    await cloud.update(second, "annotations", "traffic")
    after = await cloud.get()
    assert dict(after.annotations) == {"x.example/b": "3"}
    assert [t.revision for t in after.traffic] == [cloud.STABLE]


async def test_a_field_outside_the_mask_is_left_alone(cloud):
    """A sparse service with a mask changes the masked field only, and makes no revision."""
    before = await cloud.get()
    await cloud.update(run_v2.Service(name=cloud.name, annotations={"x.example/a": "1"}), "annotations")
    after = await cloud.get()
    assert after.template == before.template
    assert after.latest_created_revision == before.latest_created_revision


async def test_a_nested_path_replaces_that_field_only(cloud):
    """``scaling.min_instance_count`` leaves the rest of scaling as it was."""
    await cloud.update(
        run_v2.Service(name=cloud.name, scaling={"min_instance_count": 1, "max_instance_count": 7}), "scaling"
    )
    await cloud.update(run_v2.Service(name=cloud.name, scaling={"min_instance_count": 2}), "scaling.min_instance_count")
    scaling = (await cloud.get()).scaling
    assert (scaling.min_instance_count, scaling.max_instance_count) == (2, 7)


async def test_without_a_mask_everything_is_replaced(cloud):
    """What a maskless update does not send is gone."""
    await cloud.update(run_v2.Service(name=cloud.name, annotations={"x.example/a": "1"}), "annotations")
    service = await cloud.get()
    service.annotations.clear()
    service.description = "new"
    await cloud.update(service)
    after = await cloud.get()
    assert (dict(after.annotations), after.description) == ({}, "new")


async def test_output_only_fields_cannot_be_written(cloud):
    """A mask that names ``uri`` changes nothing there."""
    before = await cloud.get()
    await cloud.update(run_v2.Service(name=cloud.name, uri="http://elsewhere"), "uri")
    assert (await cloud.get()).uri == before.uri


async def test_validate_only_checks_and_changes_nothing(cloud):
    """It returns a finished operation, refuses what is wrong, and is no write."""
    before = await cloud.get()
    wanted = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
    operation = await cloud.update(wanted, "traffic", validate_only=True)
    assert operation.done
    with pytest.raises(exceptions.InvalidArgument):
        await cloud.update(
            run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 1)]), "traffic", validate_only=True
        )
    assert await cloud.get() == before
    assert await cloud.world.writes() == []


@pytest.mark.parametrize("key", ["run.googleapis.com/ingress", "serving.knative.dev/creator", "x.run.googleapis.com/y"])
async def test_annotations_of_the_system_are_refused(cloud, key):
    """The v2 API takes no annotation under the system's domains."""
    with pytest.raises(exceptions.InvalidArgument, match="key of the system"):
        await cloud.update(run_v2.Service(name=cloud.name, annotations={key: "1"}), "annotations")


def _template(of_container=None, **fields):
    container = run_v2.Container(image="ghcr.io/geoaziz/ethixai-backend:sha-5ab1e0", **of_container or {})
    return run_v2.Service(template=run_v2.RevisionTemplate(containers=[container], **fields))


def _container(**fields):
    return _template(fields)


FROM_SECRET = run_v2.EnvVarSource(secret_key_ref=run_v2.SecretKeySelector(secret="s", version="1"))
UNTAUGHT = {
    "ingress": run_v2.Service(ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_NONE),
    "template.vpc_access": _template(vpc_access=run_v2.VpcAccess(connector="c")),
    "template.session_affinity": _template(session_affinity=True),
    "containers.startup_probe": _container(startup_probe=run_v2.Probe(http_get=run_v2.HTTPGetAction(path="/up"))),
    "containers.liveness_probe": _container(liveness_probe=run_v2.Probe(period_seconds=5)),
    "containers.command": _container(command=["sleep"]),
    "containers.env.value_source": _container(env=[run_v2.EnvVar(name="A", value_source=FROM_SECRET)]),
}


@pytest.mark.parametrize(("field", "wanted"), UNTAUGHT.items(), ids=UNTAUGHT)
async def test_what_would_have_no_effect_is_not_taught(cloud, field, wanted):
    """A field that changes how the real service behaves, and not the stand-in, is named and never just stored."""
    wanted.name = cloud.name
    with pytest.raises(exceptions.MethodNotImplemented, match=field):
        await cloud.update(wanted, field.partition(".")[0] if field == "ingress" else "template")


async def test_the_startup_probe_that_cloud_run_itself_sets_is_taken(cloud):
    """It is what the stand-in does: a container has started once its port is open."""
    service = await cloud.get()
    service.template.revision = ""
    service.template.containers[0].startup_probe = run_v2.Probe(
        tcp_socket=run_v2.TCPSocketAction(port=8080), timeout_seconds=240, period_seconds=240, failure_threshold=1
    )
    assert not (await cloud.update(service, "template")).HasField("error")


async def test_a_reused_revision_name_with_another_template_already_exists(cloud):
    """Sending a fetched template back with something changed and the old name is the 409 of the wild."""
    service = await cloud.get()
    service.template.containers[0].env = [run_v2.EnvVar(name="A", value="1")]
    with pytest.raises(exceptions.AlreadyExists, match=f"Revision named '{cloud.STABLE}' with different configuration"):
        await cloud.update(service, "template")


async def test_the_same_name_with_the_same_template_makes_no_revision(cloud):
    """Sending a fetched template back unchanged is allowed."""
    service = await cloud.get()
    operation = await cloud.update(service, "template")
    assert not operation.HasField("error")
    assert len([r async for r in await cloud.revisions.list_revisions(parent=cloud.name)]) == 1


async def test_a_template_without_a_name_gets_one(cloud):
    """The server makes ``{service}-{generation}-{three letters}``, and LATEST follows it."""
    service = await cloud.get()
    service.template.revision = ""
    service.template.containers[0].env = [run_v2.EnvVar(name="A", value="1")]
    await cloud.update(service, "template")
    made = (await cloud.get()).latest_ready_revision.rpartition("/")[2]
    assert made.startswith("ethixai-backend-00042-")
    assert await cloud.served() == {made: 100}


@pytest.mark.parametrize("name", ["v2", "ethixai-frontend-v2", "ethixai-backend-V2", "ethixai-backend-" + "x" * 48])
async def test_a_revision_name_must_fit_its_service(cloud, name):
    """``{service}-…``, a DNS label, 63 characters at most."""
    with pytest.raises(exceptions.InvalidArgument, match=r"template\.revision"):
        await cloud.deploy(name)


async def test_max_instance_count_zero_means_a_hundred(cloud):
    """proto3 cannot say 0: the server's default takes its place, and the service stays wide open."""
    service = await cloud.get()
    service.template.scaling.max_instance_count = 0
    service.template.revision = f"{cloud.STABLE[:-4]}-max"
    await cloud.update(service, "template")
    assert (await cloud.get()).template.scaling.max_instance_count == 100


async def test_create_list_and_delete(cloud):
    """A service is created, listed, refused a second time and deleted, by the official client."""
    backend = await cloud.get()
    parent = cloud.name.partition("/services/")[0]
    image = backend.template.containers[0].image
    new = run_v2.Service(template={"containers": [{"image": image}]})
    request = run_v2.CreateServiceRequest(parent=parent, service=new, service_id="ethixai-ai-core")
    created = await cloud.services.create_service(request=request)
    assert not (await cloud.ended(created.operation)).HasField("error")
    with pytest.raises(exceptions.AlreadyExists):
        await cloud.services.create_service(request=request)
    listed = [s async for s in await cloud.services.list_services(request={"parent": parent, "page_size": 2})]
    names = [s.name.rpartition("/")[2] for s in listed]
    assert names == ["ethixai-ai-core", "ethixai-backend", "ethixai-frontend"]
    deleted = await cloud.services.delete_service(name=f"{parent}/services/ethixai-ai-core")
    assert (await cloud.ended(deleted.operation)).done
    with pytest.raises(exceptions.NotFound):
        await cloud.services.get_service(name=f"{parent}/services/ethixai-ai-core")


async def test_allow_missing_creates_what_is_not_there(cloud):
    """Without it an update of an unknown service is NOT_FOUND."""
    backend = await cloud.get()
    name = cloud.name.replace("ethixai-backend", "ethixai-ai-core")
    new = run_v2.Service(name=name, template={"containers": [{"image": backend.template.containers[0].image}]})
    with pytest.raises(exceptions.NotFound):
        await cloud.update(new)
    operation = await cloud.update(new, allow_missing=True)
    assert not operation.HasField("error")
    assert (await cloud.services.get_service(name=name)).traffic_statuses[0].percent == 100


async def test_what_is_not_taught_is_unimplemented(cloud):
    """IAM policies of services answer UNIMPLEMENTED."""
    with pytest.raises(exceptions.MethodNotImplemented):
        await cloud.services.get_iam_policy(request={"resource": cloud.name})


async def test_the_sync_client_works_as_well(cloud):
    """The blocking client updates and its operation's result is a Service."""
    import asyncio

    client = run_v2.ServicesClient(client_options={"api_endpoint": cloud.world.grpc_endpoint})

    def shift() -> run_v2.Service:
        service = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
        return client.update_service(request={"service": service, "update_mask": {"paths": ["traffic"]}}).result(30)

    result = await asyncio.to_thread(shift)
    assert result.traffic_statuses[0].revision == cloud.STABLE
