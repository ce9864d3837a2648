"""silu(gate) · up, which keeps nothing but its inputs."""
