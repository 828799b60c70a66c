"""The part of a recording that runs in the training process. It never imports Zarr or a codec."""
