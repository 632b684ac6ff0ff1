"""HTTP of the API server: paths, content types, streams, the recorder; without rules of Kubernetes."""
