"""Makes or removes somebody else's network and security group.

Usage: others.py <clouds.yaml> make|remove <network> <group>

Ends with an error when what is to be removed is not there as it was made.
"""

from __future__ import annotations

import sys

import openstack.config
import openstack.connection

MARK = "somebody else's, not to be touched"

clouds_file, what, network, group = sys.argv[1:]
region = openstack.config.OpenStackConfig(config_files=[clouds_file]).get_one("smart-classroom", api_timeout=60)
neutron = openstack.connection.Connection(config=region).network
if what == "make":
    neutron.create_network(name=network, description=MARK)
    neutron.create_security_group(name=group, description=MARK)
else:
    (theirs,) = [one for one in neutron.networks(name=network) if one.description == MARK]
    neutron.delete_network(theirs)
    (theirs,) = [one for one in neutron.security_groups(name=group) if one.description == MARK]
    neutron.delete_security_group(theirs)
