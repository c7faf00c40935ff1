"""The requests of people and programs, as plain functions with typed results.

The command line prints the results, and the HTTP API serves them. A verb gets an open index and an open archive; it
knows neither settings nor terminals nor HTTP.
"""
