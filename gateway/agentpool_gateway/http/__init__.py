"""HTTP around the routes: middleware, bodies, problem documents, waiting, draining."""
