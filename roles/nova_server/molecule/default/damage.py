"""Stop a server and delete its floating IP behind the role's back. Usage: damage.py <clouds.yaml> <cloud> <server>"""

from __future__ import annotations

import sys

import openstack.config
import openstack.connection

clouds_file, cloud, name = sys.argv[1:]
region = openstack.config.OpenStackConfig(config_files=[clouds_file]).get_one(cloud, api_timeout=60)
connection = openstack.connection.Connection(config=region)
server = next(item for item in connection.compute.servers() if item.name == name)
for address in connection.network.ips():
    if (address.description or "").startswith(f"{name}, "):
        connection.network.delete_ip(address)
connection.compute.stop_server(server)
connection.compute.wait_for_server(server, status="SHUTOFF", wait=120)
