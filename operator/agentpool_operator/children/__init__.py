"""A pool's children: the Deployment and the PodDisruptionBudget, compared and applied."""
