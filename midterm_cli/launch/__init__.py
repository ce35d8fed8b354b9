"""Where the independent jobs of a run are computed: threads, processes, a Dask cluster."""
