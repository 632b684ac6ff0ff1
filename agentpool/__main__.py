"""`python -m agentpool`: the same as the `agentpool` command."""

from agentpool.start import main

if __name__ == "__main__":  # a process that multiprocessing spawns imports this module under another name
    main()
