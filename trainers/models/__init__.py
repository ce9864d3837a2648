"""Operations on a model's weights: forward passes, optimiser steps, checkpoints."""
