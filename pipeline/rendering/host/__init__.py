"""The trusted side of the sandbox: starts its processes and talks to them. It never imports `sandbox`."""
