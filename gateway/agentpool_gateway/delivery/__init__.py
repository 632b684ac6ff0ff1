"""Delivery of messages to addresses outside: webhooks, and push notifications of A2A.

Interface for the routes:

- `admission.gateway.deliveries.check(url)` refuses an address that the gateway does not deliver to; call it before a
  webhook is stored.
- `admission.queue.webhooks.put(job_id, Webhook(…, format="…", options={…}))` stores a webhook with its job, and
  `gateway.deliveries.wake(pool)` lets its message start at once. The outbox of `agentpool_core.queue.webhooks` gets a
  message for each change that the webhook asks for.
- A format is a function `(PoolQueue, Message) -> Content` that writes body and headers of a message. `FORMATS` of `app`
  names all formats.

`destinations` decides about addresses, `signing` signs, `sending` sends one message, `deliveries` runs the loop.
"""
