"""Running jobs: claim, execute, settle, drain."""
