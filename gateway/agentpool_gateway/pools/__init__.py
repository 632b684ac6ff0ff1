"""The served pools: their Redis, queues, events and resources."""
