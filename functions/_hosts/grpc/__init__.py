"""The API over gRPC, for clients of the system that this one replaces.

Every call is made into a request to the HTTP API of the same process, so that access, limits, audits and meaning are
those of its route.
"""
