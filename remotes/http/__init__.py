"""Stores, indexes and archives over HTTP: a client and a server. The mapping is described in docs/http.md."""
