"""`python -m agentpool_core`: the same as the `agentpool` command."""

from agentpool_core.start import main

if __name__ == "__main__":  # multiprocessing imports this module under a different name in a spawned process
    main()
