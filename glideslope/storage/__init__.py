"""Files that survive faults."""
