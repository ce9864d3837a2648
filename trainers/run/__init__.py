"""A run: its folder, its policy, its evaluations, and the job from beginning to end."""
