"""From the archive to Elasticsearch: records, the writer, comparison, and rebuilding an index."""
