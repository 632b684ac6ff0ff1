"""HTTP in and out: paths, content types, streams, the recorder; no rule of Kubernetes is decided here."""
