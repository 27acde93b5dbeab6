"""Long-running operations: get, wait, list."""

import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2


async def test_wait_returns_when_the_operation_is_done(cloud):
    """WaitOperation answers with the finished operation, whose response is the Service."""
    await cloud.world.turn(reconcile_delay_s=0.3)
    service = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
    started = await cloud.services.update_service(request={"service": service, "update_mask": {"paths": ["traffic"]}})
    assert not started.operation.done
    operation = await cloud.wait(started.operation.name, 20)
    assert operation.done
    result = run_v2.Service.pb(run_v2.Service())
    assert operation.response.Unpack(result)
    assert result.traffic_statuses[0].revision == cloud.STABLE


async def test_wait_gives_up_at_its_timeout(cloud):
    """The operation comes back not done, and no error is raised."""
    await cloud.world.turn(reconcile_delay_s=1.0)
    service = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
    started = await cloud.services.update_service(request={"service": service, "update_mask": {"paths": ["traffic"]}})
    assert not (await cloud.wait(started.operation.name, 0.1)).done
    assert (await cloud.ended(started.operation)).done


async def test_the_clients_own_future_gives_the_service(cloud):
    """``operation.result()`` of the async client works, metadata type included."""
    service = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
    started = await cloud.services.update_service(request={"service": service, "update_mask": {"paths": ["traffic"]}})
    assert isinstance(await started.result(timeout=30), run_v2.Service)
    assert isinstance(started.metadata, run_v2.Service)


async def test_operations_are_found_by_name_and_listed(cloud):
    """GetOperation and ListOperations know what was begun; an unknown name is NOT_FOUND."""
    operation = await cloud.shift(cloud.target(cloud.STABLE, 100))
    get = operations_pb2.GetOperationRequest(name=operation.name)
    assert (await cloud.services.get_operation(get)).done
    parent = operation.name.partition("/operations/")[0]
    listed = await cloud.services.list_operations(operations_pb2.ListOperationsRequest(name=parent))
    assert operation.name in [found.name for found in listed.operations]
    with pytest.raises(exceptions.NotFound):
        await cloud.services.get_operation(operations_pb2.GetOperationRequest(name=f"{parent}/operations/none"))
