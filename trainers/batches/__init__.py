"""From episodes to the data of one update: groups, minibatches, packed micro-batches."""
