"""Files read with suspicion: zip archives, pickles and tensors that may come from anybody. Nothing in them is run."""
