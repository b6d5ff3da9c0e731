"""OpenStack Swift as an S3 server that checks signatures and checksums: Debian's packages, run as plain processes.

`apt-get install swift-proxy swift-account swift-container swift-object`.
"""

import getpass
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

PROGRAMS = [f"swift-{name}-server" for name in ("account", "container", "object", "proxy")]
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
user = {user}
[pipeline:main]
pipeline = catch_errors gatekeeper cache bulk s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""
STORAGE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
devices = {folder}/devices
mount_check = false
swift_dir = {folder}
user = {user}
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""


def is_installed() -> bool:
    """Whether Debian's packages are there."""
    return all(map(shutil.which, PROGRAMS)) and Path("/etc/swift/swift.conf").exists()


def new_bucket(url: str) -> str:
    """The name of a new, empty bucket."""
    import boto3  # moto brings it

    name = f"b{uuid.uuid4().hex}"
    user, secret, region = ENVIRONMENT.values()
    keys = {"aws_access_key_id": user, "aws_secret_access_key": secret, "region_name": region}
    boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket=name)
    return name


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The endpoint of a Swift of its own, below *folder*, which must carry extended attributes."""
    (folder / "devices" / "sda1").mkdir(parents=True)
    with ExitStack() as stack:
        for kind in ("account", "container", "object"):
            port = _free_port()
            _make_ring(folder, kind, port)
            _start(stack, folder, kind, STORAGE, port)
        port = _free_port()
        _start(stack, folder, "proxy", PROXY, port)
        yield f"http://127.0.0.1:{port}"


def _make_ring(folder: Path, kind: str, port: int) -> None:
    builder = str(folder / f"{kind}.builder")
    for step in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/sda1", "1"], ["rebalance"]):
        subprocess.run(["swift-ring-builder", builder, *step], check=True, capture_output=True)


def _start(stack: ExitStack, folder: Path, kind: str, template: str, port: int) -> None:
    config = folder / f"{kind}.conf"
    config.write_text(template.format(kind=kind, port=port, folder=folder, user=getpass.getuser()))
    log = stack.enter_context((folder / f"{kind}.log").open("w"))
    process = subprocess.Popen([f"swift-{kind}-server", str(config), "verbose"], stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    _wait_for(port, folder / f"{kind}.log")


def _wait_for(port: int, log: Path) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
