"""Operations on the store: read, create, update, patch, delete, and the subresources.

Everything here is synchronous: a call is a transaction. The HTTP layer calls it and turns the result into a response.
"""
