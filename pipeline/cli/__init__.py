"""What people type: `pagesight`, its commands, their output and exit codes. `app.py` holds the tree."""
