"""The local Elasticsearch node and the local Redis server."""
