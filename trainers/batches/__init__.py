"""From episodes to what one update needs: groups, minibatches, packed micro-batches."""
