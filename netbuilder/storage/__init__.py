"""What lies on disks: files written whole or not at all, databases, protobuf's wire format."""
