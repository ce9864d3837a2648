"""What is done with a model's weights: forward passes, optimiser steps, checkpoints."""
