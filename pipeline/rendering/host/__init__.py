"""The trusted side of the sandbox: starts processes and checks replies. It never imports `sandbox`."""
