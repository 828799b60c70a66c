import warnings

with warnings.catch_warnings():
    # torch_geometric calls torch.jit.script while it is imported, and torch deprecates that.
    warnings.simplefilter("ignore", DeprecationWarning)
    import torch_geometric.nn  # noqa: F401
