"""What the warm process does once, so that no run has to."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from worker.start import ENVIRONMENT

SHARED = """
import ssl, certifi, httpx
from worker.warm import share_certificates
share_certificates()
first, second = (ssl.create_default_context(cafile=certifi.where()) for _ in range(2))
assert first is second
insecure = ssl.create_default_context()
insecure.check_hostname = False
assert insecure is not ssl.create_default_context() and first.check_hostname
assert first.verify_mode is ssl.CERT_REQUIRED and first.get_ca_certs() or first.cert_store_stats()["x509_ca"]
httpx.Client(), httpx.AsyncClient()
import os, shutil, tempfile
with tempfile.TemporaryDirectory() as folder:
    copy = shutil.copy(certifi.where(), folder)
    before = ssl.create_default_context(cafile=copy)
    assert before is ssl.create_default_context(cafile=copy)
    os.utime(copy, (1, 1))
    assert before is not ssl.create_default_context(cafile=copy)
os.environ["SSL_CERT_FILE"] = "/nowhere"
share_certificates()
"""


def test_trusted_certificates_are_read_once_and_a_context_of_its_own_stays_one() -> None:
    """The same file gives the same context; one that its maker changes is not shared."""
    subprocess.run([sys.executable, "-c", SHARED], check=True, timeout=60)


KEYS = """
import google.auth
from google.auth.crypt import RSASigner
from worker.warm import share_keys
share_keys()
first, second = (google.auth.default()[0] for _ in range(2))
assert first is not second and first.signer is second.signer and first.sign_bytes(b"a") == second.sign_bytes(b"a")
try:
    RSASigner.from_string("no key", "id")
except ValueError:
    print("told")
"""


def test_a_private_key_is_checked_once_and_one_that_is_none_is_told(tmp_path: Path) -> None:
    """Two clients of a run sign with it. A file that is not there is no reason not to start."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "any",
        "client_email": "worker@any",
        "token_uri": "http://127.0.0.1:1",
        "private_key_id": "id",
        "private_key": key.decode(),
    }
    file = tmp_path / "key.json"
    file.write_text(json.dumps(account))
    environ = os.environ | {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    done = subprocess.run([sys.executable, "-c", KEYS], env=environ, check=True, timeout=60, capture_output=True)
    assert done.stdout == b"told\n"
    for content in ("", "{}", "[1]", json.dumps(account | {"private_key": "none"})):
        file.write_text(content)
        subprocess.run([sys.executable, "-c", NO_KEY], env=environ, check=True, timeout=60)
    file.unlink()
    subprocess.run([sys.executable, "-c", NO_KEY], env=environ, check=True, timeout=60)


NO_KEY = "from worker.warm import share_keys; share_keys()"


COMPLETE = """
import sys, pydantic
from worker.warm import PREFECT, VENDORS, import_all
import_all()
def below(model):
    for one in model.__subclasses__():
        yield one
        yield from below(one)
assert not [one for one in below(pydantic.BaseModel) if not one.__pydantic_complete__]
assert not {*PREFECT, *VENDORS} - set(sys.modules)
"""


def test_no_run_has_to_import_or_to_complete_a_model() -> None:
    """Both take CPU time of each run otherwise, before it moves a user."""
    subprocess.run([sys.executable, "-c", COMPLETE], check=True, timeout=120)


BESIDE = """
import asyncio, uuid
from prefect.events import related
from prefect.utilities import engine
from prefect import flow_engine, task_engine
from prefect._flow_run_suspension import FlowRunSuspensionRequest
from worker.warm import import_all
import_all()
class Environment(list):
    def __iter__(self):
        raise AssertionError("its parts were walked through")
argument = Environment()
assert engine.collect_task_run_inputs_sync(argument) == set()
assert task_engine.visit_collection(argument, visit_fn=print, return_data=True) is argument
ask = related._get_and_cache_related_object
assert asyncio.run(ask(kind="flow", role="flow", client_method=None, obj_id=uuid.uuid4(), cache={})) == {}
with flow_engine.observe_flow_run_suspension(uuid.uuid4(), FlowRunSuspensionRequest()):
    print("began")
"""


def test_a_run_waits_for_nothing_that_its_first_act_does_not_need() -> None:
    """Prefect's server is not there: a run that waited until it is watched would never begin."""
    environ = os.environ | ENVIRONMENT | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    done = subprocess.run([sys.executable, "-c", BESIDE], env=environ, check=True, timeout=120, capture_output=True)
    assert done.stdout.decode() == "began\n"


SETTINGS = """
from types import SimpleNamespace
from worker.bound import BoundConfiguration
from worker.warm import import_all, settings_among, settings_read
import_all()
run = BoundConfiguration(labels={})
run.prepare_for_flow_run(SimpleNamespace(id="1", name="one", labels={}, deployment_id=None))
assert settings_among(run.env | {"PREFECT__FLOW_RUN_ID": "1"}) == settings_read()
assert settings_among(run.env | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}) != settings_read()
import prefect.client.orchestration
prefect.client.orchestration.get_client = lambda **_: 1 / 0  # Prefect takes every error of a server for "none"
from prefect.results import ResultStore
from flows.rollback import rollback
ResultStore().update_for_flow(rollback, _sync=True)
"""


def test_a_run_reads_no_settings_again_and_asks_for_no_storage() -> None:
    """Its settings are the worker's, which the warm process has read; the server, which is not there, is not asked."""
    environ = os.environ | ENVIRONMENT | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    subprocess.run([sys.executable, "-c", SETTINGS], check=True, timeout=120, env=environ)


def test_it_ends_with_its_worker_where_its_folder_is_gone(tmp_path: Path) -> None:
    """systemd removes the private /tmp of a worker that it stops; the warm process may look later."""
    ours, worker = os.pipe()
    folder = tmp_path / "playbook-worker"
    folder.mkdir()
    command = (sys.executable, "-m", "worker.warm", str(folder / "socket"), str(ours))
    with subprocess.Popen(command, pass_fds=(ours,), stderr=subprocess.PIPE, text=True) as warm:
        os.close(ours)
        while not (folder / "socket").exists():
            assert warm.poll() is None
            time.sleep(0.05)
        shutil.rmtree(folder)
        os.close(worker)
        _, said = warm.communicate(timeout=120)
    assert (warm.returncode, said) == (0, "")
