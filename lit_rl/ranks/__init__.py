"""The processes that train one run together: launched by Lightning's strategies, over torch.distributed."""
