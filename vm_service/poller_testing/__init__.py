"""What tests of the service and scenarios of its role share."""
