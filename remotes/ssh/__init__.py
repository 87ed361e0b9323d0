"""The scheme ssh: indexes, archives and stores on another machine, served there by casync-py or casync."""
