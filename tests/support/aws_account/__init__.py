"""An AWS account on this machine, for tests: servers, and what records what they are asked."""
