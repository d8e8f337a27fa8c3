"""The run time: feature store, bundle, gallery, scoring and search. Needs no PyTorch."""
