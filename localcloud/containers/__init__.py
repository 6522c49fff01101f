"""What runs a container image's command: processes of this machine, or a container engine."""
