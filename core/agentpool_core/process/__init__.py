"""Parts of any long-running process: background tasks, sockets, log lines, standard streams."""
