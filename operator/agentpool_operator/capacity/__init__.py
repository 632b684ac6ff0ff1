"""Free capacity of the cluster: watched nodes and pods, and the places for each pool."""
