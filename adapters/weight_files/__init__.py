"""Published weight files: fetched over the network when asked to, and looked at without running or loading them.

`fetch` gets a card's files under the weights root, `examine` says what lies there. Nothing here builds a model, and
nothing is downloaded unless a user asks for it by name.
"""
