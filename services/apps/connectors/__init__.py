"""What the apps service reaches outside of its database and topics."""
