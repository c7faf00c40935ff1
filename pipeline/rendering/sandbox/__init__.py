"""The untrusted side: modules that run only in sandbox processes and decode hostile bytes."""
